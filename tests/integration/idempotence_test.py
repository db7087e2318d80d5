"""What an idempotent producer promises: every record once and in order, whoever is killed, shown on real processes.

By hand: tests/integration/run.sh build/release idempotence_test.py [unittest arguments].
"""

import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import unittest

import grpc

from cluster import Cluster, wait_until
from falaj.v1 import consumer_service_pb2, producer_service_pb2, record_pb2, topic_service_pb2
from workload import read_all

BINARIES = os.environ["FALAJ_BINARIES"]
TOPIC = "payments"
PARTITIONS = 2
NODES = ("storage-1", "storage-2", "storage-3")
FLAGS = ("--session_timeout=1s", "--replica_lag_max=2s")
RECORDS_PER_SECOND = 2000


class NumberedLines(threading.Thread):
    """Feeds `falaj produce` with 0, 1, 2, ... for one partition until told to stop, and no number twice."""

    def __init__(self, address, partition):
        super().__init__(daemon=True)
        self.partition = partition
        self.count = 0
        self.stopping = threading.Event()
        self.child = subprocess.Popen(
            [os.path.join(BINARIES, "falaj"), "produce", TOPIC, "-p", str(partition), "--address", address,
             "--timeout", "2m", "--batch-bytes", "1KiB", "--rate", str(RECORDS_PER_SECOND)],
            stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self):
        while not self.stopping.is_set():
            self.child.stdin.write(f"{self.count}\n")
            self.count += 1
        self.child.stdin.close()

    def finish(self):
        """Returns what the command says; fails unless it delivered every line."""
        self.stopping.set()
        self.join(timeout=150)
        with self.child.stderr:
            said = self.child.stderr.read()
        code = self.child.wait(timeout=150)
        assert code == 0, f"falaj produce ended with {code}: {said}"
        return said

    def kill(self):
        self.stopping.set()
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()
        self.child.stderr.close()


