#!/usr/bin/env bash
# A file goes into a cluster of its own, with three replicas of everything, and comes back, by several producers and several
# consumers at once: scripts/flights.sh FILE [PARTITIONS=6]. A line of FILE, which may end in .zst, is key<TAB>value; an empty
# key is a null key. Fails unless exactly the lines of FILE come back, as many with a null key as went in, each other key from
# one partition, in the order of offsets that have no gaps. Leaves nothing behind but the build. Once everything was put
# in, it waits FLIGHTS_PATIENCE_S (300) for it to come back.
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,6s/^# //p' "$0" >&2; exit 2; }
file=$(realpath "$1")
partitions=${2:-6}
producers=4
consumers=3
patience_s=${FLIGHTS_PATIENCE_S:-300}
null=$'\x01'  # No JSON text holds it, and no key that awk and people can read.
cd "$(dirname "$0")/.."
. scripts/dev_cluster.sh
if [ -n "${FALAJ_BINARIES:-}" ]; then
  falaj=$FALAJ_BINARIES/falaj  # A test has built it.
else
  scripts/build.sh release falaj
  falaj=build/release/bin/falaj
fi
work=$(mktemp -d)
running=()
cleanup() {
  for child in "${running[@]}"; do kill "$child" 2> /dev/null || true; done
  stop_dev_cluster || true
  rm -rf "$work"
}
trap cleanup EXIT
fail() { echo "flights: $*" >&2; exit 1; }

case $file in
  *.zst) zstd -q -d "$file" -o "$work/input" ;;
  *) cp "$file" "$work/input" ;;
esac
sum=$(wc -l < "$work/input")
nulls=$(awk -F '\t' '$1 == ""' "$work/input" | wc -l)
split -n "l/$producers" -d "$work/input" "$work/slice-"

echo "flights: starting a cluster with three storage nodes"
start_dev_cluster "$falaj" "$work" --storage 3
"$falaj" topic create flights --partitions "$partitions" --replicas 3 --min-in-sync-replicas 2

echo "flights: $producers producers put $sum records in, $consumers consumers get them, all at once"
consuming=()
for ((i = 0; i < consumers && i < partitions; i++)); do
  own=$(seq -s , "$i" "$consumers" $((partitions - 1)))
  "$falaj" consume flights -p "$own" -o start -Z "$null" -f '%p\t%o\t%k\t%s\n' > "$work/consumed-$i" &
  running+=($!)
  consuming+=($!)
done
producing=()
for slice in "$work"/slice-*; do
  "$falaj" produce flights -q -Z -K '\t' --file "$slice" &
  running+=($!)
  producing+=($!)
done
for producer in "${producing[@]}"; do wait "$producer" || fail "a producer failed"; done

arrived() { cat "$work"/consumed-* | wc -l; }
deadline=$((SECONDS + patience_s))
while [ "$(arrived)" -lt "$sum" ]; do
  [ $SECONDS -lt $deadline ] || fail "only $(arrived) of $sum records have arrived"
  for consumer in "${consuming[@]}"; do kill -0 "$consumer" 2> /dev/null || fail "a consumer has ended"; done
  sleep 0.2
done
for consumer in "${consuming[@]}"; do
  kill "$consumer" 2> /dev/null || fail "a consumer had ended before it was told to"
  wait "$consumer" || fail "a consumer failed"
done
running=()

cat "$work"/consumed-* > "$work/consumed"
# Each leader begins its epoch, which counts from 1, with a record of its own that nobody consumes.
epochs=$("$falaj" topic describe flights | awk -F '\t' 'NR > 1 { printf "%s=%s ", $2, $4 }')
awk -F '\t' -v expected="$sum" -v null="$null" -v skipped="$epochs" -f scripts/check_records.awk "$work/consumed" ||
  fail "see above"
back=$(awk -F '\t' -v null="$null" '$3 == null' "$work/consumed" | wc -l)
[ "$back" -eq "$nulls" ] || fail "$nulls records went in without a key, $back came back"
cut -f 3- "$work/consumed" | tr -d "$null" | LC_ALL=C sort | cmp - <(LC_ALL=C sort "$work/input") ||
  fail "what came back is not what went in"
stop_dev_cluster || fail "the cluster did not stop cleanly"
echo "flights: all $sum records are back, $nulls of them without a key; each key in one partition, no offset missing"
