"""Clients with sessions: ephemeral znodes, elections, requests that take effect once however often they are sent."""

import threading
import time

from google.protobuf import duration_pb2

from data_clients import Client, encode, stat_fields
from falaj.v1 import coordination_service_pb2 as pb
from caller import now

EPHEMERALS = "/fault/ephemeral"
ELECTION = "/fault/election"
QUEUE = "/fault/queue"
NEVER = threading.Event()


class Session:
    """An open session, and when it was last known to live."""

    def __init__(self, handle, timeout_s, opened):
        self.handle = handle
        self.timeout_ns = int(timeout_s * 1e9)
        self.alive_at = opened  # When the last sign of life was sent that was answered.
        self.ended = False
        self._request_id = 0

    @property
    def id(self):
        return self.handle.session_id

    def next_request_id(self):
        self._request_id += 1
        return self._request_id

    def write_options(self, request_id=0):
        return pb.WriteOptions(session=self.handle, request_id=request_id)


class SessionClient(Client):
    """What the clients below have in common."""

    def open(self, timeout_s):
        """None if the client is told to stop before there is a session."""
        request = pb.OpenSessionRequest(timeout=duration_pb2.Duration(seconds=timeout_s))
        while not self.stopping.is_set():
            answer = self.caller.call("OpenSession", request)  # An attempt without answer leaves a session to expire.
            if answer.ok:
                self.record("open", answer, session=answer.response.session.session_id, timeout_ns=int(timeout_s * 1e9),
                            index=answer.response.index)
                return Session(answer.response.session, timeout_s, answer.invoked)
        return None

    def keep(self, session):
        answer = self.caller.call("KeepSession", pb.KeepSessionRequest(session=session.handle), timeout_s=0.5)
        if answer.ok:
            session.alive_at = answer.invoked
        session.ended = session.ended or answer.outcome == "SESSION_EXPIRED"
        self.record("keep", answer, session=session.id)

    def keep_for(self, session, seconds):
        """Keeps the session alive for so long, or until it has ended."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and not session.ended and not self.stopping.is_set():
            self.keep(session)
            self.stopping.wait(session.timeout_ns / 1e9 / 6)

    def close(self, session, stopping=None):
        request = pb.CloseSessionRequest(session=session.handle)
        answer = self.caller.call_until_answered("CloseSession", request, stopping or self.stopping)
        if answer is not None:
            self.record("close", answer, session=session.id)


class EphemeralClient(SessionClient):
    """Opens a session, creates two ephemeral znodes, lives for a while, goes with or without a word, looks whether the
    znodes have gone."""

    _round = 0

    def step(self):
        session = self.open(timeout_s=2)
        if session is None:
            return
        self._round += 1
        paths = [f"{EPHEMERALS}/{self.name}-{self._round}-{i}" for i in (1, 2)]
        if not all(self._create(session, path) for path in paths):
            return
        until = time.monotonic() + self.chance.uniform(1, 6)
        while time.monotonic() < until and not session.ended and not self.stopping.is_set():
            self.keep_for(session, 0.3)
            self._look(session, self.chance.choice(paths))
        if self.chance.random() < 0.5:
            self.close(session)
        self._wait_until_gone(session, paths)

    def _create(self, session, path):
        options = session.write_options(session.next_request_id())
        request = pb.CreateZnodeRequest(path=path, ephemeral=True, options=options)
        answer = self.caller.call_until_answered("CreateZnode", request, self.stopping)
        if answer is None:
            return False
        self.record("ephemeral", answer, session=session.id, path=path)
        return answer.ok

    def _look(self, session, path):
        answer = self.caller.call("GetZnode", pb.GetZnodeRequest(path=path))
        if answer.answered:
            self.record("look", answer, session=session.id, path=path, found=answer.ok)
        return answer

    def _wait_until_gone(self, session, paths):
        for path in paths:
            while not self.stopping.is_set():
                if self._look(session, path).outcome == "ZNODE_NOT_FOUND":
                    break
                self.stopping.wait(0.3)


class Contender(SessionClient):
    """Stands for election, leads for a while, goes in one of three ways, stands again."""

    _session = None

    def step(self):
        if self._session is None or self._session.ended:
            self._session = self.open(timeout_s=3)
        session = self._session
        if session is None:
            return
        won = self._campaign(session)
        if won is None:
            return
        self._lead(session, won)

    def _campaign(self, session):
        request = pb.CampaignRequest(session=session.handle, path=ELECTION, value=self.name.encode())
        while not session.ended and not self.stopping.is_set():
            answer = self.caller.call("Campaign", request, timeout_s=0.7)
            if answer.ok:
                return answer
            session.ended = answer.outcome == "SESSION_EXPIRED"
            self.keep(session)
        return None

    def _lead(self, session, won):
        self.keep_for(session, self.chance.uniform(0.3, 2))
        way = self.chance.choice(["resign", "close", "silence"])
        gone = now()  # Before the request to resign is sent, it certainly led.
        until = min(gone, session.alive_at + session.timeout_ns)
        self.record("lead", won, session=session.id, token=won.response.fencing_token, path=won.response.znode_path,
                    index=won.response.index, until=until)
        if way == "resign":
            request = pb.ResignCampaignRequest(session=session.handle, path=ELECTION)
            answer = self.caller.call_until_answered("ResignCampaign", request, self.stopping)
            session.ended = session.ended or (answer is not None and not answer.ok)
            return
        if way == "close":
            self.close(session)
        self._session = None


class LeaderObserver(Client):
    """Asks who leads."""

    def step(self):
        answer = self.caller.call("GetLeader", pb.GetLeaderRequest(path=ELECTION))
        if answer.ok:
            leader = answer.response
            self.record("get_leader", answer, token=leader.fencing_token, path=leader.znode_path,
                        value=leader.value.decode(), index=leader.index)


class Enqueuer(SessionClient):
    """Creates sequential znodes, repeating every request until it is answered: each must exist exactly once."""

    _session = None
    _number = 0

    def step(self):
        if self._session is None or self._session.ended:
            self._session = self.open(timeout_s=60)  # Longer than any fault: its requests must be answerable.
        if self._session is None:
            return
        self._number += 1
        name = f"{self.name}-{self._number}"
        request = pb.CreateZnodeRequest(path=f"{QUEUE}/", data=encode(name), sequential=True,
                                        options=self._session.write_options(self._session.next_request_id()))
        answer = self.caller.call_until_answered("CreateZnode", request, self.stopping, timeout_s=0.5)
        if answer is None:
            self.history.add(f="enqueue", client=self.name, name=name, outcome="unknown")
            return
        session_ended = answer.outcome in ("SESSION_EXPIRED", "REQUEST_TOO_OLD")
        self._session.ended = session_ended
        fields = stat_fields(answer.response.znode) if answer.ok else {}
        self.record("enqueue", answer, name=name, **fields)
