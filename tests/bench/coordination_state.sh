#!/usr/bin/env bash
# Measures a full coordination tree: tests/bench/coordination_state.sh BUILD_DIR [ZNODES [SESSIONS]].
exec "$(dirname "$0")/run_python.sh" coordination_state.py "$@"
