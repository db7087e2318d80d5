#!/usr/bin/env bash
# Runs clients of other languages, and promtool, against a cluster of its own: tests/interop/run.sh BUILD_DIR.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "$1" && pwd)
work=$(mktemp -d)
cluster=
cleanup() {
  if [ -n "$cluster" ] && kill "$cluster" 2> /dev/null; then wait "$cluster" || true; fi
  rm -rf "$work"
}
trap cleanup EXIT

"$root/scripts/python_stubs.sh" "$build/interop/python"
"$root/scripts/npm_packages.sh" "$root/tests/interop/node" "$build/interop/node"

"$build/bin/falaj" dev --data "$work/data" --storage 2 --port 0 --http-port 0 > "$work/cluster" 2>&1 &
cluster=$!
for _ in $(seq 300); do
  grep -q '^ready' "$work/cluster" && break
  kill -0 "$cluster" 2> /dev/null || break
  sleep 0.1
done
FALAJ_ADDRESS=$(sed -n 's/^ready.*--address \([^ ]*\) .*/\1/p' "$work/cluster")
export FALAJ_ADDRESS FALAJ_PROTOS=$root/proto
[ -n "$FALAJ_ADDRESS" ] || { cat "$work/cluster" >&2; echo "interop: the cluster did not become ready" >&2; exit 1; }

failed=()
echo "== Python"
PYTHONPATH=$build/interop/python /usr/bin/python3 -B "$root/tests/interop/python/interop_test.py" || failed+=(python)
echo "== Python: coordination"
PYTHONPATH=$build/interop/python /usr/bin/python3 -B "$root/tests/interop/python/coordination_test.py" ||
  failed+=("python coordination")
echo "== Node"
NODE_PATH=$build/interop/node/node_modules node "$root/tests/interop/node/interop_test.js" || failed+=(node)
echo "== Metrics"
while read -r service id _ http; do
  curl -fsS "http://$http/metrics" > "$work/metrics" || failed+=("$service-$id")
  promtool check metrics < "$work/metrics" || failed+=("$service-$id metrics")
  grep -q '^falaj_build_info{' "$work/metrics" || failed+=("$service-$id build info")
  echo "$service-$id: $(grep -vc '^#' "$work/metrics") series"
done < <(grep -E '^(gateway|storage|metadata) ' "$work/cluster")

kill "$cluster"
wait "$cluster" || failed+=("stopping the cluster")
cluster=
[ ${#failed[@]} -eq 0 ] || { cat "$work/cluster" >&2; echo "interop: failed: ${failed[*]}" >&2; exit 1; }
echo "interop: ok"
