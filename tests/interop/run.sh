#!/usr/bin/env bash
# Runs clients of other languages, and promtool, against a cluster of its own: tests/interop/run.sh BUILD_DIR.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "$1" && pwd)
. "$root/scripts/dev_cluster.sh"
work=$(mktemp -d)
cleanup() {
  stop_dev_cluster || true
  rm -rf "$work"
}
trap cleanup EXIT

"$root/scripts/python_stubs.sh" "$build/interop/python"
"$root/scripts/npm_packages.sh" "$root/tests/interop/node" "$build/interop/node"

start_dev_cluster "$build/bin/falaj" "$work" --storage 2 --metadata 3
export FALAJ_PROTOS=$root/proto

failed=()
echo "== Python"
PYTHONPATH=$build/interop/python /usr/bin/python3 -B "$root/tests/interop/python/interop_test.py" || failed+=(python)
echo "== Python: coordination"
PYTHONPATH=$build/interop/python /usr/bin/python3 -B "$root/tests/interop/python/coordination_test.py" ||
  failed+=("python coordination")
echo "== Python: malformed requests"
PYTHONPATH=$build/interop/python /usr/bin/python3 -B "$root/tests/interop/python/malformed_test.py" ||
  failed+=("python malformed requests")
echo "== Node"
NODE_PATH=$build/interop/node/node_modules node "$root/tests/interop/node/interop_test.js" || failed+=(node)
echo "== Metrics"
while read -r service id _ http; do
  curl -fsS "http://$http/metrics" > "$work/metrics" || failed+=("$service-$id")
  promtool check metrics < "$work/metrics" || failed+=("$service-$id metrics")
  grep -q '^falaj_build_info{' "$work/metrics" || failed+=("$service-$id build info")
  echo "$service-$id: $(grep -vc '^#' "$work/metrics") series"
done < <(grep -E '^(gateway|storage|metadata) ' "$work/cluster")

stop_dev_cluster || failed+=("stopping the cluster")
[ ${#failed[@]} -eq 0 ] || { cat "$work/cluster" >&2; echo "interop: failed: ${failed[*]}" >&2; exit 1; }
echo "interop: ok"
