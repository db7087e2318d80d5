#!/usr/bin/env bash
# Makes Python stubs of the public protos: scripts/python_stubs.sh OUTPUT_DIR. What any user of Falaj would run.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
out=$(mkdir -p "$1" && cd "$1" && pwd)
protos=$root/proto
cd "$protos"
protoc -I. --python_out="$out" google/rpc/*.proto
protoc -I. --python_out="$out" --grpc_python_out="$out" --plugin=protoc-gen-grpc_python="$(command -v grpc_python_plugin)" \
  falaj/v1/*.proto
# Not under grpc/: that would hide the grpc package itself.
mkdir -p "$out/grpc_health/v1"
protoc -Igrpc/health/v1 --python_out="$out" --grpc_python_out="$out" \
  --plugin=protoc-gen-grpc_python="$(command -v grpc_python_plugin)" health.proto
sed -e 's/^import health_pb2 as/from grpc_health.v1 import health_pb2 as/' "$out/health_pb2_grpc.py" \
  > "$out/grpc_health/v1/health_pb2_grpc.py"
mv "$out/health_pb2.py" "$out/grpc_health/v1/health_pb2.py"
rm "$out/health_pb2_grpc.py"
