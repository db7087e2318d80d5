"""The network between nodes cuts what it is told to cut, and nothing else.

By hand: tests/integration/run.sh build/release network_test.py
"""

import socket
import subprocess
import sys
import unittest

from cluster import free_port
from network import Network

# A node as the network knows one: by the address it listens at. It passes on what it reads from standard input to the
# node it dials, and prints what comes back.
NODE = """
import socket, sys
peer = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
for line in sys.stdin:
    peer.sendall(line.encode())
    print(peer.recv(100).decode(), end="", flush=True)
"""
SHORT_S = 0.3  # So long nothing must arrive.


class NetworkTest(unittest.TestCase):

    def setUp(self):
        self.server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.server.close)
        self.network = Network({"a": free_port(), "b": self.server.getsockname()[1], "c": free_port()})
        self.addCleanup(self.network.close)
        self.node = self.dial("a")
        self.end, _ = self.server.accept()
        self.addCleanup(self.end.close)
        self.end.settimeout(5)

    def dial(self, name):
        """Starts a node that dials b."""
        port = self.network.port_of(name)
        node = subprocess.Popen([sys.executable, "-c", NODE, f"--listen=127.0.0.1:{port}",
                                 self.network.address("b").rsplit(":", 1)[1]],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.addCleanup(node.stdout.close)
        self.addCleanup(node.wait)
        self.addCleanup(node.kill)
        self.addCleanup(node.stdin.close)
        return node

    def send(self, text):
        self.node.stdin.write(text + "\n")

    def assert_silent(self):
        self.end.settimeout(SHORT_S)
        with self.assertRaises(TimeoutError):
            self.end.recv(100)
        self.end.settimeout(5)

    def test_everything_arrives(self):
        self.send("there")
        self.assertEqual(self.end.recv(100), b"there\n")
        self.end.sendall(b"back\n")
        self.assertEqual(self.node.stdout.readline(), "back\n")

    def test_one_direction_is_cut(self):
        self.network.cut("b", "a")
        self.send("there")
        self.assertEqual(self.end.recv(100), b"there\n")
        self.end.sendall(b"back\n")
        self.network.cut("a", "b")
        self.network.heal()
        self.assertEqual(self.node.stdout.readline(), "back\n")
        self.network.cut("a", "b")
        self.send("late")
        self.assert_silent()
        self.network.heal()
        self.assertEqual(self.end.recv(100), b"late\n")

    def test_links_of_others_go_on(self):
        self.network.part(["c"], ["a", "b"])
        self.test_everything_arrives()

    def test_a_connection_may_be_lost(self):
        self.network.cut("a", "b")
        self.send("gone")
        self.assert_silent()
        self.network.heal(lose=True)
        with self.assertRaises(ConnectionError):
            if self.end.recv(100) == b"":
                raise ConnectionError


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]] + sys.argv[1:])
