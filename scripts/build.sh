#!/usr/bin/env bash
# Builds a preset of CMakePresets.json: scripts/build.sh [PRESET=release] [TARGET...]. Shows progress on a terminal, and
# only what went wrong elsewhere.
set -euo pipefail
cd "$(dirname "$0")/.."
preset=${1:-release}
shift || true
targets=()
[ $# -eq 0 ] || targets=(--target "$@")
quiet=()
[ -t 1 ] || quiet=(-- --quiet)

log=$(mktemp)
cmake --preset "$preset" > "$log" 2>&1 || { cat "$log" >&2; exit 1; }
rm -f "$log"
echo "build: $preset"
cmake --build --preset "$preset" "${targets[@]}" "${quiet[@]}"
