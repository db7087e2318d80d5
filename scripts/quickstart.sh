#!/usr/bin/env bash
# From nothing to records in and out: installs what is missing, builds, starts a cluster with three storage nodes in this
# terminal, puts 20,000 real flights into a topic of 6 partitions, keyed by origin airport, reads them back and checks
# them. Leaves nothing behind but the build. Exits nonzero if any check fails.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/dev_cluster.sh
scripts/setup.sh
scripts/build.sh release falaj

falaj=build/release/bin/falaj
input=tests/testdata/flights-20k.tsv
work=$(mktemp -d)
cleanup() {
  stop_dev_cluster || true
  rm -rf "$work"
}
trap cleanup EXIT

echo "quickstart: starting a cluster with three storage nodes"
start_dev_cluster "$falaj" "$work" --storage 3
cat "$work/cluster"

run() { echo "\$ falaj $*"; "$falaj" "$@"; }
run topic create flights --partitions 6
run produce flights -K '\t' --file "$input"
echo "\$ falaj consume flights -o start -e -f '%p\\t%o\\t%k\\t%s\\n'"
"$falaj" consume flights -o start -e -f '%p\t%o\t%k\t%s\n' > "$work/flights"

# Every flight once, every airport in one partition, offsets of every partition 0, 1, 2 ... in the order they came.
awk -F '\t' -v expected=20000 -f scripts/check_records.awk "$work/flights"
cut -f 3- "$work/flights" | LC_ALL=C sort | cmp - <(LC_ALL=C sort "$input") \
  || { echo "quickstart: what came back is not what went in" >&2; exit 1; }

stop_dev_cluster || { echo "quickstart: the cluster did not stop cleanly" >&2; exit 1; }
echo "quickstart: all 20,000 flights are back, each airport in one partition, offsets dense from 0"
