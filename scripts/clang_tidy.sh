#!/usr/bin/env bash
# clang-tidy over the code that includes neither gRPC nor RocksDB, where a file takes seconds: scripts/clang_tidy.sh.
# scripts/clang_tidy.sh FILE... checks others, at up to half a minute each. The preset `clang` must be built.
set -euo pipefail
cd "$(dirname "$0")/.."
pure=(base cluster coordination raft record replica telemetry)
files=("$@")
if [ $# -eq 0 ]; then
  mapfile -t files < <(git ls-files "${pure[@]/#/libs/}" | grep '\.cc$' | grep -v -E '(_test|_bench|/test_[a-z_]*|_fixture)\.cc$')
fi
# It counts the warnings of the systems' headers on stderr, and shows none of them.
printf '%s\n' "${files[@]}" | xargs -P 2 -n 1 clang-tidy-14 -p build/clang --quiet 2> >(grep -v 'warnings\? generated' >&2)
echo "clang_tidy: ok, ${#files[@]} files"
