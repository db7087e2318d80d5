"""Records that are damaged on one disk: that node fetches them anew, and nobody else notices.

By hand: tests/integration/run.sh build/release damage_test.py [unittest arguments].
"""

import glob
import os
import subprocess
import sys
import unittest

from cluster import wait_until
from readers import FetchReader, StreamReader
from replicated_case import BINARIES, FLAGS, NODES, PARTITIONS, TOPIC, ReplicatedCase

VICTIM = NODES[1]
RECORDS = 8000  # Of each partition: several blocks of a table.
DROPPED = "dropping a damaged copy"


class DamageCase(ReplicatedCase):
    """Consumers read from the beginning as long as a test lasts, beside the producers."""

    def write_and_damage(self):
        """Some records of every partition are in a table of the victim, of which one byte is not what it was."""
        self.create()
        self.wait_for_progress(RECORDS)
        self.cluster.stop(VICTIM)
        self.cluster.start_process(VICTIM)  # What was in the log goes into tables.
        self.wait_in_sync()
        self.wait_for_progress()
        self.cluster.stop(VICTIM)
        tables = glob.glob(os.path.join(self.directory, VICTIM, "**", "*.sst"), recursive=True)
        largest = max(tables, key=os.path.getsize)
        with open(largest, "r+b") as table:
            # Amid the blocks of the first partition. The last one a node reads when it starts, and refuses to.
            at = os.path.getsize(largest) // (2 * PARTITIONS)
            table.seek(at)
            byte = table.read(1)[0]
            table.seek(at)
            table.write(bytes([byte ^ 0x10]))
        self.cluster.start_process(VICTIM)
        self.wait_in_sync()

    def start_readers(self):
        self.readers = [kind(self.cluster.consumer(), TOPIC, range(PARTITIONS), kind.__name__)
                        for kind in (StreamReader, FetchReader)]
        for reader in self.readers:
            reader.start()
            self.addCleanup(reader.stop)

    def has_dropped(self):
        with open(self.cluster.processes[VICTIM].log_path, encoding="utf-8") as log:
            return DROPPED in log.read()

    def verify_that_nobody_noticed(self):
        """Producers and consumers were told of no error, and every disk holds everything."""
        self.wait_for_progress()
        self.wait_in_sync()
        for producer in self.producers:
            producer.stop()
            self.assertEqual(producer.failures, 0)
        for reader in self.readers:
            for producer in self.producers:
                last = max(producer.acknowledged.values())
                wait_until(lambda: reader.offsets[producer.partition][-1:] >= [last], f"{reader.name} has it all", 60)
            self.assertEqual(reader.errors, [])
            for offsets in reader.offsets.values():
                self.assertEqual(offsets, sorted(set(offsets)), f"{reader.name} goes back")
        self.verify()


class ScrubbedDamageTest(DamageCase):
    STORAGE_FLAGS = (*FLAGS, f"--scrub_bytes_per_second={200 << 20}", "--scrub_period=1s")

    def test_damage_that_nobody_reads_is_found_and_fetched_anew(self):
        self.write_and_damage()
        self.start_readers()
        wait_until(self.has_dropped, "the damage is found", 60)
        self.verify_that_nobody_noticed()


class ReadDamageTest(DamageCase):
    STORAGE_FLAGS = (*FLAGS, "--scrub_bytes_per_second=0")

    def test_damage_that_consumers_meet_is_fetched_anew_and_they_read_on(self):
        self.write_and_damage()
        self.assertFalse(self.has_dropped(), "nobody has read it")
        number = int(VICTIM.rsplit("-", 1)[1])
        subprocess.run([os.path.join(BINARIES, "falaj"), "cluster", "elect", TOPIC, "--node", str(number), "--address",
                        self.cluster.processes["gateway-1"].grpc_address], capture_output=True, timeout=30, check=True)
        wait_until(lambda: all(p.leader == number for p in self.partitions()), "the victim leads", 60)
        self.start_readers()
        wait_until(self.has_dropped, "the damage is found", 60)
        self.verify_that_nobody_noticed()


if __name__ == "__main__":
    unittest.main(argv=sys.argv)
