"""What a quorum of metadata nodes promises when one of them is killed, paused, cut off, or loses its disk; and when
the majority is gone. Real processes; run by ctest, or by hand: tests/integration/run.sh build/release
metadata_fault_test.py [unittest arguments].
"""

import glob
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import unittest

from google.protobuf import duration_pb2

from cluster import wait_until
from falaj.v1 import coordination_service_pb2 as pb
from notes import skip
from quorum_case import NODES, QuorumTestCase
from znode_writer import ROOT, caller_of

PAUSE_S = float(os.environ.get("FALAJ_PAUSE_S", "30"))


class MetadataFaultTest(QuorumTestCase):

    def test_leader_killed(self):
        self.start()
        leader = self.leader()
        self.cluster.kill(f"metadata-{leader}")
        self.wait_for_writes()
        self.cluster.start_process(f"metadata-{leader}")
        self.wait_caught_up(leader)
        self.assertLess(self.writer.longest_pause_s, 5)  # Typically a quarter of a second; CI machines stall.
        self.verify()

    def test_leader_paused(self):
        self.start()
        caller = caller_of(self.cluster)
        timeout = duration_pb2.Duration(seconds=2)
        opened = caller.call_until_answered("OpenSession", pb.OpenSessionRequest(timeout=timeout), threading.Event())
        session = opened.response.session
        mine = pb.CreateZnodeRequest(path="/mine", ephemeral=True, options=pb.WriteOptions(session=session))
        caller.call_until_answered("CreateZnode", mine, threading.Event())
        leader = self.leader()
        self.process(leader).child.send_signal(signal.SIGSTOP)
        until = time.monotonic() + PAUSE_S
        while time.monotonic() < until:
            caller.call("KeepSession", pb.KeepSessionRequest(session=session), 0.5)
        self.process(leader).child.send_signal(signal.SIGCONT)
        self.wait_for_writes()
        self.wait_caught_up(leader)
        # To the node that slept, the session had been silent for longer than its timeout.
        self.assertTrue(caller.call_until_answered("GetZnode", pb.GetZnodeRequest(path="/mine"), threading.Event()).ok)
        self.assertTrue(caller.call_until_answered("KeepSession", pb.KeepSessionRequest(session=session),
                                                   threading.Event()).ok)
        caller.close()
        self.assertLess(self.writer.longest_pause_s, 5)
        self.verify()

    def test_follower_paused(self):
        self.start()
        leader = self.leader()
        term = self.metric(leader, "falaj_raft_term")
        follower = next(node for node in NODES if node != leader)
        self.process(follower).child.send_signal(signal.SIGSTOP)
        until = time.monotonic() + PAUSE_S
        self.wait_for_writes(200)
        time.sleep(max(0, until - time.monotonic()))
        self.process(follower).child.send_signal(signal.SIGCONT)
        self.wait_caught_up(follower)
        self.assertEqual(self.metric(leader, "falaj_raft_term"), term, "it disturbed the leader")
        self.verify()

    def cut_follower(self, deaf):
        self.start(network=True)
        leader = self.leader()
        term = self.metric(leader, "falaj_raft_term")
        follower = next(node for node in NODES if node != leader)
        for other in NODES:
            if other != follower:
                self.cluster.links.cut(*((other, follower) if deaf else (follower, other)))
        wait_until(lambda: not self.process(follower).ready(), "the node knows that it is cut off")
        self.wait_for_writes(200)
        self.cluster.links.heal()
        self.wait_caught_up(follower)
        wait_until(self.process(follower).ready, "the node is ready again")
        self.assertEqual(self.leader(), leader)
        self.assertEqual(self.metric(leader, "falaj_raft_term"), term, "it disturbed the leader")
        self.verify()

    def test_follower_hears_nothing(self):
        self.cut_follower(deaf=True)

    def test_follower_is_not_heard(self):
        self.cut_follower(deaf=False)

    def cut_leader(self, deaf):
        self.start(network=True)
        leader = self.leader()
        others = [node for node in NODES if node != leader]
        for other in others:
            self.cluster.links.cut(*((other, leader) if deaf else (leader, other)))
        self.assertIn(self.leader(others), others)
        self.wait_for_writes(100)
        wait_until(lambda: self.metric(leader, "falaj_raft_is_leader") == 0, "the old leader knows that it is none")
        term = self.metric(self.leader(others), "falaj_raft_term")
        self.cluster.links.heal()
        self.wait_caught_up(leader)
        wait_until(self.process(leader).ready, "the node is ready again")
        self.assertEqual(self.metric(self.leader(others), "falaj_raft_term"), term, "it disturbed the new leader")
        self.verify()

    def test_leader_hears_nothing(self):
        self.cut_leader(deaf=True)

    def test_leader_is_not_heard(self):
        self.cut_leader(deaf=False)

    def start_with_a_small_disk(self, leader):
        """Node 1 has a disk that can be filled; the node `leader` leads. Returns the directory of the disk."""
        mount = os.path.join(self.directory, "small")
        os.mkdir(mount)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", mount], check=False).returncode != 0:
            skip(self, "may not mount a small file system here: wants root, outside an unprivileged container")
        self.addCleanup(subprocess.run, ["umount", "-l", mount], check=False)
        self.start(data_directories={"metadata-1": os.path.join(mount, "data")})
        if self.leader() != leader:
            moved = self.falaj_metadata("transfer", str(leader))
            self.assertEqual(moved.returncode, 0, moved.stderr)
        return mount

    def fill(self, mount, until, description):
        """Fills the disk, and writes until the condition holds: some room is allocated already."""
        ballast = os.path.join(mount, "ballast")
        subprocess.run(["dd", "if=/dev/zero", f"of={ballast}", "bs=4k"], check=False, stderr=subprocess.DEVNULL)
        filler = caller_of(self.cluster)

        def is_so():
            filler.call("SetZnode", pb.SetZnodeRequest(path=ROOT, data=os.urandom(1 << 19)))
            return until()

        wait_until(is_so, description, 60)
        filler.close()
        return ballast

    def come_back_from_a_full_disk(self, ballast):
        os.remove(ballast)
        self.assertFalse(self.process(1).ready(), "after a failed write only a restart tells what is on the disk")
        self.cluster.kill("metadata-1")
        self.cluster.start_process("metadata-1")
        self.wait_caught_up(1)
        self.assertLess(self.writer.longest_pause_s, 5)
        self.verify()

    def test_leader_with_a_full_disk_steps_down(self):
        mount = self.start_with_a_small_disk(leader=1)
        ballast = self.fill(mount, lambda: any(self.metric(node, "falaj_raft_is_leader") == 1 for node in (2, 3)),
                            "the leader with the full disk steps down")
        self.wait_for_writes()
        wait_until(lambda: not self.process(1).ready(), "the node with the full disk is not ready")
        self.assertEqual(self.metric(1, "falaj_raft_is_leader"), 0)
        self.come_back_from_a_full_disk(ballast)

    def test_follower_with_a_full_disk_is_not_missed(self):
        mount = self.start_with_a_small_disk(leader=2)
        term = self.metric(2, "falaj_raft_term")
        # Ready it may also be not for a moment, when it cannot keep up with what fills its disk.
        ballast = self.fill(mount, lambda: not self.process(1).live(), "the node says that its disk has failed")
        self.assertFalse(self.process(1).ready())
        self.wait_for_writes()
        self.assertEqual(self.metric(2, "falaj_raft_is_leader"), 1)
        self.assertEqual(self.metric(2, "falaj_raft_term"), term, "the others have no reason to elect")
        self.come_back_from_a_full_disk(ballast)

    def test_damaged_disk_is_refused_and_the_node_rejoins_under_a_new_id(self):
        self.start()
        # What is in the log moves to a table when the node comes back; then the log gets more.
        self.cluster.kill("metadata-3")
        self.cluster.start_process("metadata-3")
        self.wait_caught_up(3)
        self.wait_for_writes()
        self.cluster.kill("metadata-3")
        raft = os.path.join(self.directory, "metadata-3", "raft")
        for kind in ("*.log", "MANIFEST-*", "CURRENT", "*.sst"):
            with self.subTest(kind):
                self.refuses_damage(raft, kind)
        shutil.rmtree(os.path.dirname(raft))
        self.replace(lost=3, new=4, alive=(1, 2))
        self.wait_for_writes()
        self.wait_caught_up(4)
        self.cluster.kill("metadata-1")  # The new one counts: with it two of three are there.
        self.wait_for_writes()
        self.verify((2, 4))

    def refuses_damage(self, raft, kind):
        """Flips a byte in the middle of the largest file of its kind in a copy of the directory."""
        files = sorted(glob.glob(os.path.join(raft, kind)), key=os.path.getsize)
        self.assertTrue(files, f"there is no {kind}")
        intact = raft + "-intact"
        shutil.copytree(raft, intact)
        try:
            with open(files[-1], "r+b") as file:
                file.seek(os.path.getsize(files[-1]) // 2)
                byte = file.read(1)[0]
                file.seek(-1, os.SEEK_CUR)
                file.write(bytes([byte ^ 0x55]))
            process = self.process(3)
            process.start()
            self.assertNotIn(process.child.wait(timeout=30), (0, -signal.SIGABRT, -signal.SIGSEGV))
            process.child = None
            with open(process.log_path, encoding="utf-8") as log:
                last = log.read().splitlines()[-1]
            self.assertIn("DATA_LOSS", last)
            self.assertIn(os.path.basename(files[-1]), last, "it does not name the file")
        finally:
            shutil.rmtree(raft)
            os.rename(intact, raft)

    def test_two_of_three_lost_refuses_writes_and_recovers_when_one_returns(self):
        self.start()
        self.writer.stop()
        for node in NODES:
            self.wait_caught_up(node)
        for node in (1, 2):
            self.cluster.kill(f"metadata-{node}")
        caller = caller_of(self.cluster, pinned=3)
        wait_until(lambda: not self.process(3).ready(), "the last node knows that it is alone")
        create = caller.call("CreateZnode", pb.CreateZnodeRequest(path="/refused"), 5)
        self.assertEqual(create.outcome, "none")
        self.assertEqual(create.metadata["outcome"], "none")
        self.assertFalse(caller.call("GetZnode", pb.GetZnodeRequest(path=ROOT), 1).ok, "nobody can know that it is new")
        local = pb.ReadOptions(consistency=pb.READ_CONSISTENCY_LOCAL)
        self.assertTrue(caller.call("GetZnode", pb.GetZnodeRequest(path=ROOT, options=local), 5).ok)
        status = self.falaj_metadata("status")
        self.assertNotEqual(status.returncode, 0)
        self.assertIn("unreachable", status.stdout)
        self.cluster.processes["metadata-1"].start()
        wait_until(self.process(3).ready, "there is a majority again")
        answer = caller_of(self.cluster).call_until_answered("CreateZnode", pb.CreateZnodeRequest(path="/again"),
                                                             threading.Event())
        self.assertTrue(answer.ok, answer.outcome)
        self.assertEqual(caller.call_until_answered("GetZnode", pb.GetZnodeRequest(path="/refused"),
                                                    threading.Event()).outcome, "ZNODE_NOT_FOUND")
        caller.close()
        self.verify((1, 3))


if __name__ == "__main__":
    unittest.main(argv=sys.argv)
