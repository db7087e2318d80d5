"""Partitions that move to other storage nodes while they are written, shown on real processes.

By hand: tests/integration/run.sh build/release reassign_test.py [unittest arguments].
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

import grpc

from cluster import Cluster, error_reason, wait_until
from falaj.v1 import cluster_service_pb2 as pb
from falaj.v1 import topic_service_pb2
from workload import Producer, check, read_all

BINARIES = os.environ["FALAJ_BINARIES"]
TOPIC = "payments"
PARTITIONS = 3
NODES = range(1, 5)
FLAGS = ("--session_timeout=1s", "--replica_lag_max=2s")
EPOCHS_MAX = 60  # Each begins with a control record, which takes an offset.


class ReassignTest(unittest.TestCase):

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="falaj-reassign-")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.cluster = Cluster(BINARIES, self.directory, storage_nodes=len(NODES), storage_flags=FLAGS)
        self.addCleanup(self.cluster.__exit__)
        self.cluster.start()
        self.cluster.wait_online(len(NODES))

    def create(self, replicas, **config):
        self.cluster.create_topic(TOPIC, PARTITIONS, replicas=replicas, **config)
        self.producers = [Producer(self.cluster.producer(), TOPIC, p, f"p{p}") for p in range(PARTITIONS)]
        for producer in self.producers:
            producer.start()
            self.addCleanup(producer.stop)
        self.wait_for_progress()

    def topic(self):
        return self.cluster.topics().GetTopic(topic_service_pb2.GetTopicRequest(name=TOPIC), timeout=10).topic

    def falaj(self, *arguments):
        """What the command printed: a dictionary for every row."""
        address = self.cluster.processes["gateway-1"].grpc_address
        done = subprocess.run([os.path.join(BINARIES, "falaj"), *arguments, "--address", address, "-o", "json"],
                              capture_output=True, text=True, timeout=90)
        self.assertEqual(done.returncode, 0, done.stderr)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def wait_for_progress(self, records=200):
        goals = {p: len(p.acknowledged) + records for p in self.producers}
        wait_until(lambda: all(len(p.acknowledged) >= goal for p, goal in goals.items()),
                   f"{records} more records are acknowledged on every partition", 60)

    def move_all(self, replicas):
        request = pb.ReassignPartitionsRequest(
            partitions=[pb.PartitionTarget(topic=TOPIC, partition=p, replicas=replicas) for p in range(PARTITIONS)])
        self.cluster.cluster().ReassignPartitions(request, timeout=10)

    def wait_settled(self, replicas=None):
        """Until every partition has these replicas, or any but of that number, and all are in sync."""
        def settled():
            return all(not p.target_replicas and len(p.in_sync_replicas) == len(p.replicas)
                       and replicas in (None, list(p.replicas), len(p.replicas)) for p in self.topic().partitions)
        wait_until(settled, f"every partition has the replicas {replicas}", 60)

    def verify(self):
        """Nothing acknowledged is lost, the replicas are alike, and nobody else has anything."""
        for producer in self.producers:
            producer.stop()
        consumer = self.cluster.consumer()
        for producer in self.producers:
            check(self, read_all(consumer, TOPIC, producer.partition), [producer], control_records=EPOCHS_MAX)
        holders = {p.partition: set(p.replicas) for p in self.topic().partitions}
        logs = {}
        for node in NODES:
            if self.cluster.processes[f"storage-{node}"].child is not None:
                self.cluster.stop(f"storage-{node}")
            logs[node] = self.dump(node)
        for partition, nodes in holders.items():
            copies = sorted((logs[node].pop(partition) for node in nodes), key=len)
            self.assertGreater(len(copies[0]), 0)
            for copy in copies[1:]:
                self.assertEqual(copy[:len(copies[0])], copies[0], f"the copies of partition {partition} differ")
                # Who stopped later may have led on, and begun epochs that the others have not seen.
                self.assertLessEqual(len(copy), len(copies[0]) + 3)
        self.assertEqual([sorted(log) for log in logs.values()], [[]] * len(NODES), "data is left behind")

    def dump(self, node):
        """{partition: [record as JSON]}, everything there is on the disk of a node that has stopped."""
        dumped = subprocess.run([os.path.join(BINARIES, "falaj"), "debug", "dump-log",
                                 os.path.join(self.directory, f"storage-{node}"), "--records", "--limit", "10000000"],
                                capture_output=True, text=True, timeout=60, check=True)
        log = {}
        for line in dumped.stdout.splitlines():
            log.setdefault(json.loads(line)["partition"], []).append(line)
        return log

    def test_partitions_move_there_and_back_under_load(self):
        self.create(replicas=3, min_in_sync_replicas=2)
        for replicas in [1, 2, 3], [2, 3, 4], [1, 2, 3], [4, 1, 2]:
            self.move_all(replicas)
            self.wait_for_progress()
            self.wait_settled(replicas)
        self.assertEqual(self.falaj("cluster", "reassignments"), [])
        rows = self.falaj("cluster", "elect", TOPIC)
        self.assertEqual([row["leader"] for row in rows], [4] * PARTITIONS)
        self.falaj("cluster", "elect", TOPIC, "--node", "1")
        rows = self.falaj("cluster", "elect", "--all")
        self.assertEqual([row["leader"] for row in rows], [4] * PARTITIONS)
        self.wait_for_progress()
        self.verify()

    def test_a_drained_node_holds_nothing(self):
        self.create(replicas=3, min_in_sync_replicas=2)
        self.falaj("cluster", "drain", "2", "--wait")
        row = self.falaj("cluster", "nodes")[1]
        self.assertEqual((row["node"], row["draining"], row["leaders"], row["replicas"]), (2, "yes", 0, 0))
        with self.assertRaises(grpc.RpcError) as refused:
            self.move_all([1, 2, 3])
        self.assertEqual(error_reason(refused.exception)[0], "INVALID_REQUEST")
        self.wait_for_progress()
        wait_until(lambda: "falaj_cluster_reassigning_partitions 0" in self.cluster.processes["metadata-1"].metrics(),
                   "the metadata node counts no reassignment")
        self.wait_settled(3)
        self.verify()

    def test_a_move_that_cannot_end_is_cancelled(self):
        self.create(replicas=3, min_in_sync_replicas=2)
        self.move_all([1, 2, 3])
        self.wait_settled([1, 2, 3])
        self.cluster.kill("storage-4")
        self.move_all([2, 3, 4])
        self.wait_for_progress()
        rows = self.falaj("cluster", "reassignments", TOPIC)
        self.assertEqual([row["adding"] for row in rows], ["4"] * PARTITIONS)
        self.assertEqual(self.falaj("cluster", "cancel", TOPIC), [{"topic": TOPIC, "cancelled": PARTITIONS}])
        self.wait_settled([1, 2, 3])
        self.wait_for_progress()
        self.cluster.start_process("storage-4")  # What it may have begun to copy is dropped.
        self.verify()

    def test_the_number_of_replicas_changes(self):
        self.create(replicas=1)
        for replicas in 3, 2:
            self.falaj("topic", "update", TOPIC, "--replicas", str(replicas), "--wait")
            self.assertEqual(self.topic().replication_factor, replicas)
            self.wait_settled(replicas)
            self.wait_for_progress()
        self.verify()


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]] + sys.argv[1:])
