#!/usr/bin/env bash
# Runs a Python program of this directory against the binaries of a build directory: tests/fault/run.sh BUILD_DIR PROGRAM [ARGUMENTS].
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "$1" && pwd)
program=$2
shift 2
stubs=$(mktemp -d "$build/python-fault-XXXXXX")  # Its own: several run at the same time.
trap 'rm -rf "$stubs"' EXIT
"$root/scripts/python_stubs.sh" "$stubs"
export PYTHONPATH=$stubs:$root/tests/integration PYTHONDONTWRITEBYTECODE=1 FALAJ_BINARIES=$build/bin
/usr/bin/python3 "$root/tests/fault/$program" "$@"
