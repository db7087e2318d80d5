"""A client that creates znodes and remembers which were acknowledged, for tests that harm the metadata nodes."""

import threading
import time

from caller import Caller
from falaj.v1 import coordination_service_pb2 as pb

ROOT = "/written"


def caller_of(cluster, seed=1, pinned=None, nodes=None):
    """A way to the metadata nodes of a cluster, or some of them; `pinned`: to this one only."""
    addresses = {n: f"127.0.0.1:{port}" for n, port in cluster.metadata_ports.items() if nodes is None or n in nodes}

    def node_at(address):
        known = next((node for node, at in list(addresses.items()) if at == address), None)
        return known or (cluster.links and cluster.links.node_at(address))

    return Caller(addresses, node_at, seed, pinned)


class ZnodeWriter(threading.Thread):
    """Creates numbered znodes, one after the other. None is attempted twice, so none may be there that was refused."""

    def __init__(self, cluster, nodes=None, prefix="n"):
        super().__init__(daemon=True)
        self._caller = caller_of(cluster, nodes=nodes)
        self._prefix = prefix
        self._stopping = threading.Event()
        self.acknowledged = []  # [(name, index)]
        self.attempted = 0
        self.longest_pause_s = 0.0
        answer = self._caller.call_until_answered("CreateZnode", pb.CreateZnodeRequest(path=ROOT), self._stopping, 5)
        assert answer.outcome in ("ok", "ZNODE_ALREADY_EXISTS"), answer.outcome

    def run(self):
        last = time.monotonic()
        while not self._stopping.is_set():
            self.attempted += 1
            name = f"{self._prefix}{self.attempted}"
            answer = self._caller.call("CreateZnode", pb.CreateZnodeRequest(path=f"{ROOT}/{name}", data=name.encode()),
                                       timeout_s=0.5)
            if answer.ok:
                self.acknowledged.append((name, answer.response.index))
                self.longest_pause_s = max(self.longest_pause_s, time.monotonic() - last)
                last = time.monotonic()
            self._stopping.wait(0.005)

    def add_node(self, node, address):
        self._caller.add_node(node, address)

    def stop(self):
        self._stopping.set()
        if self.is_alive():
            self.join(timeout=30)


def written(cluster, node=None):
    """The names that are there, by a linearizable read; at one node if it is given."""
    caller = caller_of(cluster, pinned=node)
    names, token = set(), ""
    try:
        while True:
            request = pb.ListChildrenRequest(path=ROOT, page_size=10000, page_token=token)
            answer = caller.call_until_answered("ListChildren", request, threading.Event(), 5)
            assert answer.ok, answer.outcome
            names.update(answer.response.names)
            token = answer.response.next_page_token
            if not token:
                return names
    finally:
        caller.close()
