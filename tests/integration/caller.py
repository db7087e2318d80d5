"""One client's way to the metadata nodes."""

import random
import time

import grpc

from cluster import error_reason
from falaj.v1 import coordination_service_pb2_grpc

now = time.monotonic_ns

CHANNEL_OPTIONS = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.min_reconnect_backoff_ms", 500),
                   ("grpc.max_reconnect_backoff_ms", 300), ("grpc.use_local_subchannel_pool", 1)]
# Errors that say nothing about the request itself. Whatever else has a reason is an answer.
UNANSWERED = {"TIMED_OUT", "CANCELLED", "INTERNAL", "STORAGE_FAILED"}
BACKOFF_S = 0.03


class Answer:
    """What became of one request."""

    def __init__(self, node, invoked, outcome, response=None, metadata=None):
        self.node = node
        self.invoked = invoked
        self.returned = now() if outcome != "unknown" else None
        self.outcome = outcome
        self.response = response
        self.metadata = metadata or {}

    @property
    def ok(self):
        return self.outcome == "ok"

    @property
    def answered(self):
        return self.outcome not in ("none", "unknown")


class Caller:
    """Calls one node, and goes on to another when that one does not answer or does not lead. One thread at a time.

    `pinned`: stays with the node it began with.
    """

    def __init__(self, addresses, node_at, seed, pinned=None):
        chance = random.Random(seed)
        self._addresses = addresses  # {node: address}
        self._node_at = node_at  # What the nodes call each other: address -> node.
        self._nodes = [pinned] if pinned else chance.sample(sorted(addresses), len(addresses))
        self._at = self._nodes[0]
        self._stubs = {}
        self._channels = []

    def add_node(self, node, address):
        """One more to go to: it joined since. By any thread."""
        self._addresses[node] = address
        self._nodes.append(node)

    def stub(self):
        if self._at not in self._stubs:
            channel = grpc.insecure_channel(self._addresses[self._at], options=CHANNEL_OPTIONS)
            self._channels.append(channel)
            self._stubs[self._at] = coordination_service_pb2_grpc.CoordinationServiceStub(channel)
        return self._stubs[self._at]

    def node(self):
        """Whom the next call goes to."""
        return self._at

    def move_on(self, leader=None):
        """To the node that is said to lead, or the next one."""
        node = self._node_at(leader) if leader else None
        if node in self._nodes and node != self._at:
            self._at = node
            return
        self._at = self._nodes[(self._nodes.index(self._at) + 1) % len(self._nodes)]
        time.sleep(BACKOFF_S)  # Nobody may lead for a moment.

    def call(self, method, request, timeout_s=1.0):
        """One attempt."""
        invoked, node = now(), self._at
        try:
            return Answer(node, invoked, "ok", getattr(self.stub(), method)(request, timeout=timeout_s))
        except grpc.RpcError as error:
            reason, metadata = error_reason(error)
        if reason == "METADATA_UNAVAILABLE":
            self.move_on(metadata.get("leader"))
            return Answer(node, invoked, "none" if metadata.get("outcome") == "none" else "unknown", metadata=metadata)
        if reason in ("SHUTTING_DOWN", "QUOTA_EXCEEDED"):
            self.move_on()
            return Answer(node, invoked, "none", metadata=metadata)
        if reason is None or reason in UNANSWERED:
            if reason != "TIMED_OUT" or method != "Campaign":  # Another candidate leads; this node is well.
                self.move_on()
            return Answer(node, invoked, "unknown", metadata=metadata)
        return Answer(node, invoked, reason, metadata=metadata)

    def call_until_answered(self, method, request, stopping, timeout_s=1.0):
        """Repeats a request that may be repeated until it is answered; None if `stopping` comes first. The answer
        counts from the first attempt on."""
        first = now()
        while not stopping.is_set():
            answer = self.call(method, request, timeout_s)
            if answer.answered:
                answer.invoked = first
                return answer
        return None

    def close(self):
        for channel in self._channels:
            channel.close()
