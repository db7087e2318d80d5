"""A quorum of real processes under kill -9, SIGSTOP and cut links, with clients that write, read, watch and stand for
election; then the verdict on everything they saw. By hand: scripts/fault.sh --minutes 10 --seed 7
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time

import checks
import data_clients
import report
import session_checks
import session_clients
import stream_checks
import stream_clients
from caller import Caller, now
from cluster import Cluster, wait_until
from falaj.v1 import coordination_service_pb2 as pb
from history import History
from nemesis import Nemesis, wait_for_end
from watch_clients import Watcher

BINARIES = os.environ["FALAJ_BINARIES"]
NODES = 3
SETTLE_S = 30  # Everything is whole: by then every node must be ready.


class Run:
    """One fault run in a directory of its own."""

    def __init__(self, cluster, history, seed):
        self.cluster = cluster
        self.history = history
        self.seed = seed
        self.clients = []
        self.unsettled = []  # What does not recover, as sentences.
        self.final_queue = []  # The sequential znodes that are there at the end: [(path, data)].
        self.final_streams = []  # The names of those that streams have created.
        self._addresses = {n: f"127.0.0.1:{port}" for n, port in cluster.metadata_ports.items()}

    def caller(self, pinned=None):
        by_address = {address: node for node, address in self._addresses.items()}
        return Caller(self._addresses, lambda at: by_address.get(at) or self.cluster.links.node_at(at),
                      self._next_seed(), pinned)

    def gateway_caller(self):
        return Caller({"gateway": self.cluster.processes["gateway-1"].grpc_address}, lambda at: None,
                      self._next_seed())

    def prepare(self):
        caller = self.caller()
        for path in (data_clients.ROOT, session_clients.EPHEMERALS, session_clients.ELECTION, session_clients.QUEUE,
                     stream_clients.STREAMS, data_clients.PulseWriter.PATH):
            request = pb.CreateZnodeRequest(path=path, data=b"0", create_parents=True)
            answer = caller.call_until_answered("CreateZnode", request, session_clients.NEVER, timeout_s=10)
            assert answer.outcome in ("ok", "ZNODE_ALREADY_EXISTS"), answer.outcome
        caller.close()

    def start_clients(self):
        history, values, began = self.history, data_clients.Values(), now()
        watchers = [Watcher(f"watcher-{i}", self.caller(), history, self._next_seed(), "/fault") for i in (1, 2)]
        self._start(watchers)
        wait_until(lambda: len(history.of("watch_begin")) >= len(watchers), "the watchers have begun")
        self._start(
            [data_clients.DataClient(f"data-{i}", self.caller(), history, self._next_seed(), values, began)
             for i in range(5)] +
            [data_clients.PinnedReader(f"reader-of-{n}", self.caller(pinned=n), history, self._next_seed(), began)
             for n in self._addresses] +
            [data_clients.PulseWriter("pulse", self.caller(), history, self._next_seed())] +
            [session_clients.EphemeralClient(f"ephemeral-{i}", self.caller(), history, self._next_seed(), 0.1)
             for i in range(2)] +
            [session_clients.Contender(f"contender-{i}", self.caller(), history, self._next_seed(), 0.05)
             for i in range(3)] +
            [session_clients.LeaderObserver("observer", self.caller(), history, self._next_seed(), 0.3)] +
            [session_clients.Enqueuer(f"enqueuer-{i}", self.caller(), history, self._next_seed(), 0.2)
             for i in range(2)] +
            [stream_clients.StreamWriter(f"streamer-{i}", self.caller(), history, self._next_seed())
             for i in range(2)])
        if os.environ.get("FALAJ_FAULT_GATEWAY", "1") == "1":
            self._start([
                data_clients.PulseWriter("gateway-pulse", self.gateway_caller(), history, self._next_seed()),
                data_clients.DataClient("gateway-data", self.gateway_caller(), history, self._next_seed(), values,
                                        began)])

    def stop_clients(self):
        for client in self.clients:
            client.stop()
        for client in self.clients:
            client.join(timeout=30)
            if client.is_alive():
                client.failure = f"{client.name} does not stop"

    def settle(self):
        """Every node recovers once nothing is broken any more."""
        try:
            self.cluster.wait_ready()
        except AssertionError as error:
            self.unsettled.append(str(error))

    def look_at_the_end(self):
        """All clients have gone: their ephemeral znodes must go, and all nodes must have the same."""
        if self.unsettled:
            return
        try:
            wait_until(lambda: not self._names(session_clients.EPHEMERALS), "all ephemeral znodes have gone", SETTLE_S)
            queues = {node: self._queue_of(node) for node in self._addresses}
            streams = {node: self._names(stream_clients.STREAMS, node) for node in self._addresses}
        except AssertionError as error:
            self.unsettled.append(str(error))
            return
        self.final_queue, self.final_streams = queues[1], streams[1]
        self.unsettled += [f"node {node} has other znodes than node 1" for node in queues
                           if (queues[node], streams[node]) != (queues[1], streams[1])]

    def _names(self, path, node=None):
        """The children of a znode, by linearizable reads."""
        caller = self.caller(pinned=node)
        names, token = [], ""
        while True:
            page = self._ask(caller, "ListChildren", pb.ListChildrenRequest(path=path, page_token=token))
            names += page.names
            token = page.next_page_token
            if not token:
                caller.close()
                return names

    def _queue_of(self, node):
        """[(path, data)] as one node has it."""
        paths = [f"{session_clients.QUEUE}/{name}" for name in self._names(session_clients.QUEUE, node)]
        caller = self.caller(pinned=node)
        local = pb.ReadOptions(consistency=pb.READ_CONSISTENCY_LOCAL)  # The list before was not.
        queue = [(path, self._ask(caller, "GetZnode", pb.GetZnodeRequest(path=path, options=local)).znode.data.decode())
                 for path in paths]
        caller.close()
        return queue

    @staticmethod
    def _ask(caller, method, request):
        """The answer of a quorum that is whole, so one must come."""
        for _ in range(SETTLE_S):
            answer = caller.call(method, request, timeout_s=5)
            if answer.ok:
                return answer.response
            time.sleep(0.2)
        raise AssertionError(f"{method} at node {caller.node()}: {answer.outcome}")

    def _next_seed(self):
        self.seed += 1
        return self.seed

    def _start(self, clients):
        for client in clients:
            client.start()
        self.clients += clients


def linearizability(path):
    """The verdict of falaj_check_history, which knows nothing of indexes: (what it is about, faults)."""
    done = subprocess.run([os.path.join(BINARIES, "falaj_check_history"), path], capture_output=True, text=True,
                          check=False)
    about = "linearizable, as clients see it"
    said = (done.stdout + done.stderr).strip()
    if done.returncode == 3:
        return f"{about}: {said}; the indexes below tell", []
    return about, [] if done.returncode == 0 else [said]


def verdicts_of(records, history_path):
    about, faults = linearizability(history_path)
    return {
        about: faults,
        "every read is of its index": checks.check_reads(records),
        "indexes follow real time": checks.check_time(records),
        "watches: no gap, no duplicate, no disorder": checks.check_watches(records),
        "ephemeral znodes live and go with their sessions": session_checks.check_sessions(records),
        "no session ends early": session_checks.check_early_ends(records),
        "elections: rising tokens, one leader at a time": session_checks.check_elections(records),
        "elections: first come, first served": session_checks.check_candidates(records),
    }


def run(options, directory):
    flags = [f"--planted_bug={options.planted_bug}"] if options.planted_bug else []
    history = History(options.history or os.path.join(directory, "history.jsonl"))
    with Cluster(BINARIES, directory, storage_nodes=0, metadata_nodes=NODES, network=True,
                 metadata_flags=flags) as cluster:
        cluster.start()
        the_run = Run(cluster, history, options.seed)
        the_run.prepare()
        nemesis = Nemesis(cluster, history, options.seed, pause_max_s=30 if options.seconds >= 120 else 5)
        try:
            the_run.start_clients()
            nemesis.start()
            wait_for_end(options.seconds, the_run.clients + [nemesis])
            nemesis.stop()
            the_run.settle()
            time.sleep(2)  # Clients go on after the faults.
        finally:
            nemesis.stop()
            the_run.stop_clients()
        the_run.look_at_the_end()
    history.close()
    verdicts = verdicts_of(history.records, history.path)
    verdicts["requests with a number take effect once"] = checks.check_queue(history.records, the_run.final_queue)
    verdicts["streams of writes take effect in order"] = stream_checks.check_streams(history.records,
                                                                                     the_run.final_streams)
    verdicts["everything recovers, nothing is left over"] = the_run.unsettled
    verdicts["clients"] = [c.failure for c in the_run.clients + [nemesis] if c.failure]
    verdicts["faults"] = report.check_drawn("fault_run.py", options, nemesis)
    report.print_report(options, history.records, nemesis.counts, verdicts)
    return not any(verdicts.values())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seconds", type=float, help="instead of --minutes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--planted-bug", help="run falaj-metadata with this bug: the run must fail")
    parser.add_argument("--keep", action="store_true", help="keep history and logs even if all is well")
    parser.add_argument("--history", help="where to write what happened; else it is kept only if the run fails")
    options = parser.parse_args()
    if options.seconds is None:
        options.seconds = options.minutes * 60
    directory = tempfile.mkdtemp(prefix="falaj-fault-run-")
    passed = run(options, directory)
    if passed and not options.keep:
        shutil.rmtree(directory)
    else:
        print(f"history and logs: {directory}")
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
