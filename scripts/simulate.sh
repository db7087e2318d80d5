#!/usr/bin/env bash
# Simulates the metadata quorum (quorum) or storage nodes and their clients (data) for a while, from seed to seed:
# scripts/simulate.sh --minutes N [--which quorum|data] [--seed S]. One process per core. Stops at the first broken promise
# and says which seed repeats it; ends with seeds and events per second and the marks.
# scripts/simulate.sh --which exploration visits every state of three replicas, epochs and records: some minutes, 1.2 GiB.
set -euo pipefail
cd "$(dirname "$0")/.."
minutes=""
which=quorum
seed=$(date +%s)000
while [ $# -gt 0 ]; do
  case $1 in
    --minutes) minutes=$2 ;;
    --seed) seed=$2 ;;
    --which) which=$2 ;;
    *) minutes="" && break ;;
  esac
  shift 2
done
if [ "$which" = exploration ] && [ -z "$minutes" ]; then
  scripts/build.sh release replica_exploration
  exec build/release/bin/replica_exploration
fi
case $which in quorum | data) ;; *) minutes="" ;; esac
if [ -z "$minutes" ]; then
  echo "usage: scripts/simulate.sh --minutes N [--which quorum|data] [--seed S] | --which exploration" >&2
  exit 2
fi
scripts/build.sh release "${which}_simulation"

# Far enough apart that no process reaches another's seeds.
pids=()
for core in $(seq 0 $(($(nproc) - 1))); do
  "build/release/bin/${which}_simulation" --seed=$((seed + core * 10000000)) --minutes="$minutes" &
  pids+=($!)
done
code=0
for pid in "${pids[@]}"; do wait "$pid" || code=1; done
exit $code