class IdempotenceTest(unittest.TestCase):

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="falaj-idempotence-")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.cluster = Cluster(BINARIES, self.directory, storage_nodes=3, gateways=2, storage_flags=FLAGS)
        self.addCleanup(self.cluster.__exit__)
        self.cluster.start()
        self.cluster.wait_online(3)
        self.cluster.create_topic(TOPIC, PARTITIONS, replicas=3, min_in_sync_replicas=2)
        self.wait_in_sync()

    def produce(self):
        # gateway-1 is killed with the rest; gateway-2 only looks on.
        address = self.cluster.processes["gateway-1"].grpc_address
        self.writers = [NumberedLines(address, partition) for partition in range(PARTITIONS)]
        for writer in self.writers:
            self.addCleanup(writer.kill)
            writer.start()

    def partitions(self):
        request = topic_service_pb2.GetTopicRequest(name=TOPIC)
        return self.cluster.topics("gateway-2").GetTopic(request, timeout=10).topic.partitions

    def wait_in_sync(self):
        wait_until(lambda: all(len(p.in_sync_replicas) == 3 and p.leader for p in self.partitions()),
                   "all replicas are in sync", 60)

    def end(self, partition):
        """The high watermark; -1 while nobody tells."""
        request = consumer_service_pb2.FetchRequest(partitions=[consumer_service_pb2.FetchPartition(
            topic=TOPIC, partition=partition, start=record_pb2.OffsetTarget(named=record_pb2.NAMED_OFFSET_LATEST))])
        try:
            part = self.cluster.consumer("gateway-2").Fetch(request, timeout=5).partitions[0]
        except grpc.RpcError:
            return -1
        return -1 if part.HasField("error") else part.high_watermark

    def wait_for_progress(self, records=500):
        for partition in range(PARTITIONS):
            wait_until(lambda p=partition: self.end(p) >= 0, f"partition {partition} is led", 60)
            goal = self.end(partition) + records
            wait_until(lambda p=partition, g=goal: self.end(p) >= g, f"partition {partition} goes on", 60)

    def verify(self):
        repeated = sum("sent again" in writer.finish() for writer in self.writers)
        for writer in self.writers:
            values = [int(value) for _, value in read_all(self.cluster.consumer("gateway-2"), TOPIC, writer.partition)]
            self.assertEqual(values[:1], [0])
            wrong = [(a, b) for a, b in zip(values, values[1:]) if b != a + 1]
            self.assertEqual(wrong, [], "lost, twice, or out of order")
            self.assertEqual(len(values), writer.count, "the last records are missing")
        return repeated

    def truncations(self):
        """How often a node has cut what was not in its leader's log."""
        found = 0
        for name in NODES:
            with open(self.cluster.processes[name].log_path, encoding="utf-8") as log:
                found += len(re.findall("cutting what is not in the leader", log.read()))
        return found

    def test_killed_storage_nodes_and_gateways(self):
        self.produce()
        chance = random.Random(5)
        for _ in range(4):
            for victim in (chance.choice(NODES), "gateway-1"):
                self.wait_for_progress(chance.randint(100, 1000))
                self.cluster.kill(victim)
                self.cluster.start_process(victim)
                self.wait_for_progress()
                self.wait_in_sync()
        repeated = self.verify()
        print(f"{repeated} of {PARTITIONS} producers repeated something; {self.truncations()} truncations")

    def test_everything_killed_at_once(self):
        self.produce()
        for _ in range(3):
            self.wait_for_progress()
            for name in (*NODES, "gateway-1"):
                self.cluster.kill(name)
            for name in (*NODES, "gateway-1"):
                self.cluster.processes[name].start()
            self.cluster.wait_ready()
            self.wait_in_sync()
        self.wait_for_progress()
        self.verify()

    def test_a_paused_leader_keeps_what_it_took_and_cuts_what_nobody_else_has(self):
        self.produce()
        for _ in range(3):
            self.wait_for_progress()
            leader = f"storage-{self.partitions()[0].leader}"
            child = self.cluster.processes[leader].child
            child.send_signal(signal.SIGSTOP)
            try:
                wait_until(lambda name=leader: f"storage-{self.partitions()[0].leader}" not in (name, "storage-0"),
                           "another node leads", 60)
            finally:
                child.send_signal(signal.SIGCONT)
            self.wait_for_progress()
            self.wait_in_sync()
        self.verify()

    def test_a_batch_is_repeated_after_the_leader_changed(self):
        """The table of producers travels with the log: whoever leads answers with the first copy's place."""
        producer = self.cluster.producer()
        identity = producer.InitProducer(producer_service_pb2.InitProducerRequest(), timeout=10)
        self.assertGreaterEqual(identity.producer_id, 0)
        for name in (*NODES, None):
            answer = producer.Produce(producer_service_pb2.ProduceRequest(
                topic=TOPIC, partition=0, acks=record_pb2.ACKS_ALL, batch=first_batch(identity.producer_id)),
                timeout=30, wait_for_ready=True)
            self.assertEqual(answer.appends[0].base_offset, self.first(answer))
            if name is not None:
                self.cluster.kill(name)
                self.cluster.start_process(name)
                self.wait_in_sync()
        self.assertEqual(len(read_all(self.cluster.consumer(), TOPIC, 0)), 1)

    def first(self, answer):
        """The offset of the first answer, which all others must repeat."""
        append = answer.appends[0]
        if not hasattr(self, "place"):
            self.assertFalse(append.duplicate)
            self.place = append.base_offset
        else:
            self.assertTrue(append.duplicate)
        return self.place


def first_batch(producer_id):
    """An encoded batch of one record, the producer's first."""
    record = bytes([0, 0, 0, 1, 2, ord("x"), 0])  # Attributes, deltas, no key, the value "x", no headers.
    record = bytes([len(record) * 2]) + record
    body = (b"\0\0" + (0).to_bytes(4, "big") + (1000).to_bytes(8, "big") * 2 + producer_id.to_bytes(8, "big") +
            b"\0\0" + (0).to_bytes(4, "big") + (1).to_bytes(4, "big") + record)
    checked = b"\xff\xff\xff\xff\x02" + crc32c(body).to_bytes(4, "big") + body
    return (0).to_bytes(8, "big") + len(checked).to_bytes(4, "big") + checked


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


if __name__ == "__main__":
    unittest.main(verbosity=2)
