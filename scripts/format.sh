#!/usr/bin/env bash
# Checks the layout of all C++ files under version control with clang-format; --fix rewrites them.
set -euo pipefail
cd "$(dirname "$0")/.."
how=(--dry-run -Werror)
[ "${1:-}" != --fix ] || how=(-i)
git ls-files -z '*.cc' '*.h' | xargs -0 -n 50 -P 2 clang-format-14 "${how[@]}"
echo "format: ok"
