"""What the coordination API answers to requests that make no sense or come at the wrong moment: reason and metadata.

Over the wire, to a quorum of three. By hand: tests/integration/run.sh build/release coordination_input_test.py.
"""

import os
import shutil
import sys
import tempfile
import time
import unittest

import grpc
from google.protobuf import duration_pb2

from cluster import Cluster, error_reason
from falaj.v1 import coordination_service_pb2 as pb
from falaj.v1.coordination_service_pb2_grpc import CoordinationServiceStub

BINARIES = os.environ["FALAJ_BINARIES"]
TIMEOUT_S = 10
MIB = 1 << 20
# (path, what an error repeats of it, the rule it breaks)
BAD_PATHS = [
    ("", "", "must begin with '/'"),
    ("a", "a", "must begin with '/'"),
    ("/a/", "/a/", "must not end with '/'"),
    ("/a//b", "/a//b", "has an empty name"),
    ("/a/./b", "/a/./b", "'.' and '..' are no names"),
    ("/..", "/..", "'.' and '..' are no names"),
    ("/a\0", "/a\\x00", "has a control character"),
    ("/a\x7f", "/a\\x7f", "has a control character"),
    ("/a\u0085", "/a\\xc2\\x85", "has a control character"),
]
# (path, the rule it breaks, what it has, the limit)
LARGE_PATHS = [
    ("/" + "n" * 256, "at most 255 bytes in one name", 256, 255),
    ("/n" * 33, "at most 32 names", 33, 32),
    ("/" + "/".join(["n" * 250] * 5), "at most 1024 bytes", 1255, 1024),
]


class CoordinationInputTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.mkdtemp(prefix="falaj-input-")
        cls.addClassCleanup(shutil.rmtree, cls.directory, ignore_errors=True)
        cls.cluster = Cluster(BINARIES, cls.directory, storage_nodes=0, gateways=0, metadata_nodes=3)
        cls.addClassCleanup(cls.cluster.__exit__)
        cls.cluster.start()
        cls.stubs = {process.grpc_address: CoordinationServiceStub(cls.cluster.channel(name))
                     for name, process in cls.cluster.processes.items()}
        cls.stub = cls.stubs[cls.cluster.processes[cls.cluster.metadata_leader()].grpc_address]

    def setUp(self):
        self.root = f"/{self._testMethodName}"
        self.create(self.root)
        self.session = self.open()

    def call(self, method, request):
        """The leader's answer, should it change meanwhile."""
        for _ in range(50):
            try:
                return self.call_once(method, request)
            except grpc.RpcError as error:
                reason, metadata = error_reason(error)
                if reason != "METADATA_UNAVAILABLE" or metadata["outcome"] != "none":
                    raise
                type(self).stub = self.stubs.get(metadata.get("leader"), self.stub)
                time.sleep(0.1)  # An election may be under way.
        raise AssertionError("nobody leads")

    def call_once(self, method, request):
        """The answer; of a stream, the first message."""
        if method == "KeepSessions":
            return next(self.stub.KeepSessions(iter([request]), timeout=TIMEOUT_S))
        if method == "WatchZnodes":
            call = self.stub.WatchZnodes(request, timeout=TIMEOUT_S)
            try:
                return next(call)
            finally:
                call.cancel()
        return getattr(self.stub, method)(request, timeout=TIMEOUT_S)

    def refused(self, method, request, code, reason, **metadata):
        with self.assertRaises(grpc.RpcError) as caught:
            self.call(method, request)
        wanted = (reason, {key: str(value) for key, value in metadata.items()})
        self.assertEqual(error_reason(caught.exception), wanted, method)
        self.assertEqual(caught.exception.code(), getattr(grpc.StatusCode, code), method)

    def create(self, path, **fields):
        return self.call("CreateZnode", pb.CreateZnodeRequest(path=path, **fields))

    def open(self):
        return self.call("OpenSession", pb.OpenSessionRequest()).session

    def options(self, session=None, request_id=0):
        return pb.WriteOptions(session=session or self.session, request_id=request_id)

    def multi(self, *operations, **fields):
        return pb.ExecuteMultiRequest(operations=[pb.MultiOperation(**operation) for operation in operations], **fields)

    def writers(self, path, options=None):
        """Every request that would change `path`."""
        return [
            ("CreateZnode", pb.CreateZnodeRequest(path=path, options=options)),
            ("SetZnode", pb.SetZnodeRequest(path=path, options=options)),
            ("DeleteZnode", pb.DeleteZnodeRequest(path=path, options=options)),
        ]

    def multi_writers(self, path):
        return [{"create": pb.CreateZnodeRequest(path=path)}, {"set": pb.SetZnodeRequest(path=path)},
                {"delete": pb.DeleteZnodeRequest(path=path)}]

    def candidates(self, path, session=None):
        session = session or self.session
        return [("Campaign", pb.CampaignRequest(session=session, path=path)),
                ("ResignCampaign", pb.ResignCampaignRequest(session=session, path=path))]

    def readers(self, path):
        return [("GetZnode", pb.GetZnodeRequest(path=path)), ("ListChildren", pb.ListChildrenRequest(path=path)),
                ("GetLeader", pb.GetLeaderRequest(path=path))]

    def check_bad_path(self, path, **metadata):
        for method, request in self.writers(path) + self.candidates(path) + self.readers(path):
            self.refused(method, request, "INVALID_ARGUMENT", "INVALID_PATH", field="path", **metadata)
        steps = self.multi_writers(path) + [{"check": pb.CheckVersion(path=path)}]
        for step in steps:
            self.refused("ExecuteMulti", self.multi({"check": pb.CheckVersion(path="/")}, step), "INVALID_ARGUMENT",
                         "INVALID_PATH", field="path", operation=1, **metadata)
        watch = pb.WatchZnodesRequest(watches=[pb.ZnodeWatch(path=path, scope=pb.WATCH_SCOPE_ZNODE)])
        self.refused("WatchZnodes", watch, "INVALID_ARGUMENT", "INVALID_PATH", field="watches.path", **metadata)

    def test_bad_paths(self):
        for path, value, rule in BAD_PATHS:
            self.check_bad_path(path, value=value, rule=rule)
        for path, rule, value, limit in LARGE_PATHS:
            self.check_bad_path(path, value=value, rule=rule, limit=limit)

    def test_paths_that_are_not_for_clients(self):
        for path in ("/falaj", "/falaj/nodes/9"):
            for method, request in self.writers(path) + self.candidates(path):
                self.refused(method, request, "PERMISSION_DENIED", "PATH_RESERVED", field="path", value=path)
            for step in self.multi_writers(path):
                self.refused("ExecuteMulti", self.multi(step), "PERMISSION_DENIED", "PATH_RESERVED", field="path",
                             value=path, operation=0)
        self.refused("DeleteZnode", pb.DeleteZnodeRequest(path="/"), "INVALID_ARGUMENT", "INVALID_PATH", field="path",
                     value="/", rule="not the root")
        fake = f"{self.root}/candidate-0000000000"
        self.refused("CreateZnode", pb.CreateZnodeRequest(path=fake, ephemeral=True, options=self.options()),
                     "INVALID_ARGUMENT", "INVALID_PATH", field="path", value=fake, rule="no candidate")

    def test_too_large_data(self):
        path, large = f"{self.root}/large", b"x" * (MIB + 1)
        limits = {"value": MIB + 1, "limit": MIB}
        for method, request in (("CreateZnode", pb.CreateZnodeRequest(path=path, data=large)),
                                ("SetZnode", pb.SetZnodeRequest(path=self.root, data=large))):
            self.refused(method, request, "INVALID_ARGUMENT", "ZNODE_TOO_LARGE", field="data", **limits)
        self.refused("Campaign", pb.CampaignRequest(session=self.session, path=path, value=large), "INVALID_ARGUMENT",
                     "ZNODE_TOO_LARGE", field="value", **limits)
        self.refused("ExecuteMulti", self.multi({"set": pb.SetZnodeRequest(path=self.root, data=large)}),
                     "INVALID_ARGUMENT", "ZNODE_TOO_LARGE", field="data", operation=0, **limits)
        request = self.multi(*[{"set": pb.SetZnodeRequest(path=self.root, data=b"x" * MIB)}] * 2)
        self.refused("ExecuteMulti", request, "INVALID_ARGUMENT", "ZNODE_TOO_LARGE", field="multi",
                     value=request.ByteSize(), limit=2 * MIB)
        self.create(path, data=b"x" * MIB)
        self.assertEqual(len(self.call("GetZnode", pb.GetZnodeRequest(path=path)).znode.data), MIB)

    def test_versions(self):
        wrong = {"field": "expected_version", "value": 5, "version": 0, "path": self.root}
        steps = [("SetZnode", "set", pb.SetZnodeRequest), ("DeleteZnode", "delete", pb.DeleteZnodeRequest),
                 (None, "check", pb.CheckVersion)]
        for method, step, request in steps:
            if method:
                self.refused(method, request(path=self.root, expected_version=5), "ABORTED", "VERSION_MISMATCH",
                             **wrong)
                self.refused(method, request(path=self.root, expected_version=-1), "INVALID_ARGUMENT",
                             "INVALID_REQUEST", field="expected_version", value=-1, limit=0)
            self.refused("ExecuteMulti", self.multi({"create": pb.CreateZnodeRequest(path=f"{self.root}/x")},
                                                    {step: request(path=self.root, expected_version=5)}),
                         "ABORTED", "VERSION_MISMATCH", operation=1, **wrong)
        self.refused("GetZnode", pb.GetZnodeRequest(path=f"{self.root}/x"), "NOT_FOUND", "ZNODE_NOT_FOUND",
                     field="path", value=f"{self.root}/x")  # Of the multis nothing remains.

    def test_what_exists_and_what_does_not(self):
        missing, below = f"{self.root}/missing", f"{self.root}/missing/below"
        for path in (self.root, "/"):
            self.refused("CreateZnode", pb.CreateZnodeRequest(path=path), "ALREADY_EXISTS", "ZNODE_ALREADY_EXISTS",
                         field="path", value=path)
        self.refused("CreateZnode", pb.CreateZnodeRequest(path=below), "NOT_FOUND", "ZNODE_NOT_FOUND", field="path",
                     value=missing)
        for method, request in self.writers(missing)[1:] + self.readers(missing):
            self.refused(method, request, "NOT_FOUND", "ZNODE_NOT_FOUND", field="path", value=missing)
        self.create(f"{self.root}/child")
        self.refused("DeleteZnode", pb.DeleteZnodeRequest(path=self.root), "FAILED_PRECONDITION", "ZNODE_NOT_EMPTY",
                     field="path", value=self.root, child_count=1)

    def test_ephemeral_znodes(self):
        path = f"{self.root}/mine"
        self.refused("CreateZnode", pb.CreateZnodeRequest(path=path, ephemeral=True), "INVALID_ARGUMENT",
                     "INVALID_REQUEST", field="options.session")
        self.create(path, ephemeral=True, options=self.options())
        for child in (f"{path}/child", f"{path}/child/below"):
            self.refused("CreateZnode", pb.CreateZnodeRequest(path=child, create_parents=True), "FAILED_PRECONDITION",
                         "ZNODE_IS_EPHEMERAL", field="path", value=path)
        self.refused("Campaign", pb.CampaignRequest(session=self.session, path=path), "FAILED_PRECONDITION",
                     "ZNODE_IS_EPHEMERAL", field="path", value=path)

    def with_session(self, session):
        """Every request that names a session."""
        path, options = self.root, self.options(session)
        return self.writers(path, options) + self.candidates(path, session) + [
            ("ExecuteMulti", self.multi({"check": pb.CheckVersion(path="/")}, options=options)),
            ("KeepSession", pb.KeepSessionRequest(session=session))]

    def test_session_that_has_ended(self):
        ended = self.open()
        self.call("CloseSession", pb.CloseSessionRequest(session=ended))
        for method, request in self.with_session(ended):
            self.refused(method, request, "ABORTED", "SESSION_EXPIRED", field="session", value=ended.session_id)
        self.call("CloseSession", pb.CloseSessionRequest(session=ended))  # What was asked for is so.
        answer = self.call("KeepSessions", pb.KeepSessionsRequest(sessions=[ended, self.session]))
        self.assertEqual((list(answer.expired_session_ids), list(answer.mismatched_session_ids)),
                         ([ended.session_id], []))

    def test_session_of_somebody_else(self):
        for secret in (self.open().secret, b"", self.session.secret[:-1], self.session.secret + b"x"):
            foreign = pb.SessionHandle(session_id=self.session.session_id, secret=secret)
            requests = self.with_session(foreign) + [("CloseSession", pb.CloseSessionRequest(session=foreign))]
            for method, request in requests:
                self.refused(method, request, "PERMISSION_DENIED", "SESSION_MISMATCH", field="session",
                             value=foreign.session_id)
            answer = self.call("KeepSessions", pb.KeepSessionsRequest(sessions=[foreign]))
            self.assertEqual(list(answer.mismatched_session_ids), [foreign.session_id])
        self.call("KeepSession", pb.KeepSessionRequest(session=self.session))  # It did not end.

    def test_no_session(self):
        for method, request in (self.candidates(self.root, pb.SessionHandle()) +
                                [("KeepSession", pb.KeepSessionRequest()), ("CloseSession", pb.CloseSessionRequest())]):
            self.refused(method, request, "INVALID_ARGUMENT", "INVALID_REQUEST", field="session")
        for method, request in self.writers(self.root, pb.WriteOptions(request_id=1)):
            self.refused(method, request, "INVALID_ARGUMENT", "INVALID_REQUEST", field="options.request_id")

    def test_session_timeout(self):
        for timeout, value, limit in ((duration_pb2.Duration(nanos=999_000_000), 999, 1000),
                                      (duration_pb2.Duration(seconds=601), 601000, 600000)):
            self.refused("OpenSession", pb.OpenSessionRequest(timeout=timeout), "INVALID_ARGUMENT", "INVALID_REQUEST",
                         field="timeout", value=value, limit=limit)

    def test_repeated_requests(self):
        first = self.create(f"{self.root}/1", options=self.options(request_id=1))
        self.assertEqual(self.create(f"{self.root}/1", options=self.options(request_id=1)), first)
        self.refused("DeleteZnode", pb.DeleteZnodeRequest(path=self.root, options=self.options(request_id=1)),
                     "INVALID_ARGUMENT", "INVALID_REQUEST", field="options.request_id", value=1)
        for i in range(2, 18):
            self.create(f"{self.root}/{i}", options=self.options(request_id=i))
        self.refused("CreateZnode", pb.CreateZnodeRequest(path=f"{self.root}/1", options=self.options(request_id=1)),
                     "FAILED_PRECONDITION", "REQUEST_TOO_OLD", field="options.request_id", value=1, limit=2)

    def test_multi(self):
        check = {"check": pb.CheckVersion(path="/")}
        self.refused("ExecuteMulti", self.multi(), "INVALID_ARGUMENT", "INVALID_REQUEST", field="operations", value=0,
                     limit=1)
        self.refused("ExecuteMulti", self.multi(*[check] * 129), "INVALID_ARGUMENT", "INVALID_REQUEST",
                     field="operations", value=129, limit=128)
        self.refused("ExecuteMulti", self.multi(check, {}), "INVALID_ARGUMENT", "INVALID_REQUEST", field="operation",
                     operation=1)
        inner = {"set": pb.SetZnodeRequest(path=self.root, options=self.options())}
        self.refused("ExecuteMulti", self.multi(inner), "INVALID_ARGUMENT", "INVALID_REQUEST", field="options",
                     operation=0)

    def test_watches(self):
        watch = pb.ZnodeWatch(path="/", scope=pb.WATCH_SCOPE_ZNODE)
        for count, limit in ((0, 1), (1001, 1000)):
            self.refused("WatchZnodes", pb.WatchZnodesRequest(watches=[watch] * count), "INVALID_ARGUMENT",
                         "INVALID_REQUEST", field="watches", value=count, limit=limit)
        for scope in (0, 9):
            self.refused("WatchZnodes", pb.WatchZnodesRequest(watches=[pb.ZnodeWatch(path="/", scope=scope)]),
                         "INVALID_ARGUMENT", "INVALID_REQUEST", field="watches.scope", value=scope)

    def test_reads(self):
        self.refused("ListChildren", pb.ListChildrenRequest(path="/", page_size=-1), "INVALID_ARGUMENT",
                     "INVALID_REQUEST", field="page_size", value=-1, limit=0)
        self.refused("ListChildren", pb.ListChildrenRequest(path="/", page_token="a/b"), "INVALID_ARGUMENT",
                     "INVALID_REQUEST", field="page_token")
        options = pb.ReadOptions(consistency=9)
        for method, request in (("GetZnode", pb.GetZnodeRequest), ("ListChildren", pb.ListChildrenRequest),
                                ("GetLeader", pb.GetLeaderRequest)):
            self.refused(method, request(path="/", options=options), "INVALID_ARGUMENT", "INVALID_REQUEST",
                         field="options.consistency", value=9)

    def test_too_many_sessions_to_keep(self):
        self.refused("KeepSessions", pb.KeepSessionsRequest(sessions=[self.session] * 1001), "INVALID_ARGUMENT",
                     "INVALID_REQUEST", field="sessions", value=1001, limit=1000)


if __name__ == "__main__":
    unittest.main(argv=sys.argv)
