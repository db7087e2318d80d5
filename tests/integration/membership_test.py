"""Changing who the metadata nodes are: what is refused, and how the service comes back when its majority is lost for
good. By hand: tests/integration/run.sh build/release membership_test.py [unittest arguments].
"""

import os
import shutil
import signal
import sys
import unittest

import grpc

from cluster import error_reason, wait_until
from falaj.internal.v1 import metadata_service_pb2 as pb
from falaj.internal.v1 import metadata_service_pb2_grpc
from quorum_case import NODES, QuorumTestCase
from znode_writer import ZnodeWriter, written

TIMEOUT_S = 10
NOWHERE = "127.0.0.1:1"


class MembershipTest(QuorumTestCase):

    def stub(self, node):
        return metadata_service_pb2_grpc.MetadataServiceStub(self.cluster.channel(f"metadata-{node}"))

    def change(self, node, kind, address=""):
        change = getattr(pb, f"MEMBERSHIP_CHANGE_{kind}")
        return pb.ChangeMembershipRequest(node_id=node, change=change, address=address)

    def refused(self, call, request):
        """(reason, metadata) of the refusal."""
        with self.assertRaises(grpc.RpcError) as caught:
            call(request, timeout=TIMEOUT_S)
        return error_reason(caught.exception)

    def member(self, leader, node):
        status = self.stub(leader).GetStatus(pb.GetStatusRequest(), timeout=TIMEOUT_S)
        return next((member for member in status.members if member.node_id == node), None)

    def pause(self, node):
        self.process(node).child.send_signal(signal.SIGSTOP)

    def resume(self, node):
        self.process(node).child.send_signal(signal.SIGCONT)

    def test_requests_that_make_no_sense(self):
        self.start()
        leader = self.leader()
        follower = next(node for node in NODES if node != leader)
        change, transfer = self.stub(leader).ChangeMembership, self.stub(leader).TransferLeadership
        self.assertEqual(self.refused(change, self.change(9, "PROMOTE"))[0], "NODE_NOT_FOUND")
        self.assertEqual(self.refused(change, self.change(9, "SET_ADDRESS", NOWHERE))[0], "NODE_NOT_FOUND")
        self.assertEqual(self.refused(change, self.change(0, "ADD_LEARNER", NOWHERE))[0], "INVALID_REQUEST")
        self.assertEqual(self.refused(change, self.change(9, "ADD_LEARNER"))[0], "INVALID_REQUEST")
        self.assertEqual(self.refused(change, pb.ChangeMembershipRequest(node_id=9)),
                         ("INVALID_REQUEST", {"field": "change"}))
        change(self.change(9, "REMOVE"), timeout=TIMEOUT_S)  # It is no member: what was asked for is so.
        self.assertEqual(self.refused(transfer, pb.TransferLeadershipRequest(node_id=9)),
                         ("NODE_NOT_FOUND", {"node_id": "9"}))
        self.assertEqual(self.refused(transfer, pb.TransferLeadershipRequest(node_id=leader)),
                         ("INVALID_REQUEST", {"node_id": str(leader)}))
        reason, metadata = self.refused(self.stub(follower).TransferLeadership,
                                        pb.TransferLeadershipRequest(node_id=follower))
        self.assertEqual((reason, metadata["outcome"], metadata["leader"]),
                         ("METADATA_UNAVAILABLE", "none", self.process(leader).grpc_address))
        self.verify()

    def test_one_change_at_a_time(self):
        self.start()
        leader = self.leader()
        followers = [node for node in NODES if node != leader]
        stub = self.stub(leader)
        stub.GetStatus(pb.GetStatusRequest(), timeout=TIMEOUT_S)  # The connection stands.
        for node in followers:
            self.pause(node)
        first = stub.ChangeMembership.future(self.change(8, "ADD_LEARNER", NOWHERE), timeout=TIMEOUT_S)
        second = self.refused(stub.ChangeMembership, self.change(9, "ADD_LEARNER", NOWHERE))
        for node in followers:
            self.resume(node)
        self.assertEqual(second, ("MEMBERSHIP_CHANGING", {}))
        try:
            first.result()
        except grpc.RpcError:
            pass  # Its leader may have lost the lead: then nobody knows.
        wait_until(lambda: all(self.process(node).ready() for node in NODES), "all are ready again")
        self.assertIsNone(self.member(self.leader(), 9))
        self.verify()

    def test_a_member_that_lags_neither_votes_nor_leads(self):
        self.start()
        leader = self.leader()
        self.stub(leader).ChangeMembership(self.change(9, "ADD_LEARNER", NOWHERE), timeout=TIMEOUT_S)
        reason, metadata = self.refused(self.stub(leader).ChangeMembership, self.change(9, "PROMOTE"))
        self.assertEqual((reason, metadata["node_id"]), ("NODE_LAGS", "9"))
        self.assertEqual(self.refused(self.stub(leader).TransferLeadership, pb.TransferLeadershipRequest(node_id=9)),
                         ("INVALID_REQUEST", {"node_id": "9"}))
        follower = next(node for node in NODES if node != leader)
        self.pause(follower)
        wait_until(lambda: not self.member(leader, follower).active, "the leader misses the follower")
        self.assertEqual(
            self.refused(self.stub(leader).TransferLeadership, pb.TransferLeadershipRequest(node_id=follower)),
            ("NODE_LAGS", {"node_id": str(follower)}))
        self.resume(follower)
        self.stub(leader).ChangeMembership(self.change(9, "REMOVE"), timeout=TIMEOUT_S)
        self.verify()

    def test_lost_majority(self):
        self.start()
        self.writer.stop()
        before = self.writer
        self.wait_caught_up(3)
        for node in NODES:
            self.cluster.kill(f"metadata-{node}")
        shutil.rmtree(os.path.join(self.directory, "metadata-1"))
        directory = os.path.join(self.directory, "metadata-3")
        asked = self.falaj("debug", "recover-quorum", directory, "--node", "3")
        self.assertEqual(asked.returncode, 2)
        self.assertIn("--yes-lose-data", asked.stderr)
        done = self.falaj("debug", "recover-quorum", directory, "--node", "3", "--yes-lose-data")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("incarnation", done.stdout)
        self.cluster.start_process("metadata-3")
        self.replace(lost=None, new=4, alive=(3,))
        self.replace(lost=None, new=5, alive=(3, 4))
        # A member of before comes back: it stands for a quorum that is no more, and must not be heard.
        term = self.metric(self.leader((3, 4, 5)), "falaj_raft_term")
        self.cluster.processes["metadata-2"].start()
        self.cluster.kill("metadata-3")
        after = ZnodeWriter(self.cluster, nodes=(4, 5), prefix="after")
        after.start()
        self.addCleanup(after.stop)
        wait_until(lambda: len(after.acknowledged) >= 50, "the new members write without the old ones")
        after.stop()
        self.assertFalse(self.process(2).ready())
        self.assertLess(self.metric(self.leader((4, 5)), "falaj_raft_term"), term + 10)
        for node in (4, 5):
            there = written(self.cluster, node)
            self.assertLessEqual({name for name, _ in before.acknowledged + after.acknowledged}, there)


if __name__ == "__main__":
    unittest.main(argv=sys.argv)
