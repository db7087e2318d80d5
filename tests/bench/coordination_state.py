"""A full coordination tree: what snapshots and heartbeats cost.

    tests/bench/coordination_state.sh build/release [ZNODES [SESSIONS]]

Three metadata nodes, 100,000 znodes, 10,000 sessions kept alive over KeepSessions streams. First nothing happens but
the heartbeats; then 64 clients write until the leader has made three snapshots. Compares with the bounds what the
heartbeats cost the leader, how long a snapshot takes, and the longest round of any node, which is how long everybody
waits; exits 1 if one is missed.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

from cluster import Cluster
from process_cost import cpu_seconds, resident_mib, total

IDLE_S = 20
SNAPSHOTS = 3
WRITE_S_MAX = 180
POLL_S = 0.25
BOUND_SNAPSHOT_S = 1.0
BOUND_ROUND_MS = 20
BOUND_HEARTBEATS_PERCENT = 10


def metric(text, name):
    """The one sample of a metric, whatever its labels; 0 if there is none."""
    found = re.search(rf"^{name}(?:\{{[^}}]*\}})? ([0-9.eE+-]+)$", text, re.MULTILINE)
    return float(found.group(1)) if found else 0.0


def binary(name, processes, *flags):
    """The command line of one of the load generators."""
    endpoints = ",".join(process.grpc_address for process in processes)
    return [os.path.join(os.environ["FALAJ_BINARIES"], name), f"--endpoints={endpoints}", *flags]


def idle_percent(process, seconds):
    """Of a core, over so many seconds."""
    before = cpu_seconds(process)
    begin = time.monotonic()
    time.sleep(seconds)
    return 100 * (cpu_seconds(process) - before) / (time.monotonic() - begin)


class SnapshotWatch:
    """Follows the metrics of all nodes: every snapshot of the leader, the longest round of any node."""

    def __init__(self, leader, processes):
        self.leader = leader
        self.processes = processes
        self.snapshots = []  # Seconds each.
        self.longest_round_ms = 0.0
        self.longest_off_disk_ms = 0.0
        self.begun = self._sums()

    def _sums(self):
        text = self.leader.metrics()
        return metric(text, "falaj_raft_snapshot_seconds_count"), metric(text, "falaj_raft_snapshot_seconds_sum")

    def poll(self):
        count, seconds = self._sums()
        made = int(count - self.begun[0])
        if made > 0:
            self.snapshots += [(seconds - self.begun[1]) / made] * made
            self.begun = count, seconds
        for process in self.processes:
            text = process.metrics()
            self.longest_round_ms = max(self.longest_round_ms, 1000 * metric(text, "falaj_raft_round_longest_seconds"))
            self.longest_off_disk_ms = max(self.longest_off_disk_ms,
                                           1000 * metric(text, "falaj_raft_round_longest_off_disk_seconds"))


def write_until_snapshots(leader, processes):
    """Loads the quorum until the leader has made its snapshots; returns (SnapshotWatch, the load's result)."""
    watch = SnapshotWatch(leader, processes)
    give_up = time.monotonic() + WRITE_S_MAX
    result = None
    while len(watch.snapshots) < SNAPSHOTS and time.monotonic() < give_up:
        with subprocess.Popen(binary("quorum_bench", processes, "--clients=64", "--time=20s", "--warm_up=0s"),
                              stdout=subprocess.PIPE, text=True) as load:
            while load.poll() is None:
                watch.poll()
                time.sleep(POLL_S)
            result = json.loads(load.stdout.read().splitlines()[-1])
    watch.poll()
    return watch, result


def measure(cluster, znodes, sessions):
    """One sitting; returns what was measured."""
    processes = list(cluster.processes.values())
    leader = cluster.processes[cluster.metadata_leader()]
    result = {"baseline_percent": idle_percent(leader, IDLE_S / 2)}
    with subprocess.Popen(binary("session_load", processes, f"--znodes={znodes}", f"--sessions={sessions}"),
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as load:
        result.update(json.loads(load.stdout.readline()))
        assert cluster.processes[cluster.metadata_leader()] is leader, "another node leads now"
        time.sleep(2)  # For the last snapshot of the filling to be done.
        result["heartbeats_percent"] = idle_percent(leader, IDLE_S)
        result["resident_mib"] = total(resident_mib, processes)
        watch, writes = write_until_snapshots(leader, processes)
        load.stdin.close()
        result["kept"] = json.loads(load.stdout.read().splitlines()[-1])
    result.update(snapshots_s=watch.snapshots, longest_round_ms=watch.longest_round_ms,
                  longest_off_disk_ms=watch.longest_off_disk_ms, writes=writes)
    return result


def verdict(name, value, unit, good, bound):
    print(f"{'ok    ' if good else 'MISSED'} {name}: {value:.2f}{unit} (bound: {bound})")
    return good


def judge(result):
    """Compares with the bounds; True if all hold."""
    slowest = max(result["snapshots_s"], default=float("inf"))
    rounds, heartbeats = result["longest_round_ms"], result["heartbeats_percent"]
    ended = result["kept"]["sessions_ended"] + result["kept"]["streams_failed"]
    print(f"{result['znodes']} znodes and {result['sessions']} sessions, filled in {result['fill_seconds']} s; "
          f"{result['resident_mib']:.0f} MiB resident in three nodes; the leader without sessions "
          f"{result['baseline_percent']:.1f} % of a core; under load "
          f"{result['writes']['writes_per_second']:.0f} writes/s, p99 {result['writes']['p99_ms']:.1f} ms, "
          f"longest {result['writes']['max_ms']:.1f} ms")
    return all([
        verdict(f"slowest of {len(result['snapshots_s'])} snapshots", slowest, " s", slowest < BOUND_SNAPSHOT_S,
                f"< {BOUND_SNAPSHOT_S} s"),
        verdict(f"longest round of a node ({result['longest_off_disk_ms']:.1f} ms without its disk)", rounds, " ms",
                0 < rounds < BOUND_ROUND_MS, f"< {BOUND_ROUND_MS} ms"),
        verdict("leader's core for heartbeats", heartbeats, " %", heartbeats < BOUND_HEARTBEATS_PERCENT,
                f"< {BOUND_HEARTBEATS_PERCENT} %"),
        verdict("sessions that ended, streams that failed", ended, "", ended == 0, "0"),
    ])


def main(znodes, sessions):
    directory = tempfile.mkdtemp(prefix="coordination-state-", dir=os.environ.get("QUORUM_BENCH_DIRECTORY"))
    try:
        with Cluster(os.environ["FALAJ_BINARIES"], directory, storage_nodes=0, gateways=0,
                     metadata_nodes=3) as cluster:
            cluster.start()
            result = measure(cluster, znodes, sessions)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    good = judge(result)
    print(json.dumps(result))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000,
                  int(sys.argv[2]) if len(sys.argv) > 2 else 10_000))
