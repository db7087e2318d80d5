#!/usr/bin/env bash
# Measures the pause after the metadata leader's death: tests/bench/metadata_failover.sh BUILD_DIR [KILLS].
exec "$(dirname "$0")/run_python.sh" metadata_failover.py "$@"
