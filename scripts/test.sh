#!/usr/bin/env bash
# Installs what is missing, builds the release preset and runs every test. Arguments go to ctest, for example -L unit or
# -R record.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh
scripts/build.sh release
scripts/ctest.sh release "$@"
