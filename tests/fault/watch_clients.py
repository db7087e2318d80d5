"""Watchers that resume where they were, at whichever node answers."""

import grpc

from cluster import error_reason
from data_clients import Client
from falaj.v1 import coordination_service_pb2 as pb

SILENCE_S = 3.0  # A node that is cut off sends no signs of life; they come every second.


class Watcher(Client):
    """Watches a subtree from an index on; records every message, and every time it had to begin anew."""

    def __init__(self, name, caller, history, seed, path):
        super().__init__(name, caller, history, seed)
        self._path = path
        self._index = 0
        self._call = None

    def step(self):
        if self._index == 0 and not self._begin():
            return
        request = pb.WatchZnodesRequest(after_index=self._index)
        request.watches.add(path=self._path, scope=pb.WATCH_SCOPE_SUBTREE)
        # A stream has no timeout per message, so it lives for a limited time and is resumed: that is what is tested.
        limit = self.chance.uniform(2 * SILENCE_S, 5 * SILENCE_S)
        self._call = self.caller.stub().WatchZnodes(request, timeout=limit)
        try:
            self._follow(self._call)
        except grpc.RpcError as error:
            reason, _ = error_reason(error)
            self._call = None
            if reason == "WATCH_COMPACTED":
                self.history.add(f="watch_resync", client=self.name, after=self._index)
                self._index = 0
                return
            if not self.stopping.is_set():
                self.caller.move_on()

    def stop(self):
        super().stop()
        if call := self._call:
            call.cancel()

    def _begin(self):
        """Finds out from which index on it will watch."""
        answer = self.caller.call("GetZnode", pb.GetZnodeRequest(path=self._path))
        if not answer.ok:
            return False
        self._index = answer.response.index
        self.history.add(f="watch_begin", client=self.name, after=self._index)
        return True

    def _follow(self, call):
        for message in call:
            events = [{"type": pb.ZnodeEventType.Name(event.type).rsplit("_", 1)[1], "path": event.znode.path,
                       "version": event.znode.stat.version, "created": event.znode.stat.create_index,
                       "modified": event.znode.stat.modify_index, "value": event.znode.data.decode(),
                       "session": event.znode.stat.ephemeral_session_id} for event in message.events]
            self.history.add(f="watch", client=self.name, node=self.caller.node(), index=message.index, events=events)
            self._index = max(self._index, message.index)
