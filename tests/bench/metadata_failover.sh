#!/usr/bin/env bash
# Measures the pause after the metadata leader's death: tests/bench/metadata_failover.sh BUILD_DIR [KILLS].
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "$1" && pwd)
shift
stubs=$build/python
mkdir -p "$stubs"
"$root/scripts/python_stubs.sh" "$stubs"
export PYTHONPATH=$stubs:$root/tests/integration PYTHONDONTWRITEBYTECODE=1 FALAJ_BINARIES=$build/bin
exec /usr/bin/python3 "$root/tests/bench/metadata_failover.py" "$@"
