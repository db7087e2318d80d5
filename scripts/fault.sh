#!/usr/bin/env bash
# Real processes under faults, with clients; then the verdict: scripts/fault.sh [--what metadata|data|flights] [--minutes N]
# [--seed 1] [--history FILE]. The same seed draws the same faults, at about the same times. See tests/fault/README.md.
#   metadata  (default) three metadata nodes; clients write, read, watch and stand for election. [--planted-bug NAME]
#   data      a whole cluster; clients produce and consume; then falaj debug verify on the disks. [--faults kill,pause,...]
#   flights   the same cluster; flights are produced over and over while a storage node is killed every few seconds.
set -euo pipefail
cd "$(dirname "$0")/.."
preset=${FALAJ_PRESET:-release}
what=metadata
[[ ${1:-} != --what ]] || { what=${2:-}; shift 2; }
case $what in
  metadata) run=(fault_run.py) targets=(falaj_check_history) ;;
  data) run=(log_fault_run.py) targets=(falaj-storage) ;;
  flights) run=(log_fault_run.py --flights) targets=(falaj-storage) ;;
  *) echo "--what is metadata, data or flights, not '$what'" >&2; exit 2 ;;
esac
scripts/build.sh "$preset" falaj-metadata falaj-gateway falaj "${targets[@]}" >&2
exec tests/fault/run.sh "build/$preset" "${run[@]}" "$@"
