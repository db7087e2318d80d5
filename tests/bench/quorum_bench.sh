#!/usr/bin/env bash
# Writes to a quorum of Falaj and of etcd, in turn: tests/bench/quorum_bench.sh BUILD_DIR [SECONDS [TURNS]]. etcd must be
# on the PATH; nothing else of Falaj needs it.
set -euo pipefail
command -v etcd > /dev/null || {
  echo "etcd is not installed; on Debian: apt-get install --no-install-recommends etcd-server" >&2
  exit 2
}
exec "$(dirname "$0")/run_python.sh" quorum_bench.py "$@"
