#!/usr/bin/env bash
# Runs the tests of a built preset: scripts/ctest.sh PRESET [CTEST ARGUMENTS]. If some fail, what they print is long: their
# failed cases are named once more at the end, behind CTest's summary.
set -euo pipefail
cd "$(dirname "$0")/.."
preset=$1
shift
log=build/$preset/Testing/Temporary/LastTest.log
rm -f "$log"
code=0
ctest --preset "$preset" "$@" || code=$?
if [ $code -ne 0 ] && [ -f "$log" ]; then
  echo "failed cases, at most 60:"
  # Cases of GoogleTest and of Python's unittest, of tests that have not passed.
  awk '
    function tell(i) { for (i = 1; i <= count; i++) print "  " test ": " cases[i]; forget() }
    function forget() { count = 0; split("", seen) }
    / Testing: / { tell(); test = $NF }
    /^\[  FAILED  \] [^ ]*\./ { note($4) }
    /^(FAIL|ERROR): / { note($2 " " $3) }
    /^Test Passed\.$/ { forget() }
    function note(name) { sub(/,$/, "", name); if (!(name in seen)) { seen[name] = 1; cases[++count] = name } }
    END { tell() }' "$log" | sed -n 1,60p
fi
exit $code
