"""What tests of a topic with three replicas on three storage nodes share."""

import json
import os
import shutil
import subprocess
import tempfile
import unittest

from cluster import Cluster, wait_until
from falaj.v1 import consumer_service_pb2, record_pb2, topic_service_pb2
from workload import Producer, check, read_all

BINARIES = os.environ["FALAJ_BINARIES"]
TOPIC = "payments"
PARTITIONS = 3
NODES = ("storage-1", "storage-2", "storage-3")
FLAGS = ("--session_timeout=1s", "--replica_lag_max=2s")
ELECTIONS_MAX = 100  # Each begins with a control record, which takes an offset.


class ReplicatedCase(unittest.TestCase):

    STORAGE_FLAGS = FLAGS

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="falaj-replicas-")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.cluster = Cluster(BINARIES, self.directory, storage_nodes=3, storage_flags=self.STORAGE_FLAGS)
        self.addCleanup(self.cluster.__exit__)
        self.cluster.start()
        self.cluster.wait_online(3)

    def create(self, partitions=PARTITIONS, **config):
        self.cluster.create_topic(TOPIC, partitions, replicas=3, **{"min_in_sync_replicas": 2, **config})
        self.wait_in_sync()
        self.start_producers("p")

    def start_producers(self, name):
        self.producers = [Producer(self.cluster.producer(), TOPIC, p, f"{name}{p}") for p in range(PARTITIONS)]
        for producer in self.producers:
            producer.start()
            self.addCleanup(producer.stop)

    def partitions(self):
        request = topic_service_pb2.GetTopicRequest(name=TOPIC)
        return self.cluster.topics().GetTopic(request, timeout=10).topic.partitions

    def fetch(self, partition, offset, last_epoch=None):
        request = consumer_service_pb2.FetchRequest(partitions=[consumer_service_pb2.FetchPartition(
            topic=TOPIC, partition=partition, start=record_pb2.OffsetTarget(offset=offset), last_epoch=last_epoch)])
        return self.cluster.consumer().Fetch(request, timeout=20, wait_for_ready=True).partitions[0]

    def wait_in_sync(self, replicas=3):
        wait_until(lambda: all(len(p.in_sync_replicas) == replicas and p.leader for p in self.partitions()),
                   f"{replicas} replicas of every partition are in sync", 60)

    def wait_for_progress(self, records=200):
        goals = {p: len(p.acknowledged) + records for p in self.producers}
        wait_until(lambda: all(len(p.acknowledged) >= goal for p, goal in goals.items()),
                   f"{records} more records are acknowledged on every partition", 60)

    def verify(self):
        for producer in self.producers:
            producer.stop()
        consumer = self.cluster.consumer()
        for producer in self.producers:
            check(self, read_all(consumer, TOPIC, producer.partition), [producer], control_records=ELECTIONS_MAX)
            self.assertGreater(len(producer.acknowledged), 0)
        self.verify_replicas()

    def verify_replicas(self):
        """Every node holds the same batches, with the same checksums, at the same offsets."""
        for name in NODES:
            if self.cluster.processes[name].child is None:
                self.cluster.start_process(name)
        self.wait_in_sync()
        logs = []
        for name in NODES:
            self.cluster.stop(name)
            logs.append(self.dump(name))
        for partition in range(PARTITIONS):
            copies = sorted((log[partition] for log in logs), key=len)
            self.assertGreater(len(copies[0]), 0)
            for copy in copies[1:]:
                self.assertEqual(copy[:len(copies[0])], copies[0], f"the copies of partition {partition} differ")
                # Who stopped later may have led on, and begun epochs that the others have not seen.
                self.assertLessEqual(len(copy), len(copies[0]) + 2)

    def dump(self, name):
        """{partition: [record as JSON]}, everything there is on the disk of a node that has stopped."""
        dumped = subprocess.run([os.path.join(BINARIES, "falaj"), "debug", "dump-log",
                                 os.path.join(self.directory, name), "--records", "--limit", "10000000"],
                                capture_output=True, text=True, timeout=60, check=True)
        log = {partition: [] for partition in range(PARTITIONS)}
        for line in dumped.stdout.splitlines():
            log[json.loads(line)["partition"]].append(line)
        return log
