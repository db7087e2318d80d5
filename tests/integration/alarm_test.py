"""No false alarms: who is slow for a while is not declared dead, and who is silent for too long is.

By hand: tests/integration/run.sh build/release alarm_test.py [unittest arguments].
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from cluster import Cluster, wait_until
from falaj.v1 import cluster_service_pb2
from workload import Producer, check, read_all

BINARIES = os.environ["FALAJ_BINARIES"]
TOPIC = "orders"
PARTITIONS = 3
NODES = ("storage-1", "storage-2", "storage-3")
SESSION_S = 4
FLAGS = (f"--session_timeout={SESSION_S}s",)
# A node beats every third of its session: the last beat may be that old when it is paused.
PAUSE_S = SESSION_S / 2
LOAD_S = 3 * SESSION_S
BUSY_PROCESSES_PER_CORE = 4
EXPIRED = r"^falaj_cluster_sessions_expired_total(?:\{[^}]*\})? (\S+)$"


class AlarmTest(unittest.TestCase):

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="falaj-alarm-test-")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.cluster = Cluster(BINARIES, self.directory, storage_nodes=3, metadata_nodes=3, storage_flags=FLAGS)
        self.addCleanup(self.cluster.__exit__)
        self.cluster.start()
        self.cluster.wait_online(3)
        self.cluster.create_topic(TOPIC, PARTITIONS, replicas=3, min_in_sync_replicas=2)
        wait_until(lambda: all(len(p.in_sync_replicas) == 3 and p.leader for p in self.cluster.partitions(TOPIC)),
                   "all replicas are in sync", 60)
        self.producers = [Producer(self.cluster.producer(), TOPIC, p, f"p{p}") for p in range(PARTITIONS)]
        for producer in self.producers:
            producer.start()
            self.addCleanup(producer.stop)

    def expired_sessions(self):
        """How many sessions have expired, as counted by all metadata nodes: whoever led then counts."""
        total = 0
        for name, process in self.cluster.processes.items():
            if name.startswith("metadata-"):
                pages = []
                wait_until(lambda: pages.append(process.metrics()) or pages[-1], f"{name} tells its metrics")
                total += float(re.search(EXPIRED, pages[-1], re.MULTILINE).group(1))
        return total

    def incarnations(self):
        """{node: the epoch it was given when it registered}: another one for who has been declared dead."""
        answer = self.cluster.cluster().GetCluster(cluster_service_pb2.GetClusterRequest(), timeout=10)
        return {node.node_id: node.node_epoch for node in answer.nodes}

    def pause(self, name, seconds):
        child = self.cluster.processes[name].child
        child.send_signal(signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            child.send_signal(signal.SIGCONT)

    def wait_for_progress(self):
        goals = {p: len(p.acknowledged) + 100 for p in self.producers}
        wait_until(lambda: all(len(p.acknowledged) >= goal for p, goal in goals.items()),
                   "more records are acknowledged on every partition", 60)

    def verify(self):
        for producer in self.producers:
            producer.stop()
            check(self, read_all(self.cluster.consumer(), TOPIC, producer.partition), [producer], control_records=100)

    def test_a_node_that_is_paused_within_its_session_lives_and_one_paused_beyond_it_does_not(self):
        before = self.incarnations()
        for name in NODES:
            self.wait_for_progress()
            self.pause(name, PAUSE_S)
        self.wait_for_progress()
        self.assertEqual(self.expired_sessions(), 0)
        self.assertEqual(self.incarnations(), before)
        self.pause(NODES[0], 2 * SESSION_S)
        self.wait_for_progress()
        self.assertEqual(self.expired_sessions(), 1)
        wait_until(lambda: self.incarnations()[1] > before[1], "the node has registered anew", 60)
        self.verify()

    def test_a_machine_under_full_load_is_no_dead_node(self):
        before = self.incarnations()
        epochs = [partition.leader_epoch for partition in self.cluster.partitions(TOPIC)]
        busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"])
                for _ in range(BUSY_PROCESSES_PER_CORE * os.cpu_count())]
        try:
            deadline = time.monotonic() + LOAD_S
            while time.monotonic() < deadline:
                self.wait_for_progress()
        finally:
            for process in busy:
                process.kill()
                process.wait()
        self.assertEqual(self.expired_sessions(), 0)
        self.assertEqual(self.incarnations(), before)
        self.assertEqual([partition.leader_epoch for partition in self.cluster.partitions(TOPIC)], epochs)
        self.verify()


if __name__ == "__main__":
    unittest.main(argv=sys.argv)
