"""A fault run must find a bug that is there: nodes that answer reads without asking the quorum.

What clients do between the faults is up to the machine, so one run may miss it; a few seeds do not.
"""

import os
import re
import shutil
import subprocess
import sys
import unittest

SEEDS = range(1, 6)
SECONDS = "20"
BUG = "read-without-read-index"


def run_with_bug(seed):
    """(exit code, report) of a run whose metadata nodes have the bug."""
    program = os.path.join(os.path.dirname(__file__), "fault_run.py")
    done = subprocess.run([sys.executable, program, "--planted-bug", BUG, "--seed", str(seed), "--seconds", SECONDS],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    kept = re.search(r"^history and logs: (.*)$", done.stdout, re.MULTILINE)
    if kept:
        shutil.rmtree(kept.group(1), ignore_errors=True)
    return done.returncode, done.stdout


class PlantedBugTest(unittest.TestCase):

    def test_stale_reads_are_found(self):
        for seed in SEEDS:
            code, report = run_with_bug(seed)
            self.assertIn(code, (0, 1), report)
            self.assertIn(f"with the planted bug {BUG}", report)
            if re.search(r"^FAILED (linearizable|indexes follow real time)", report, re.MULTILINE):
                self.assertEqual(code, 1)
                return
        self.fail(f"{len(SEEDS)} runs have not found stale reads; the last one:\n{report}")


if __name__ == "__main__":
    unittest.main()
