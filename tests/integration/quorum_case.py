"""A quorum of metadata nodes, as tests that harm it see it."""

import os
import re
import shutil
import subprocess
import tempfile
import unittest

from cluster import Cluster, wait_until
from znode_writer import ZnodeWriter, written

BINARIES = os.environ["FALAJ_BINARIES"]
NODES = (1, 2, 3)


class QuorumTestCase(unittest.TestCase):
    """Starts a quorum of three with a client that writes; ends with the check that nothing it was told is lost."""

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="falaj-metadata-fault-")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)

    def start(self, **options):
        self.cluster = Cluster(BINARIES, self.directory, storage_nodes=0, gateways=0, metadata_nodes=3, **options)
        self.addCleanup(self.cluster.__exit__)
        self.cluster.start()
        self.writer = ZnodeWriter(self.cluster)
        self.writer.start()
        self.addCleanup(self.writer.stop)
        self.wait_for_writes()

    def process(self, node):
        return self.cluster.processes[f"metadata-{node}"]

    def leader(self, among=NODES):
        """The node that leads, among those that can be asked."""
        found = []
        wait_until(lambda: found.extend(n for n in among if self.metric(n, "falaj_raft_is_leader") == 1) or found,
                   "a metadata node leads")
        return found[0]

    def metric(self, node, name):
        match = re.search(rf"^{name}\{{[^}}]*\}} (\S+)$", self.process(node).metrics(), re.MULTILINE)
        return float(match[1]) if match else None

    def wait_for_writes(self, count=50):
        goal = len(self.writer.acknowledged) + count
        wait_until(lambda: len(self.writer.acknowledged) >= goal, f"{count} more writes are acknowledged")

    def wait_caught_up(self, node):
        """Until the node has applied what had been committed by now."""
        committed = self.writer.acknowledged[-1][1]
        wait_until(lambda: (self.metric(node, "falaj_raft_applied_index") or 0) >= committed,
                   f"node {node} has applied {committed}")

    def verify(self, nodes=NODES):
        """Nothing that was acknowledged is lost, nothing is there that nobody wrote, at any node."""
        self.writer.stop()
        attempted = {f"n{i}" for i in range(1, self.writer.attempted + 1)}
        for node in nodes:
            there = written(self.cluster, node)
            self.assertEqual({name for name, _ in self.writer.acknowledged} - there, set(), f"lost at node {node}")
            self.assertLessEqual(there, attempted)

    def falaj(self, *arguments):
        return subprocess.run([os.path.join(BINARIES, "falaj"), *arguments], capture_output=True, text=True,
                              timeout=60, check=False)

    def falaj_metadata(self, *arguments, nodes=NODES):
        addresses = ",".join(self.process(node).grpc_address for node in nodes)
        return self.falaj("metadata", *arguments, "--metadata", addresses, "--timeout", "10s")

    def replace(self, lost, new, alive):
        """A new member takes the place of one that is lost for good."""
        if lost is not None:
            removed = self.falaj_metadata("members", "remove", str(lost), nodes=alive)
            self.assertEqual(removed.returncode, 0, removed.stderr)
        self.cluster.add_joining_metadata(new).start()
        added = self.falaj_metadata("members", "add", f"{new}={self.process(new).grpc_address}", nodes=alive)
        self.assertEqual(added.returncode, 0, added.stderr)
        wait_until(self.process(new).ready, f"node {new} has joined")
        self.writer.add_node(new, self.process(new).grpc_address)  # It may be the next to lead.
