#!/usr/bin/env bash
# Measures what a cluster costs that nobody uses, and a node's restart: tests/bench/idle_cluster.sh BUILD_DIR [PARTITIONS [SECONDS]].
exec "$(dirname "$0")/run_python.sh" idle_cluster.py "$@"
