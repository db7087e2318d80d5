#!/usr/bin/env bash
# Three metadata nodes under kill -9, SIGSTOP and cut links, with clients that write, read, watch and stand for election; then
# the verdict: scripts/fault.sh [--minutes 10] [--seed 1] [--planted-bug NAME] [--history FILE]. The same seed draws the same
# faults, at about the same times.
set -euo pipefail
cd "$(dirname "$0")/.."
preset=${FALAJ_PRESET:-release}
scripts/build.sh "$preset" falaj-metadata falaj-gateway falaj falaj_check_history >&2
exec tests/fault/run.sh "build/$preset" fault_run.py "$@"
