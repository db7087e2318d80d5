"""A metadata node of the first hour whose disk is lost, and which is started again, empty, under its old id: it must be
refused, whoever leads by then and whether or not anybody can be asked, and nothing that was acknowledged may be lost.
By hand: tests/integration/run.sh build/release founder_test.py [unittest arguments].
"""

import os
import shutil
import sys
import tempfile
import time
import unittest

import grpc

from cluster import Cluster, wait_until
from falaj.internal.v1 import metadata_service_pb2 as pb
from falaj.internal.v1 import metadata_service_pb2_grpc
from quorum_case import BINARIES, NODES, QuorumTestCase

TIMEOUT_S = 10
LONG_ENOUGH_S = 3  # For several elections.


def other_than(*nodes):
    return [node for node in NODES if node not in nodes]


class FounderTest(QuorumTestCase):

    def status(self, node):
        with grpc.insecure_channel(self.process(node).grpc_address) as channel:
            stub = metadata_service_pb2_grpc.MetadataServiceStub(channel)
            return stub.GetStatus(pb.GetStatusRequest(), timeout=TIMEOUT_S, wait_for_ready=True)

    def kill(self, *nodes):
        for node in nodes:
            self.cluster.kill(f"metadata-{node}")

    def start_nodes(self, *nodes):
        for node in nodes:
            self.process(node).start()

    def lose_disk(self, node):
        shutil.rmtree(os.path.join(self.directory, f"metadata-{node}"))

    def check_ends_at_once(self, node, when):
        """The process ends, and its last words say what to do."""
        with self.subTest(when):
            process = self.process(node)
            process.start()
            self.assertEqual(process.child.wait(timeout=30), 1, when)
            process.child = None
            with open(process.log_path, encoding="utf-8") as log:
                last = log.read().splitlines()[-1]
            self.assertIn("the cluster has begun without it", last)
            self.assertIn(f"members remove {node}", last)

    def check_takes_no_part(self, node):
        """It runs, and says why it is not wanted; it has promised nothing."""
        wait_until(lambda: self.status(node).refusal, f"node {node} is refused")
        status = self.status(node)
        self.assertIn(f"members remove {node}", status.refusal)
        self.assertEqual((status.role, status.term, status.last_index), ("founder", 0, 0))
        wait_until(lambda: not self.process(node).live(), "its liveness is off")
        self.assertFalse(self.process(node).ready())

    def start_all_but(self, last):
        directory = tempfile.mkdtemp(prefix="falaj-founder-")
        self.addCleanup(shutil.rmtree, directory, ignore_errors=True)
        self.cluster = Cluster(BINARIES, directory, storage_nodes=0, gateways=0, metadata_nodes=3)
        self.addCleanup(self.cluster.__exit__)
        self.start_nodes(*other_than(last))

    def test_a_follower_lost_its_disk(self):
        self.start()
        leader = self.leader()
        lost = other_than(leader)[0]
        self.wait_caught_up(lost)
        self.kill(lost)
        self.lose_disk(lost)
        self.check_ends_at_once(lost, "the leader of then still leads")
        self.check_ends_at_once(lost, "once more")
        self.kill(leader)
        self.start_nodes(leader)
        self.wait_for_writes()
        self.check_ends_at_once(lost, "the leader of then was restarted")
        third = other_than(leader, lost)[0]
        transferred = self.falaj_metadata("transfer", str(other_than(self.leader((leader, third)), lost)[0]),
                                          nodes=(leader, third))
        self.assertEqual(transferred.returncode, 0, transferred.stderr)
        self.check_ends_at_once(lost, "another one leads")
        self.replace(lost=lost, new=4, alive=(leader, third))
        self.wait_for_writes()
        self.wait_caught_up(4)
        self.verify((leader, third, 4))

    def test_the_leader_lost_its_disk(self):
        self.start()
        lost = self.leader()
        self.kill(lost)
        self.lose_disk(lost)
        self.check_ends_at_once(lost, "it led itself, and perhaps nobody has taken over")
        self.wait_for_writes()
        self.check_ends_at_once(lost, "another one leads")
        self.verify(other_than(lost))

    def test_nobody_can_be_asked_at_first(self):
        self.start()
        lost = self.leader()
        others = other_than(lost)
        for node in others:
            self.wait_caught_up(node)
        self.writer.stop()
        self.kill(*NODES)
        self.lose_disk(lost)
        self.start_nodes(lost)
        wait_until(lambda: self.status(lost).role == "founder", "it waits")
        self.assertEqual(list(self.status(lost).founders_awaited), others)
        time.sleep(LONG_ENOUGH_S)
        self.assertEqual(self.status(lost).term, 0)
        # Two of three are there, and would lose what the third has.
        self.start_nodes(others[0])
        self.check_takes_no_part(lost)
        time.sleep(LONG_ENOUGH_S)
        self.assertFalse(self.process(others[0]).ready())
        self.start_nodes(others[1])
        for node in others:
            wait_until(self.process(node).ready, f"node {node} is ready")
        self.check_takes_no_part(lost)
        self.verify(others)
        # What has waited on the disk is not trusted the next time.
        self.kill(lost)
        self.start_nodes(lost)
        self.check_takes_no_part(lost)

    def test_two_of_three_lost_their_disks(self):
        self.start()
        for node in NODES:
            self.wait_caught_up(node)
        self.writer.stop()
        self.kill(*NODES)
        for node in (1, 2):
            self.lose_disk(node)
            self.start_nodes(node)
        for node in (1, 2):
            wait_until(lambda node=node: list(self.status(node).founders_awaited) == [3], "only the third is missing")
        time.sleep(LONG_ENOUGH_S)
        for node in (1, 2):
            self.assertEqual((self.status(node).role, self.status(node).term), ("founder", 0))
        self.start_nodes(3)
        for node in (1, 2):
            self.check_takes_no_part(node)
        self.assertFalse(self.process(3).ready())
        self.kill(*NODES)
        done = self.falaj("debug", "recover-quorum", os.path.join(self.directory, "metadata-3"), "--node", "3",
                          "--yes-lose-data")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.cluster.start_process("metadata-3")
        self.verify((3,))

    def test_the_cluster_begins_with_its_last_founder(self):
        self.start_all_but(3)
        for node in (1, 2):
            wait_until(lambda node=node: list(self.status(node).founders_awaited) == [3], "only the third is missing")
            self.assertTrue(self.process(node).live())
        time.sleep(LONG_ENOUGH_S)
        self.assertEqual([self.status(node).term for node in (1, 2)], [0, 0])
        # One that waits may lose its disk, too: it has promised nothing.
        self.kill(2)
        shutil.rmtree(os.path.join(self.cluster.directory, "metadata-2"))
        self.start_nodes(2, 3)
        self.cluster.wait_ready()
        # With their disks they come back, all at once.
        self.kill(*NODES)
        self.start_nodes(*NODES)
        self.cluster.wait_ready()


if __name__ == "__main__":
    unittest.main(argv=sys.argv)
