"""Clients that write through StreamWrites, without waiting for one answer before they send the next write."""

import grpc

from caller import UNANSWERED, now
from cluster import error_reason
from data_clients import Client
from falaj.v1 import coordination_service_pb2 as pb

STREAMS = "/fault/streams"
TIMEOUT_S = 6  # A node that is paused for longer is left.


class StreamWriter(Client):
    """Creates sequential znodes, one stream after the other, never waiting for an answer before it writes on. The name
    of a znode begins with a value that nobody sends twice, and ends with its place among all of them."""

    FRAMES_MAX = 40
    WRITES_MAX = 3

    def __init__(self, name, caller, history, seed):
        super().__init__(name, caller, history, seed, pause_s=0.4)
        self._number = 0

    def step(self):
        plan = [(self._values(self.chance.randint(1, self.WRITES_MAX)), self.chance.uniform(0, 0.06))
                for _ in range(self.chance.randint(1, self.FRAMES_MAX))]
        sent, results = [], []
        invoked, node = now(), self.caller.node()
        outcome = "ok"
        try:
            for response in self.caller.stub().StreamWrites(self._frames(plan, sent), timeout=TIMEOUT_S):
                results += [self._told(result) for result in response.results]
        except grpc.RpcError as error:
            outcome = self._end(error)
        self.history.add(f="stream", client=self.name, node=node, invoked=invoked, returned=now(), outcome=outcome,
                         sent=list(sent), results=results)

    def _frames(self, plan, sent):
        """The requests; `sent` gets their values. By a thread of gRPC."""
        for values, pause_s in plan:
            if self.stopping.wait(pause_s):
                return
            creates = [pb.CreateZnodeRequest(path=f"{STREAMS}/{value}-", sequential=True) for value in values]
            sent += values
            yield pb.StreamWritesRequest(writes=[pb.ZnodeWrite(create=create) for create in creates])

    def _values(self, count):
        self._number += count
        return [f"{self.name}.{self._number - i}" for i in reversed(range(count))]

    @staticmethod
    def _told(result):
        if result.HasField("error"):
            return {"outcome": result.error.reason}
        return {"outcome": "ok", "path": result.create.znode.path, "index": result.create.index}

    def _end(self, error):
        """What the end of the stream says of the writes without an answer: "none" or "unknown"."""
        reason, metadata = error_reason(error)
        self.caller.move_on(metadata.get("leader"))
        if reason == "SHUTTING_DOWN" or (reason == "METADATA_UNAVAILABLE" and metadata.get("outcome") == "none"):
            return "none"
        if reason in (None, "METADATA_UNAVAILABLE", *UNANSWERED):
            return "unknown"
        raise AssertionError(f"a stream of writes ended with {reason}")
