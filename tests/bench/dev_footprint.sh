#!/usr/bin/env bash
# Measures how soon `falaj dev` is ready and what memory it takes: tests/bench/dev_footprint.sh BUILD_DIR [PARTITIONS].
exec "$(dirname "$0")/run_python.sh" dev_footprint.py "$@"
