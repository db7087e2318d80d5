"""Clients that read and write a few znodes at a time, and know what they know of them."""

import random
import threading

from falaj.v1 import coordination_service_pb2 as pb
from caller import now

ROOT = "/fault/data"
EPOCH_S = 8  # Znodes are left for new ones after so long: judging many operations on one is expensive.
KEYS = ["a", "b", "c"]
PAIRED_KEYS = ["p", "q"]  # Written together.


class Client(threading.Thread):
    """A thread that does one thing after the other until it is stopped."""

    def __init__(self, name, caller, history, seed, pause_s=0.0):
        super().__init__(daemon=True, name=name)
        self.caller = caller
        self.history = history
        self.chance = random.Random(seed)
        self.stopping = threading.Event()
        self.failure = None
        self._pause_s = pause_s

    def run(self):
        try:
            while not self.stopping.is_set():
                self.step()
                self.stopping.wait(self._pause_s * self.chance.uniform(0.5, 1.5))
        except Exception as error:  # pylint: disable=broad-except  # Reported as a failure of the run.
            self.failure = f"{self.name}: {error!r}"
        finally:
            self.caller.close()

    def step(self):
        raise NotImplementedError

    def stop(self):
        self.stopping.set()

    def record(self, kind, answer, **fields):
        self.history.add(f=kind, client=self.name, node=answer.node, invoked=answer.invoked,
                         returned=answer.returned, outcome=answer.outcome, **fields)


class Values:
    """Numbers that no two writes share, so that a reader knows whose write it sees. Any thread."""

    def __init__(self):
        self._mutex = threading.Lock()
        self._last = 0

    def next(self):
        with self._mutex:
            self._last += 1
            return self._last


def encode(value):
    return str(value).encode()


def stat_fields(znode):
    return {"path": znode.path, "version": znode.stat.version, "created": znode.stat.create_index,
            "modified": znode.stat.modify_index}


class DataClient(Client):
    """Gets, creates, sets, compares and sets, deletes; two znodes at once now and then."""

    def __init__(self, name, caller, history, seed, values, began):
        super().__init__(name, caller, history, seed, pause_s=0.06)
        self._values = values
        self._began = began
        self._versions = {}  # path -> version last seen
        self._index = 0  # Highest seen.

    def epoch(self):
        return int((now() - self._began) / 1e9 / EPOCH_S)

    def step(self):
        choice = self.chance.random()
        path = f"{ROOT}/{self.epoch()}-{self.chance.choice(KEYS)}"
        if choice < 0.40:
            self.get(path)
        elif choice < 0.48:
            self.get(path, local=True)
        elif choice < 0.58:
            self.create(path)
        elif choice < 0.75:
            self.set(path)
        elif choice < 0.88:
            self.set(path, self._versions.get(path, 0))
        elif choice < 0.91:
            self.delete(path)
        elif choice < 0.95:
            self.get(f"{ROOT}/{self.epoch()}-{self.chance.choice(PAIRED_KEYS)}")
        else:
            self.set_pair()

    def get(self, path, local=False):
        options = pb.ReadOptions(min_index=self._index if local else 0)
        options.consistency = pb.READ_CONSISTENCY_LOCAL if local else pb.READ_CONSISTENCY_LINEARIZABLE
        answer = self.caller.call("GetZnode", pb.GetZnodeRequest(path=path, options=options))
        fields = {"path": path, "local": local, "min_index": options.min_index}
        if answer.ok:
            znode = answer.response.znode
            fields.update(stat_fields(znode), value=int(znode.data), index=answer.response.index)
            self._see(path, znode.stat.version, answer.response.index)
        self.record("get", answer, **fields)

    def create(self, path):
        value = self._values.next()
        answer = self.caller.call("CreateZnode", pb.CreateZnodeRequest(path=path, data=encode(value)))
        self._record_write("create", answer, path, value)

    def set(self, path, expected=None):
        value = self._values.next()
        request = pb.SetZnodeRequest(path=path, data=encode(value), expected_version=expected)
        self._record_write("set", self.caller.call("SetZnode", request), path, value, expected)

    def delete(self, path):
        expected = self._versions.get(path)
        request = pb.DeleteZnodeRequest(path=path, expected_version=expected)
        answer = self.caller.call("DeleteZnode", request)
        fields = {"index": answer.response.index} if answer.ok else {}
        self.record("delete", answer, path=path, expected=expected, **fields)

    def set_pair(self):
        """Both znodes of the pair get a new value, or neither."""
        paths = [f"{ROOT}/{self.epoch()}-{key}" for key in PAIRED_KEYS]
        values = [self._values.next() for _ in paths]
        if any(path not in self._versions for path in paths):
            steps = [pb.MultiOperation(create=pb.CreateZnodeRequest(path=path, data=encode(value)))
                     for path, value in zip(paths, values)]
            kind = "create"
        else:
            steps = [pb.MultiOperation(set=pb.SetZnodeRequest(path=path, data=encode(value)))
                     for path, value in zip(paths, values)]
            kind = "set"
        answer = self.caller.call("ExecuteMulti", pb.ExecuteMultiRequest(operations=steps))
        done = [{"kind": kind, "path": path, "value": value} for path, value in zip(paths, values)]
        fields = {}
        if answer.ok:
            fields["index"] = answer.response.index
            for step, znode in zip(done, answer.response.znodes):
                step.update(stat_fields(znode))
                self._see(znode.path, znode.stat.version, answer.response.index)
        elif answer.answered:
            fields["failed"] = int(answer.metadata["operation"])
            if answer.outcome == "ZNODE_ALREADY_EXISTS":
                self._versions.update((path, 0) for path in paths)
        self.record("multi", answer, steps=done, **fields)

    def _record_write(self, kind, answer, path, value, expected=None):
        fields = {"path": path, "value": value, "expected": expected}
        if answer.ok:
            fields.update(stat_fields(answer.response.znode), index=answer.response.index)
            self._see(path, answer.response.znode.stat.version, answer.response.index)
        self.record(kind, answer, **fields)

    def _see(self, path, version, index):
        self._versions[path] = version
        self._index = max(self._index, index)


class PinnedReader(Client):
    """Reads linearizably from one node, whatever that node goes through: a leader that has been overtaken while it was
    paused or cut off must not answer with what it remembers."""

    def __init__(self, name, caller, history, seed, began):
        super().__init__(name, caller, history, seed, pause_s=0.05)
        self._began = began

    def step(self):
        epoch = int((now() - self._began) / 1e9 / EPOCH_S)
        path = f"{ROOT}/{epoch}-{self.chance.choice(KEYS)}"
        # The request that waits in a paused node's socket is the interesting one, so it waits for a while.
        answer = self.caller.call("GetZnode", pb.GetZnodeRequest(path=path), timeout_s=self.chance.choice([0.5, 3.0]))
        fields = {"path": path, "local": False, "min_index": 0}
        if answer.ok:
            znode = answer.response.znode
            fields.update(stat_fields(znode), value=int(znode.data), index=answer.response.index)
        self.record("get", answer, **fields)


class PulseWriter(Client):
    """Sets one znode all the time. The longest gap between two answers is the pause a client notices."""

    PATH = "/fault/pulse"

    def __init__(self, name, caller, history, seed):
        super().__init__(name, caller, history, seed, pause_s=0.03)

    def step(self):
        request = pb.SetZnodeRequest(path=self.PATH, data=b"0")
        answer = self.caller.call("SetZnode", request, timeout_s=0.5)
        fields = {"index": answer.response.index} if answer.ok else {}
        self.record("pulse", answer, path=self.PATH, **fields)
