#!/usr/bin/env bash
# Runs tests on real processes against the binaries of a build directory: tests/integration/run.sh BUILD_DIR [TEST.py]
# [unittest arguments].
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "$1" && pwd)
shift
test=fault_test.py
[[ ${1:-} != *.py ]] || { test=$1; shift; }
stubs=$build/python-${test%.py}  # Its own: tests run at the same time.
mkdir -p "$stubs"
"$root/scripts/python_stubs.sh" "$stubs"
# What the nodes say to each other, for tests that ask them directly.
(cd "$root/proto" && protoc -I. --python_out="$stubs" --grpc_python_out="$stubs" \
  --plugin=protoc-gen-grpc_python="$(command -v grpc_python_plugin)" falaj/internal/v1/*.proto)
export PYTHONPATH=$stubs:$root/tests/integration PYTHONDONTWRITEBYTECODE=1 FALAJ_BINARIES=$build/bin
exec /usr/bin/python3 "$root/tests/integration/$test" "$@"
