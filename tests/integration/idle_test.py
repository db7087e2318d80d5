"""What a cluster that nobody uses does: nothing, between storage nodes.

By hand: tests/integration/run.sh build/release idle_test.py [unittest arguments].
"""

import os
import re
import shutil
import sys
import tempfile
import time
import unittest

from cluster import Cluster, wait_until
from falaj.v1 import producer_service_pb2, record_pb2

BINARIES = os.environ["FALAJ_BINARIES"]
TOPIC = "orders"
PARTITIONS = 60
NODES = ("storage-1", "storage-2", "storage-3")
# Whoever is silent for a second is gone, and who lags for half of that leaves: all that is periodic happens in QUIET_S,
# the checkpoints of high watermarks among it.
FLAGS = ("--session_timeout=1s", "--replica_lag_max=500ms")
QUIET_S = 6
REPLICAS = 3
COUNTERS = r'^(falaj_replica_(?:messages|sent_bytes)_total)\{.*?(?:direction|lane)="(\w+)".*\} (\S+)$'
LOOKS = 25  # So many in a row that show the same.


class IdleTest(unittest.TestCase):

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="falaj-idle-test-")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.cluster = Cluster(BINARIES, self.directory, storage_nodes=3, storage_flags=FLAGS)
        self.addCleanup(self.cluster.__exit__)
        self.cluster.start()
        self.cluster.wait_online(3)
        self.cluster.create_topic(TOPIC, PARTITIONS, replicas=REPLICAS, min_in_sync_replicas=2)
        wait_until(self.in_sync, "all replicas are in sync", 60)

    def in_sync(self):
        return all(len(p.in_sync_replicas) == REPLICAS and p.leader for p in self.cluster.partitions(TOPIC))

    def traffic(self):
        """{(node, direction or lane): messages or bytes} of all replica streams, as their leaders count them.

        None if a page was not to be had in time."""
        counted = {}
        for name in NODES:
            metrics = self.cluster.processes[name].metrics()
            if not metrics:
                return None
            found = re.findall(COUNTERS, metrics, re.MULTILINE)
            self.assertEqual(len(found), 4, f"{name} does not count")
            counted.update({(name, metric, which): float(value) for metric, which, value in found})
        return counted

    def known_traffic(self):
        found = []

        def known():
            found[:] = [self.traffic()]
            return found[0] is not None

        wait_until(known, "the storage nodes say what they have counted")
        return found[0]

    def wait_until_quiet(self):
        """Elections, catching up and the first high watermarks are over."""
        last, same = {}, 0

        def is_quiet():
            nonlocal last, same
            before, last = last, self.traffic()
            same = same + 1 if last is not None and before == last else 0
            return same >= LOOKS

        wait_until(is_quiet, "the replica streams have nothing to say")

    def test_replica_streams_carry_nothing_while_nothing_changes(self):
        self.wait_until_quiet()
        before = self.known_traffic()
        until = time.monotonic() + QUIET_S
        while time.monotonic() < until:  # Not even now and then.
            self.assertEqual(self.known_traffic(), before)
        self.assertTrue(self.in_sync())

        # The counters do count. A batch costs a few messages for each follower: with its bytes, with the high
        # watermark, and what was written and synced, on the way back.
        request = producer_service_pb2.ProduceRequest(topic=TOPIC, partition=0, acks=record_pb2.ACKS_ALL,
                                                      records=[record_pb2.Record(value=b"one")])
        self.cluster.producer().Produce(request, timeout=20)
        self.wait_until_quiet()
        after = self.known_traffic()
        messages = sum(after[key] - before[key] for key in after if "messages" in key[1])
        self.assertGreaterEqual(messages, 4, "two followers, a batch and an acknowledgement each")
        self.assertLessEqual(messages, 12)
        self.assertGreater(sum(after[key] - before[key] for key in after if "bytes" in key[1]), 0)


if __name__ == "__main__":
    unittest.main(argv=sys.argv)
