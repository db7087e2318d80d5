#!/usr/bin/env bash
# Runs the fault tests against the binaries of a build directory: tests/integration/run.sh BUILD_DIR [unittest arguments].
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "$1" && pwd)
shift
stubs=$build/python
mkdir -p "$stubs"
"$root/scripts/python_stubs.sh" "$stubs"
export PYTHONPATH=$stubs:$root/tests/integration PYTHONDONTWRITEBYTECODE=1 FALAJ_BINARIES=$build/bin
exec /usr/bin/python3 "$root/tests/integration/fault_test.py" "$@"
