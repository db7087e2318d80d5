#!/usr/bin/env bash
# From nothing to records in and out: installs what is missing, builds, starts a cluster with three storage nodes in this
# terminal, puts 20,000 real flights into a topic of 6 partitions, keyed by origin airport, reads them back and checks
# them. Leaves nothing behind but the build. Exits nonzero if any check fails.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh
scripts/build.sh release falaj

falaj=build/release/bin/falaj
input=tests/testdata/flights-20k.tsv
work=$(mktemp -d)
cluster=
cleanup() {
  if [ -n "$cluster" ] && kill "$cluster" 2> /dev/null; then wait "$cluster" || true; fi
  rm -rf "$work"
}
trap cleanup EXIT

echo "quickstart: starting a cluster with three storage nodes"
"$falaj" dev --data "$work/data" --storage 3 --port 0 --http-port 0 > "$work/cluster" 2>&1 &
cluster=$!
for _ in $(seq 300); do
  grep -q '^ready' "$work/cluster" && break
  kill -0 "$cluster" 2> /dev/null || break
  sleep 0.1
done
FALAJ_ADDRESS=$(sed -n 's/^ready.*--address \([^ ]*\) .*/\1/p' "$work/cluster")
export FALAJ_ADDRESS
cat "$work/cluster"
[ -n "$FALAJ_ADDRESS" ] || { echo "quickstart: the cluster did not become ready" >&2; exit 1; }

run() { echo "\$ falaj $*"; "$falaj" "$@"; }
run topic create flights --partitions 6
run produce flights -K '\t' --file "$input"
echo "\$ falaj consume flights -o start -e -f '%p\\t%o\\t%k\\t%s\\n'"
"$falaj" consume flights -o start -e -f '%p\t%o\t%k\t%s\n' > "$work/flights"

# Every flight once, every airport in one partition, offsets of every partition 0, 1, 2 ... in the order they came.
awk -F '\t' '
  $2 != count[$1]++ { print "partition " $1 ": offset " $2 " is not the next"; bad = 1 }
  ($3 in home) && home[$3] != $1 { print "key " $3 " is in partitions " home[$3] " and " $1; bad = 1 }
  { home[$3] = $1 }
  END {
    for (key in home) keys[home[key]]++
    for (p = 0; p < 6; p++) { printf "partition %d: %6d flights of %3d airports\n", p, count[p], keys[p]; sum += count[p] }
    printf "sum:         %6d\n", sum
    exit bad || sum != 20000
  }' "$work/flights"
cut -f 3- "$work/flights" | LC_ALL=C sort | cmp - <(LC_ALL=C sort "$input") \
  || { echo "quickstart: what came back is not what went in" >&2; exit 1; }

kill "$cluster"
wait "$cluster" || { echo "quickstart: the cluster did not stop cleanly" >&2; exit 1; }
cluster=
echo "quickstart: all 20,000 flights are back, each airport in one partition, offsets dense from 0"
