#!/usr/bin/env bash
# Measures the pause after a storage node's end: tests/bench/storage_failover.sh BUILD_DIR [KILLS [STOPS]].
exec "$(dirname "$0")/run_python.sh" storage_failover.py "$@"
