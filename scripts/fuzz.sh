#!/usr/bin/env bash
# Feeds changed batches to everything that reads one: scripts/fuzz.sh [RUNS=200000]. Begins with batches that another
# implementation has written (tests/testdata/batches); the same number of runs tries the same inputs. Fails at the first
# crash, hang, leak or undefined behaviour, and leaves the input below build/clang/fuzz. Longer, by hand:
# build/clang/bin/record_fuzz -max_total_time=3600 SOME_EMPTY_DIRECTORY tests/testdata/batches
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-200000}
scripts/build.sh clang record_fuzz
mkdir -p build/clang/fuzz
corpus=$(mktemp -d)  # What it finds worth keeping: not among the test data.
trap 'rm -rf "$corpus"' EXIT
build/clang/bin/record_fuzz -seed=1 -runs="$runs" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
  -artifact_prefix=build/clang/fuzz/ "$corpus" tests/testdata/batches
