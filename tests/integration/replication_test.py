"""What a topic with three replicas promises when storage nodes die, shown on real processes.

By hand: tests/integration/run.sh build/release replication_test.py [unittest arguments].
"""

import os
import random
import shutil
import subprocess
import sys
import unittest

import grpc

from cluster import error_reason, wait_until
from falaj.v1 import producer_service_pb2, record_pb2, topic_service_pb2
from readers import FetchReader, StreamReader
from replicated_case import BINARIES, ELECTIONS_MAX, NODES, PARTITIONS, TOPIC, ReplicatedCase
from workload import BATCH_RECORDS, check, read_all


class ReplicationTest(ReplicatedCase):

    def test_killed_nodes_lose_nothing_and_writes_go_on_without_them(self):
        self.create()
        chance = random.Random(11)
        for _ in range(6):
            self.wait_for_progress(chance.randint(20, 400))
            victim = chance.choice(NODES)
            self.cluster.kill(victim)
            self.wait_for_progress()  # Two of three go on.
            self.cluster.start_process(victim)
            self.wait_in_sync()
        self.verify()

    def test_everything_killed_at_once_loses_nothing(self):
        self.create()
        for _ in range(3):
            self.wait_for_progress()
            for name in NODES:
                self.cluster.kill(name)
            for name in NODES:
                self.cluster.processes[name].start()
            self.cluster.wait_ready()
            self.wait_in_sync()
        self.wait_for_progress()
        self.verify()

    def refusal(self, partition):
        """The reason why acks ALL is refused, or "" if it is not."""
        request = producer_service_pb2.ProduceRequest(topic=TOPIC, partition=partition, acks=record_pb2.ACKS_ALL,
                                                      records=[record_pb2.Record(value=f"probe-{partition}".encode())])
        try:
            self.cluster.producer().Produce(request, timeout=10)
        except grpc.RpcError as error:
            return error_reason(error)[0]
        return ""

    def test_the_last_of_three_refuses_acks_all_and_is_read_until_one_is_back(self):
        self.create()
        self.wait_for_progress()
        survivor = self.partitions()[0].in_sync_replicas[-1]
        victims = [name for name in NODES if name != f"storage-{survivor}"]
        before = {p: dict(p.acknowledged) for p in self.producers}
        for name in victims:
            self.cluster.kill(name)  # The leader of some partition is among them.
        wait_until(lambda: all(p.leader == survivor and len(p.in_sync_replicas) == 1 for p in self.partitions()),
                   "the last replica leads every partition alone", 60)
        for partition in range(PARTITIONS):
            wait_until(lambda p=partition: self.refusal(p) == "NOT_ENOUGH_REPLICAS", "acks ALL is refused")
        consumer = self.cluster.consumer()
        for producer in self.producers:
            read = {value: offset for offset, value in read_all(consumer, TOPIC, producer.partition)}
            for value, offset in dict(producer.acknowledged).items():
                self.assertEqual(read.get(value, offset), offset, "a record has moved")
            # What was committed in the last moment the survivor may not have heard of.
            unheard = [value for value in before[producer] if value not in read]
            self.assertLessEqual(len(unheard), 5 * BATCH_RECORDS)
            self.assertNotIn(f"probe-{producer.partition}".encode(), read)
        self.cluster.start_process(victims[0])
        self.wait_for_progress()  # Nobody has helped.
        self.cluster.start_process(victims[1])
        self.wait_in_sync()
        self.verify()

    def lose_who_holds_all(self):
        """Node 1 goes on alone and dies; the others, which lack what it acknowledged, come back."""
        # Nothing is under way when the leads move. What a leader has sent to one follower and the gateway then sends
        # to the next leader again would be in two logs, at two offsets, and an unclean election may keep either.
        for producer in self.producers:
            producer.stop()
        for name in NODES[1:]:
            self.cluster.kill(name)
        wait_until(lambda: all(list(p.in_sync_replicas) == [1] for p in self.partitions()), "node 1 is alone", 60)
        self.start_producers("alone")
        self.wait_for_progress()
        self.read_last = {producer.partition: self.fetch(producer.partition, max(list(producer.acknowledged.values())))
                          for producer in self.producers}
        self.cluster.kill(NODES[0])
        for producer in self.producers:
            producer.stop()
        for name in NODES[1:]:
            self.cluster.start_process(name)
        wait_until(lambda: not any(p.leader for p in self.partitions()), "nobody leads")
        self.cluster.wait_online(2)

    def test_an_unclean_election_goes_on_with_what_is_left(self):
        self.create(min_in_sync_replicas=1)
        self.wait_for_progress()
        committed = self.producers
        self.lose_who_holds_all()
        lost = self.producers
        self.assertFalse(any(p.leader for p in self.partitions()), "the topic has not allowed it")
        config = topic_service_pb2.TopicConfig(unclean_election_after={"seconds": 1})
        self.cluster.topics().UpdateTopic(topic_service_pb2.UpdateTopicRequest(
            name=TOPIC, config=config, update_mask={"paths": ["unclean_election_after"]}), timeout=20)
        wait_until(lambda: all(p.leader and p.unclean_epoch == p.leader_epoch for p in self.partitions()),
                   "others lead")
        self.assertIn(f"falaj_cluster_unclean_elections_total {PARTITIONS}\n",
                      self.cluster.processes["metadata-1"].metrics())
        self.start_producers("q")
        self.wait_for_progress()
        self.cluster.start_process(NODES[0])  # It must give up what nobody else has.
        self.wait_in_sync()
        for producer in self.producers:
            producer.stop()
        consumer = self.cluster.consumer()
        for before, producer in zip(committed, lost):
            left = {value: offset for offset, value in read_all(consumer, TOPIC, producer.partition)}
            for value, offset in before.acknowledged.items():
                self.assertEqual(left.get(value), offset, "the others had it, and a record does not move")
            self.assertFalse(left.keys() & producer.acknowledged.keys(), "the topic accepted that")
            # Who had read what is lost learns it, if it says what it has read, and from where on.
            read = self.read_last[producer.partition]
            self.assertGreater(len(read.records), 0)
            answer = self.fetch(producer.partition, read.next_offset, read.last_epoch)
            self.assertEqual(answer.error.reason, "OFFSET_OUT_OF_RANGE")
            diverging = int(answer.error.metadata["diverging_offset"])
            for value, offset in (before.acknowledged | producer.acknowledged).items():
                self.assertEqual(value in left, offset < diverging)
        self.verify()

    def test_a_lost_disk_is_filled_again_from_the_others(self):
        self.create()
        self.wait_for_progress(400)
        self.cluster.kill("storage-2")
        shutil.rmtree(os.path.join(self.directory, "storage-2"))
        self.cluster.start_process("storage-2")
        self.wait_in_sync()
        # Now it counts: with it alone the second of two is there.
        self.cluster.kill("storage-1")
        self.wait_for_progress()
        self.verify()

    def test_stopped_nodes_come_back(self):
        self.create()
        for name in NODES:
            self.wait_for_progress()
            self.cluster.stop(name)
            self.wait_for_progress()
            self.cluster.start_process(name)
            self.wait_in_sync()
        self.verify()

    def test_a_stop_hands_over_so_many_leads_that_no_client_sees_an_error(self):
        # Each node leads more than it hands over at a time. Producers, and who reads all the while, go on.
        self.create(partitions=150)
        readers = [kind(self.cluster.consumer(), TOPIC, range(PARTITIONS), kind.__name__)
                   for kind in (StreamReader, FetchReader)]
        for reader in readers:
            reader.start()
            self.addCleanup(reader.stop)
        for name in NODES:
            self.wait_for_progress()
            failed = sum(producer.failures for producer in self.producers)
            self.cluster.stop(name)
            self.wait_for_progress()
            self.assertEqual(sum(producer.failures for producer in self.producers), failed, f"{name} was stopped")
            self.assertEqual([reader.errors for reader in readers], [[], []], f"{name} was stopped")
            self.cluster.start_process(name)
            self.wait_in_sync()
        for producer in self.producers:
            producer.stop()
            records = read_all(self.cluster.consumer(), TOPIC, producer.partition)
            check(self, records, [producer], control_records=ELECTIONS_MAX)
            offsets = [offset for offset, _ in records]
            for reader in readers:
                wait_until(lambda: len(reader.offsets[producer.partition]) >= len(offsets), f"{reader.name} has it all")
                self.assertEqual(reader.offsets[producer.partition], offsets, f"{reader.name} skips, or goes back")
        self.assertEqual([reader.errors for reader in readers], [[], []])

    def test_a_partition_without_records_is_read_to_its_end(self):
        """It has a control record, which nobody is shown."""
        self.cluster.create_topic(TOPIC, PARTITIONS, replicas=3)
        self.wait_in_sync()
        consumed = subprocess.run([os.path.join(BINARIES, "falaj"), "consume", TOPIC, "-o", "start", "-e", "--address",
                                   self.cluster.processes["gateway-1"].grpc_address],
                                  capture_output=True, text=True, timeout=30, check=True)
        self.assertEqual(consumed.stdout, "")

    def test_without_fsync(self):
        self.create(durability=topic_service_pb2.DURABILITY_OS)
        self.wait_for_progress()
        self.cluster.kill("storage-3")
        self.wait_for_progress()
        self.cluster.start_process("storage-3")
        self.wait_in_sync()
        self.verify()


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]] + sys.argv[1:])
