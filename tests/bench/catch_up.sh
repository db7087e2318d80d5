#!/usr/bin/env bash
# Measures live writes while a follower catches up: tests/bench/catch_up.sh BUILD_DIR [GIB [LIMIT_MIB]].
exec "$(dirname "$0")/run_python.sh" catch_up.py "$@"
