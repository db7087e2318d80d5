"""What a run of tests must not keep to itself, though CTest shows nothing of tests that pass: tests that were skipped,
and which faults a fault run has drawn. .ci/run names the file by FALAJ_NOTES, prints it at its end, and judges it.
"""

import os


def note(kind, text):
    """`kind`: "skipped" or "faults"."""
    line = f"{kind}: {text}"
    print(line, flush=True)
    if path := os.environ.get("FALAJ_NOTES"):
        with open(path, "a", encoding="utf-8") as file:  # A short line, so several processes may append.
            file.write(line + "\n")


def skip(testcase, why):
    """Skips a unittest, and says so."""
    note("skipped", f"{testcase.id()}: {why}")
    testcase.skipTest(why)
