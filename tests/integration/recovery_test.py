"""What storage nodes keep, and serve again, when the majority of the metadata nodes is lost for good.

By hand: tests/integration/run.sh build/release recovery_test.py [unittest arguments].
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import grpc

from cluster import Cluster, wait_until
from falaj.v1 import producer_service_pb2, record_pb2
from workload import Producer, check, read_all

BINARIES = os.environ["FALAJ_BINARIES"]
STORAGE = ("storage-1", "storage-2", "storage-3")
BEHIND = 3  # The metadata node that goes on; it misses what came last.


class RecoveryTest(unittest.TestCase):

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="falaj-recovery-")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.cluster = Cluster(BINARIES, self.directory, storage_nodes=3, metadata_nodes=3,
                               storage_flags=("--session_timeout=1s", "--replica_lag_max=2s"))
        self.addCleanup(self.cluster.__exit__)
        self.cluster.start()
        self.cluster.wait_online(3)

    def falaj(self, *arguments):
        return subprocess.run([os.path.join(BINARIES, "falaj"), *arguments], capture_output=True, text=True,
                              timeout=60, check=False)

    def create(self, topic):
        self.cluster.create_topic(topic, 2, replicas=3, min_in_sync_replicas=2)

    def produce(self, topic, count, first=0):
        for i in range(first, first + count):
            request = producer_service_pb2.ProduceRequest(
                topic=topic, partition=i % 2, acks=record_pb2.ACKS_ALL, records=[record_pb2.Record(value=b"%d" % i)])
            self.cluster.producer().Produce(request, timeout=20, wait_for_ready=True)

    def values(self, topic):
        stub = self.cluster.consumer()
        return {int(value) for partition in range(2) for _, value in read_all(stub, topic, partition)}

    def in_sync(self, topic):
        """Whether every partition is led, with all its replicas in sync."""
        try:
            partitions = self.cluster.partitions(topic)
        except grpc.RpcError:
            return False
        return all(partition.leader and len(partition.in_sync_replicas) == 3 for partition in partitions)

    def quarantined(self, name):
        """How many partitions the storage node keeps aside; None while it does not say."""
        match = re.search(r"^falaj_storage_quarantined_partitions (\S+)$", self.cluster.processes[name].metrics(),
                          re.MULTILINE)
        return match and int(float(match[1]))

    def wait_quarantined(self, counts):
        wait_until(lambda: [self.quarantined(name) for name in STORAGE] == counts,
                   f"so many partitions are in quarantine: {counts}")

    def lose_majority(self):
        """A topic that all know, then one, and an election, that the node which goes on does not."""
        self.create("known")
        self.produce("known", 20)
        self.cluster.kill(f"metadata-{BEHIND}")
        self.create("unknown")
        self.produce("unknown", 20)
        self.cluster.kill("storage-1")  # Its leads move on, in epochs that nobody will know of.
        self.produce("known", 20, first=20)
        self.cluster.start_process("storage-1")
        self.cluster.wait_online(3)
        self.produce("known", 20, first=40)
        for node in (1, 2):
            self.cluster.kill(f"metadata-{node}")
            shutil.rmtree(os.path.join(self.directory, f"metadata-{node}"))
        done = self.falaj("debug", "recover-quorum", os.path.join(self.directory, f"metadata-{BEHIND}"), "--node",
                          str(BEHIND), "--yes-lose-data")
        self.assertEqual(done.returncode, 0, done.stderr)

    def check_recovered(self):
        self.wait_quarantined([2, 2, 2])
        wait_until(lambda: self.in_sync("known"), "what the quorum knows is led and in sync again", timeout_s=60)
        wait_until(lambda: self.values("known") == set(range(60)), "all that was acknowledged is there")
        self.produce("known", 10, first=60)
        self.assertEqual(self.values("known"), set(range(70)))

    def check_kept(self, expected_topics):
        for name in STORAGE:
            self.cluster.stop(name)
        directories = [os.path.join(self.directory, name) for name in STORAGE]
        verified = self.falaj("debug", "verify", *directories)
        self.assertEqual(verified.returncode, 0, verified.stderr)
        self.assertEqual(verified.stderr.count("is in quarantine"), 6, verified.stderr)
        # 20 records of the unknown topic are still there; dump-log shows the values of all.
        dumped = self.falaj("debug", "dump-log", directories[0], "--records")
        self.assertEqual(dumped.returncode, 0, dumped.stderr)
        topics = set(re.findall(r'"topic": ?"([^"]+)"', dumped.stdout))
        self.assertEqual(len(topics), expected_topics, dumped.stdout[:2000])

    def check_release(self):
        directory = os.path.join(self.directory, STORAGE[0])
        asked = self.falaj("debug", "release-quarantine", directory)
        self.assertEqual(asked.returncode, 2)
        self.assertIn("--yes-lose-data", asked.stderr)
        self.assertEqual(self.falaj("debug", "release-quarantine", directory, "--yes-lose-data").returncode, 0)
        for name in STORAGE:
            self.cluster.start_process(name)
        self.cluster.wait_online(3)
        wait_until(lambda: self.in_sync("known"), "all are in sync")
        self.wait_quarantined([0, 2, 2])
        self.assertEqual(self.values("known"), set(range(70)))

    def start_writers(self):
        """Write to a topic of their own, whatever happens to the quorum."""
        self.create("busy")
        writers = [Producer(self.cluster.producer(), "busy", partition, f"w{partition}") for partition in range(2)]
        for writer in writers:
            self.addCleanup(writer.stop)
            writer.start()
        self.wait_acknowledged(writers, 20)
        return writers

    def wait_acknowledged(self, writers, more):
        before = [len(writer.acknowledged) for writer in writers]
        wait_until(lambda: all(len(writer.acknowledged) >= count + more for writer, count in zip(writers, before)),
                   f"{more} more records of each writer are acknowledged", timeout_s=60)

    def check_written(self, writers):
        """Acknowledged without a quorum, too: the nodes have let go of what they led when they heard of the new one."""
        for writer in writers:
            writer.stop()
            records = read_all(self.cluster.consumer(), "busy", writer.partition)
            check(self, records, [writer], control_records=50)

    def test_storage_nodes_that_run_on(self):
        writers = self.start_writers()
        self.lose_majority()
        self.wait_acknowledged(writers, 100)
        self.cluster.start_process(f"metadata-{BEHIND}")
        self.check_recovered()
        self.wait_acknowledged(writers, 100)
        self.check_written(writers)
        self.check_kept(expected_topics=3)
        self.check_release()

    def test_storage_nodes_that_are_killed_with_the_majority(self):
        self.lose_majority()
        for name in STORAGE:
            self.cluster.kill(name)
        self.cluster.start_process(f"metadata-{BEHIND}")
        for name in STORAGE:
            self.cluster.start_process(name)
        self.check_recovered()


if __name__ == "__main__":
    unittest.main(argv=sys.argv)
