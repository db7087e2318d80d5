#!/usr/bin/env bash
# Installs what scripts/packages.txt lists, and Node.js if there is none, on Debian 12. Runs as root or with sudo; may be
# run again at any time and is quick when nothing is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

installed=$(dpkg-query -W -f='${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p' | sort)
mapfile -t missing < <(grep -v -e '^#' -e '^$' scripts/packages.txt | sort | comm -23 - <(echo "$installed"))
command -v node > /dev/null || missing+=(nodejs)
command -v npm > /dev/null || missing+=(npm)
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo > /dev/null || { echo "setup.sh: run me as root, or install sudo; missing: ${missing[*]}" >&2; exit 1; }
  as_root=(sudo)
fi

# Packages that bring a service (prometheus) would start it, where an init system runs. This file, if there is none yet,
# tells them not to.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap '"${as_root[@]}" rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" > /dev/null
  "${as_root[@]}" chmod +x "$policy"
fi

log=$(mktemp)
apt_get() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 "$@" > "$log" 2>&1 || {
    tail -n 30 "$log" >&2
    echo "setup.sh: 'apt-get $1' failed; the last lines are above, all of it is in $log" >&2
    exit 1
  }
}
echo "setup: installing ${#missing[@]} packages: ${missing[*]}"
apt_get update
apt_get install --no-install-recommends "${missing[@]}"
rm -f "$log"
