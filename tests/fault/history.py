"""What happened in a fault run, as JSON lines: one per operation, message of a watch, fault.

Times are nanoseconds of one monotonic clock. An operation has "invoked" and "returned", and "outcome": "ok", the reason
of a definite error, "none" (certainly no effect) or "unknown" (any effect, at any later time, or never).
"""

import json
import threading


class History:
    """Written as it happens, so that a run that is killed leaves what it saw. Any thread."""

    def __init__(self, path):
        self.path = path
        self.records = []
        self._mutex = threading.Lock()
        self._file = open(path, "w", encoding="utf-8")

    def add(self, **record):
        line = json.dumps(record, separators=(",", ":"))
        with self._mutex:
            self.records.append(record)
            self._file.write(line + "\n")

    def close(self):
        with self._mutex:
            self._file.close()

    def of(self, *kinds):
        """The records of these kinds, in the order in which they were added."""
        with self._mutex:
            return [record for record in self.records if record["f"] in kinds]
