"""Coordination made from the protos alone: stubs by protoc, nothing else of ours. Needs FALAJ_ADDRESS.

Reads as an example too: what a Python program does to hold a session, to change several znodes at once, to follow
changes without missing one, and to elect a leader among several.
"""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import unittest

import grpc

from falaj.v1 import coordination_service_pb2 as pb
from falaj.v1 import coordination_service_pb2_grpc
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2

TIMEOUT_S = 20
SESSION_TIMEOUT_S = 2
CONTEND = "--contend"  # The command line of a contender: --contend PATH NAME.


def error_info(error):
    """The google.rpc.ErrorInfo every error of Falaj carries."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                info = error_details_pb2.ErrorInfo()
                if detail.Unpack(info):
                    return info
    raise AssertionError(f"no ErrorInfo in {error}")


class Session:
    """A session kept alive by a thread, over a channel of its own, until close() or kill()."""

    def __init__(self, address):
        self.channel = grpc.insecure_channel(address)
        self.tree = coordination_service_pb2_grpc.CoordinationServiceStub(self.channel)
        timeout = duration_pb2.Duration(seconds=SESSION_TIMEOUT_S)
        self.handle = self.tree.OpenSession(pb.OpenSessionRequest(timeout=timeout), timeout=TIMEOUT_S).session
        self.requests = 0
        self.stopped = threading.Event()
        self.expired = threading.Event()
        self.keeper = threading.Thread(target=self.keep_alive)
        self.keeper.start()

    def signs(self):
        while not self.stopped.wait(SESSION_TIMEOUT_S / 4):
            yield pb.KeepSessionsRequest(sessions=[self.handle])

    def keep_alive(self):
        with contextlib.suppress(grpc.RpcError):
            for answer in self.tree.KeepSessions(self.signs()):
                if answer.expired_session_ids:
                    self.expired.set()

    def write(self):
        """Options that make a write safe to repeat."""
        self.requests += 1
        return pb.WriteOptions(session=self.handle, request_id=self.requests)

    def campaign(self, path, value):
        return self.tree.Campaign(pb.CampaignRequest(session=self.handle, path=path, value=value), timeout=TIMEOUT_S)

    def kill(self):
        """As if the process had died: no sign of life, no goodbye."""
        self.stopped.set()
        self.channel.close()
        self.keeper.join()

    def close(self):
        if not self.stopped.is_set():
            self.stopped.set()
            self.keeper.join()
            self.tree.CloseSession(pb.CloseSessionRequest(session=self.handle), timeout=TIMEOUT_S)
            self.channel.close()


class Coordination(unittest.TestCase):
    def setUp(self):
        self.address = os.environ["FALAJ_ADDRESS"]
        self.channel = grpc.insecure_channel(self.address)
        self.addCleanup(self.channel.close)
        self.tree = coordination_service_pb2_grpc.CoordinationServiceStub(self.channel)
        self.session = self.open_session()  # Makes the writes below safe to repeat, for the gateway too.
        self.root = f"/python/{self.id().rsplit('.', 1)[-1]}-{os.getpid()}"
        self.create(self.root, create_parents=True)

    def open_session(self):
        session = Session(self.address)
        self.addCleanup(session.close)
        return session

    def create(self, path, data=b"", session=None, **fields):
        options = (session or self.session).write()
        request = pb.CreateZnodeRequest(path=path, data=data, options=options, **fields)
        return self.tree.CreateZnode(request, timeout=TIMEOUT_S)

    def set(self, path, data, **fields):
        request = pb.SetZnodeRequest(path=path, data=data, options=self.session.write(), **fields)
        return self.tree.SetZnode(request, timeout=TIMEOUT_S)

    def get(self, path):
        return self.tree.GetZnode(pb.GetZnodeRequest(path=path), timeout=TIMEOUT_S)

    def reason(self, call, *args):
        with self.assertRaises(grpc.RpcError) as caught:
            call(*args)
        return error_info(caught.exception)

    def wait_until_gone(self, path):
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                self.get(path)
            except grpc.RpcError as error:
                self.assertEqual(error_info(error).reason, "ZNODE_NOT_FOUND")
                return
            time.sleep(0.05)
        self.fail(f"{path} is there still")

    def test_versions_and_errors(self):
        path = self.root + "/config"
        created = self.create(path, b"one")
        self.assertEqual(created.znode.stat.create_index, created.index)
        self.assertEqual(self.set(path, b"two", expected_version=0).znode.stat.version, 1)
        info = self.reason(lambda: self.set(path, b"three", expected_version=0))
        self.assertEqual(info.reason, "VERSION_MISMATCH")
        self.assertEqual(self.reason(self.create, path).reason, "ZNODE_ALREADY_EXISTS")
        self.assertEqual(self.reason(self.create, "no-slash").reason, "INVALID_PATH")
        self.assertEqual(self.reason(self.create, "/falaj/mine").reason, "PATH_RESERVED")
        self.assertEqual(self.get(path).znode.data, b"two")

    def test_a_repeated_write_takes_effect_once(self):
        session = self.open_session()
        request = pb.CreateZnodeRequest(path=self.root + "/job-", sequential=True, options=session.write())
        first = self.tree.CreateZnode(request, timeout=TIMEOUT_S)
        again = self.tree.CreateZnode(request, timeout=TIMEOUT_S)
        self.assertEqual(first, again)
        names = self.tree.ListChildren(pb.ListChildrenRequest(path=self.root), timeout=TIMEOUT_S).names
        self.assertEqual(list(names), ["job-0000000000"])

    def test_ephemeral_znodes_go_with_their_session(self):
        closed, killed = self.open_session(), self.open_session()
        for session, name in ((closed, "/closed"), (killed, "/killed")):
            self.create(self.root + name, session=session, ephemeral=True)
        self.assertEqual(self.reason(self.create, self.root + "/killed/child").reason, "ZNODE_IS_EPHEMERAL")
        closed.close()
        self.assertEqual(self.reason(self.get, self.root + "/closed").reason, "ZNODE_NOT_FOUND")
        time.sleep(SESSION_TIMEOUT_S * 1.5)
        self.get(self.root + "/killed")  # Its session outlives its timeout as long as somebody keeps it.
        killed.kill()
        self.wait_until_gone(self.root + "/killed")

    def test_multi_is_all_or_nothing(self):
        a, b = self.root + "/a", self.root + "/b"
        self.create(a, b"1")

        def multi(expected):
            operations = [pb.MultiOperation(create=pb.CreateZnodeRequest(path=b)),
                          pb.MultiOperation(check=pb.CheckVersion(path=a, expected_version=expected))]
            request = pb.ExecuteMultiRequest(operations=operations, options=self.session.write())
            return self.tree.ExecuteMulti(request, timeout=TIMEOUT_S)

        info = self.reason(multi, 5)
        self.assertEqual((info.reason, info.metadata["operation"]), ("VERSION_MISMATCH", "1"))
        self.assertEqual(self.reason(self.get, b).reason, "ZNODE_NOT_FOUND")
        self.assertEqual(len(multi(0).znodes), 2)
        self.get(b)

    def events(self, after, count):
        """So many changes below the root after an index, and the index to resume from."""
        watch = pb.ZnodeWatch(path=self.root, scope=pb.WATCH_SCOPE_SUBTREE)
        request = pb.WatchZnodesRequest(watches=[watch], after_index=after)
        stream, seen = self.tree.WatchZnodes(request, timeout=TIMEOUT_S), []
        for message in stream:
            seen += [(event.type, event.znode.path[len(self.root):], event.znode.data) for event in message.events]
            after = message.index
            if len(seen) >= count:
                stream.cancel()
                break
        return seen, after

    def test_a_watch_resumes_without_gap_or_duplicate(self):
        start = self.create(self.root + "/w", b"0").index
        for i in range(1, 10):
            self.set(self.root + "/w", b"%d" % i)
        request = pb.DeleteZnodeRequest(path=self.root + "/w", options=self.session.write())
        self.tree.DeleteZnode(request, timeout=TIMEOUT_S)
        seen = []
        while len(seen) < 10:  # A new stream for every two changes.
            some, start = self.events(start, min(2, 10 - len(seen)))
            seen += some
        changes = [(pb.ZNODE_EVENT_TYPE_CHANGED, "/w", b"%d" % i) for i in range(1, 10)]
        self.assertEqual(seen, changes + [(pb.ZNODE_EVENT_TYPE_DELETED, "/w", b"")])

    def start_contender(self, path, name, led):
        """A process that stands for election, puts (name, token) into `led` when it leads, and goes when told to."""
        child = subprocess.Popen([sys.executable, "-B", os.path.abspath(__file__), CONTEND, path, name],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

        def listen():
            for line in child.stdout:
                led.put((name, int(line)))

        listener = threading.Thread(target=listen)
        listener.start()

        def end():
            child.kill()
            child.wait()
            listener.join()
            child.stdin.close()
            child.stdout.close()

        self.addCleanup(end)
        return child

    def test_three_contenders_lead_one_after_the_other(self):
        path, led, tokens = self.root + "/leader", queue.Queue(), []
        contenders = {name: self.start_contender(path, name, led) for name in ("one", "two", "three")}
        for round_ in range(3):
            leader, token = led.get(timeout=TIMEOUT_S)
            said = self.tree.GetLeader(pb.GetLeaderRequest(path=path), timeout=TIMEOUT_S)
            self.assertEqual((said.fencing_token, said.value), (token, leader.encode()))
            self.assertTrue(led.empty(), "two lead at a time")
            tokens.append(token)
            child = contenders.pop(leader)  # KeyError if one leads that is gone.
            if round_ == 1:
                child.stdin.write("leave\n")  # In good order; the other leaders are killed.
                child.stdin.flush()
                self.assertEqual(child.wait(TIMEOUT_S), 0)
            else:
                child.kill()
                self.assertEqual(child.wait(TIMEOUT_S), -signal.SIGKILL)
        self.assertEqual(tokens, sorted(set(tokens)), "every leader has a higher token")

    def test_a_lost_session_says_so(self):
        session = self.open_session()
        request = pb.CloseSessionRequest(session=session.handle)
        self.tree.CloseSession(request, timeout=TIMEOUT_S)
        self.assertTrue(session.expired.wait(TIMEOUT_S))
        info = self.reason(lambda: self.create(self.root + "/x", session=session, ephemeral=True))
        self.assertEqual(info.reason, "SESSION_EXPIRED")
        forged = pb.SessionHandle(session_id=self.open_session().handle.session_id, secret=b"0" * 16)
        info = self.reason(self.tree.KeepSession, pb.KeepSessionRequest(session=forged))
        self.assertEqual(info.reason, "SESSION_MISMATCH")


def contend(path, name):
    """What a contender's process does: leads, says its token, and resigns with its session when it is told to."""
    session = Session(os.environ["FALAJ_ADDRESS"])
    try:
        print(session.campaign(path, name.encode()).fencing_token, flush=True)
        sys.stdin.readline()  # Also if the test is gone.
    finally:
        session.close()


if __name__ == "__main__":
    if sys.argv[1:2] == [CONTEND]:
        sys.exit(contend(*sys.argv[2:]))
    unittest.main(verbosity=2)
