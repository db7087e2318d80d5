#!/usr/bin/env bash
# Installs the pinned npm packages of a folder elsewhere, so that the source tree stays clean:
# scripts/npm_packages.sh FOLDER OUTPUT_DIR. Does nothing if they are there already.
set -euo pipefail
from=$(cd "$1" && pwd)
to=$(mkdir -p "$2" && cd "$2" && pwd)
cmp -s "$from/package-lock.json" "$to/installed.json" && exit 0
cp "$from/package.json" "$from/package-lock.json" "$to/"
cd "$to"
log=$(mktemp)
npm ci --ignore-scripts --no-audit --no-fund > "$log" 2>&1 || { head -n 20 "$log" >&2; exit 1; }
rm -f "$log"
cp package-lock.json installed.json
