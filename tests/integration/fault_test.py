"""What a cluster promises when its processes die or its disk fills up, shown on real processes.

Run by ctest; by hand: tests/integration/run.sh build/release [unittest arguments].
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import unittest

import grpc

from cluster import Cluster, error_reason, wait_until
from falaj.v1 import producer_service_pb2, record_pb2, topic_service_pb2
from notes import skip
from workload import Producer, check, read_all

BINARIES = os.environ["FALAJ_BINARIES"]
TOPIC = "orders"
PARTITIONS = 3


class FaultTest(unittest.TestCase):

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="falaj-fault-")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)

    def cluster(self, **options):
        cluster = Cluster(BINARIES, self.directory, **options)
        self.addCleanup(cluster.__exit__)
        cluster.start()
        cluster.wait_online(options.get("storage_nodes", 1))
        return cluster

    def produce_in_background(self, cluster, gateway="gateway-1"):
        producers = [Producer(cluster.producer(gateway), TOPIC, p, f"p{p}") for p in range(PARTITIONS)]
        for producer in producers:
            producer.start()
            self.addCleanup(producer.stop)  # Before the cluster goes away, also when the test fails.
        return producers

    def wait_for_progress(self, producers, records=200):
        """Until every producer has so many more acknowledged records: the system works now."""
        goals = {p: len(p.acknowledged) + records for p in producers}
        wait_until(lambda: all(len(p.acknowledged) >= goal for p, goal in goals.items()),
                   f"{records} more records are acknowledged on every partition", 60)

    def verify(self, cluster, producers, gateway="gateway-1"):
        for producer in producers:
            producer.stop()
        consumer = cluster.consumer(gateway)
        for producer in producers:
            records = read_all(consumer, TOPIC, producer.partition)
            check(self, records, [producer])
            self.assertGreater(len(producer.acknowledged), 0)

    def test_storage_node_killed_under_load_loses_nothing(self):
        cluster = self.cluster()
        cluster.create_topic(TOPIC, PARTITIONS)
        producers = self.produce_in_background(cluster)
        chance = random.Random(7)
        for _ in range(4):
            self.wait_for_progress(producers, chance.randint(20, 400))
            cluster.kill("storage-1")
            cluster.start_process("storage-1")
        self.wait_for_progress(producers)
        self.verify(cluster, producers)

    def test_everything_killed_and_restarted_loses_nothing(self):
        cluster = self.cluster(storage_nodes=2)
        cluster.create_topic(TOPIC, PARTITIONS)
        producers = self.produce_in_background(cluster)
        self.wait_for_progress(producers)
        for name in cluster.processes:
            cluster.kill(name)
        for process in cluster.processes.values():
            process.start()
        cluster.wait_ready()
        self.wait_for_progress(producers)
        self.verify(cluster, producers)

    def test_gateway_killed_and_replaced(self):
        cluster = self.cluster(gateways=2)
        cluster.create_topic(TOPIC, PARTITIONS)
        producers = self.produce_in_background(cluster)
        self.wait_for_progress(producers)
        cluster.kill("gateway-1")
        for producer in producers:
            producer.stub = cluster.producer("gateway-2")
        self.wait_for_progress(producers)
        self.verify(cluster, producers, "gateway-2")

    def test_produce_and_fetch_go_on_without_the_metadata_service(self):
        cluster = self.cluster()
        cluster.create_topic(TOPIC, PARTITIONS)
        producers = self.produce_in_background(cluster)
        self.wait_for_progress(producers)
        cluster.kill("metadata-1")
        failures = [p.failures for p in producers]
        self.wait_for_progress(producers, 2000)
        self.assertEqual([p.failures for p in producers], failures, "a produce failed while metadata was down")
        read_all(cluster.consumer(), TOPIC, 0)
        with self.assertRaises(grpc.RpcError) as caught:
            cluster.topics().CreateTopic(topic_service_pb2.CreateTopicRequest(name="new"), timeout=10)
        self.assertIn(error_reason(caught.exception)[0], ("METADATA_UNAVAILABLE", "TIMED_OUT"))
        cluster.start_process("metadata-1")
        cluster.create_topic("new", 1)
        self.verify(cluster, producers)

    def test_metadata_leader_killed_or_paused_loses_no_topic(self):
        cluster = self.cluster(metadata_nodes=3)
        cluster.create_topic(TOPIC, PARTITIONS)
        producers = self.produce_in_background(cluster)
        created = []

        def create():
            created.append(f"t{len(created)}")
            cluster.create_topic(created[-1], 1)  # Raises if the answer takes 20 s.

        addresses = ",".join(p.grpc_address for name, p in cluster.processes.items() if name.startswith("metadata-"))

        def falaj_metadata(*arguments):
            return subprocess.run([os.path.join(BINARIES, "falaj"), "metadata", *arguments, "--metadata", addresses,
                                   "--timeout", "5s"], capture_output=True, text=True, timeout=60)

        target = next(n for n in (1, 2, 3) if f"metadata-{n}" != cluster.metadata_leader())
        # On a busy machine the target may not catch up in time; then the leader stays, and says so.
        wait_until(lambda: falaj_metadata("transfer", str(target)).returncode == 0, "the lead is handed over")
        self.assertEqual(f"metadata-{target}", cluster.metadata_leader())
        for _ in range(3):
            leader = cluster.metadata_leader()
            cluster.kill(leader)
            create()
            cluster.start_process(leader)
            create()
        paused = cluster.processes[cluster.metadata_leader()]
        paused.child.send_signal(signal.SIGSTOP)
        create()
        paused.child.send_signal(signal.SIGCONT)
        cluster.wait_ready()
        create()
        # Two of three: no majority, so no answer, but records go on.
        away = [name for name in ("metadata-1", "metadata-2")]
        for name in away:
            cluster.kill(name)
        with self.assertRaises(grpc.RpcError):
            cluster.topics().CreateTopic(
                topic_service_pb2.CreateTopicRequest(name="never", partition_count=1), timeout=2)
        self.assertIn("unreachable", falaj_metadata("status").stdout)
        self.assertNotEqual(0, falaj_metadata("status").returncode)
        self.wait_for_progress(producers)
        for name in away:
            cluster.start_process(name)
        create()
        listed = cluster.topics().ListTopics(topic_service_pb2.ListTopicsRequest(page_size=100), timeout=20)
        self.assertLessEqual(set(created), {topic.name for topic in listed.topics})
        self.verify(cluster, producers)

    def test_graceful_stop_and_restart_keeps_everything(self):
        cluster = self.cluster()
        cluster.create_topic(TOPIC, PARTITIONS)
        producers = self.produce_in_background(cluster)
        self.wait_for_progress(producers)
        for name in ("gateway-1", "storage-1", "metadata-1"):
            cluster.stop(name)
        for process in cluster.processes.values():
            process.start()
        cluster.wait_ready()
        self.wait_for_progress(producers)
        self.verify(cluster, producers)

    def small_disk(self, size):
        """A directory on a file system of its own, for a storage node that is to fill it."""
        mount = os.path.join(self.directory, "small")
        os.mkdir(mount)
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", mount]
        if subprocess.run(command, check=False).returncode != 0:
            skip(self, "may not mount a small file system here: wants root, outside an unprivileged container")
        self.addCleanup(subprocess.run, ["umount", "-l", mount], check=False)
        return mount

    def test_full_disk_refuses_produce_and_recovers_by_itself(self):
        mount = self.small_disk("256m")
        cluster = self.cluster(data_directories={"storage-1": os.path.join(mount, "data")})
        cluster.create_topic(TOPIC, 1)
        producer = cluster.producer()
        request = producer_service_pb2.ProduceRequest(
            topic=TOPIC, partition=0, acks=record_pb2.ACKS_ALL,
            records=[record_pb2.Record(value=os.urandom(64 * 1024)) for _ in range(8)])
        ballast = os.path.join(mount, "ballast")
        subprocess.run(["fallocate", "-l", "150M", ballast], check=True)
        acknowledged = 0

        def attempt():
            nonlocal acknowledged
            answer = producer.Produce(request, timeout=20)
            acknowledged += len(answer.positions)

        with self.assertRaises(grpc.RpcError) as caught:
            for _ in range(400):
                attempt()
        reason, metadata = error_reason(caught.exception)
        self.assertEqual(reason, "DISK_FULL")
        self.assertEqual(metadata.get("node"), "1")
        self.assertEqual(len(read_all(cluster.consumer(), TOPIC, 0)), acknowledged, "reads must go on")

        os.remove(ballast)
        recovered = threading.Event()

        def try_again():
            try:
                attempt()
                recovered.set()
            except grpc.RpcError:
                pass
            return recovered.is_set()

        wait_until(try_again, "the storage node takes records again")
        records = read_all(cluster.consumer(), TOPIC, 0)
        self.assertEqual([offset for offset, _ in records], list(range(acknowledged)))

    def test_deleting_a_topic_makes_room_on_a_full_disk(self):
        mount = self.small_disk("256m")
        cluster = self.cluster(data_directories={"storage-1": os.path.join(mount, "data")})
        cluster.create_topic(TOPIC, 1)
        cluster.create_topic("large", 1)
        producer = cluster.producer()
        values = [os.urandom(64 * 1024) for _ in range(8)]

        def produce(topic):
            request = producer_service_pb2.ProduceRequest(
                topic=topic, partition=0, acks=record_pb2.ACKS_ALL,
                records=[record_pb2.Record(value=value) for value in values])
            return producer.Produce(request, timeout=20)

        kept = [produce(TOPIC).positions[0].offset for _ in range(4)]  # In one slab with the other topic's.
        with self.assertRaises(grpc.RpcError) as caught:
            for _ in range(2000):
                produce("large")
        self.assertEqual(error_reason(caught.exception)[0], "DISK_FULL")
        with self.assertRaises(grpc.RpcError) as caught:
            produce(TOPIC)
        self.assertEqual(error_reason(caught.exception)[0], "DISK_FULL")

        cluster.topics().DeleteTopic(topic_service_pb2.DeleteTopicRequest(name="large"), timeout=20)

        def try_again():
            try:
                kept.append(produce(TOPIC).positions[0].offset)
                return True
            except grpc.RpcError as error:
                self.assertEqual(error_reason(error)[0], "DISK_FULL")
                return False

        wait_until(try_again, "the storage node takes records again", 60)
        # Not for a moment: what the topic held has gone, so there is room for as much again.
        for _ in range(len(values)):
            kept.append(produce(TOPIC).positions[0].offset)
        records = read_all(cluster.consumer(), TOPIC, 0)
        self.assertEqual([value for _, value in records], values * len(kept))
        self.assertEqual([offset for offset, _ in records], list(range(len(records))))


if __name__ == "__main__":
    unittest.main(argv=sys.argv)
