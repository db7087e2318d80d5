#!/usr/bin/env bash
# Runs a benchmark written in Python against a build: tests/bench/run_python.sh NAME.py BUILD_DIR [ARGUMENT...].
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
name=$1
build=$(cd "$2" && pwd)
shift 2
stubs=$build/python
mkdir -p "$stubs"
"$root/scripts/python_stubs.sh" "$stubs"
export PYTHONPATH=$stubs:$root/tests/integration PYTHONDONTWRITEBYTECODE=1 FALAJ_BINARIES=$build/bin
exec /usr/bin/python3 "$root/tests/bench/$name" "$@"
