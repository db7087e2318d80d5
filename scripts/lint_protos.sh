#!/usr/bin/env bash
# Lints the protos with buf and checks that the public API breaks no client: every change is compared with
# proto/breaking_image.binpb, the API as it was last accepted. `scripts/lint_protos.sh --accept` makes that file anew,
# for additions; what breaks a client belongs in falaj.v2.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/npm_packages.sh scripts/buf build/buf
buf=$(echo build/buf/node_modules/@bufbuild/buf-linux-*/bin/buf)
"$buf" lint proto
[ ! -f proto/breaking_image.binpb ] || "$buf" breaking proto --against proto/breaking_image.binpb
if [ "${1:-}" = --accept ]; then
  "$buf" build proto --exclude-source-info --path proto/falaj/v1 -o proto/breaking_image.binpb
fi
echo "lint_protos: ok"
