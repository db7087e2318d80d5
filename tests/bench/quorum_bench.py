"""Linearizable writes to a quorum of three, Falaj's and etcd's, in turn on one machine.

    tests/bench/quorum_bench.sh build/release [SECONDS [TURNS]]

Each turn starts three nodes of one system with empty directories, all beside each other on one disk, loads them with 64
clients and then with one, and ends them; the turns alternate, and medians of them are compared with the bounds. Falaj
is written to in two ways: with a call for each write, as etcd, of which the bounds hold, and over a stream for each
client (StreamWrites). Prints a table, the verdicts and one line of JSON; exits 1 if a bound is missed.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile

from cluster import Cluster
from etcd_cluster import EtcdCluster
from process_cost import cpu_seconds, fdatasync_ms, resident_mib, total

MANY = 64
BOUND_WRITES_PER_SECOND = 8000
BOUND_P99_MS = 20
BOUND_ONE_P50_MS = 1.2
BOUND_RATIO = 1.5
SYSTEMS = ("falaj", "falaj-stream", "etcd")


def start(system, directory):
    """A cluster of three, not started."""
    if system == "etcd":
        return EtcdCluster(directory)
    return Cluster(os.environ["FALAJ_BINARIES"], directory, storage_nodes=0, gateways=0, metadata_nodes=3)


def load(system, processes, clients, seconds):
    """Runs the load generator; its result, with what the servers spent meanwhile."""
    endpoints = ",".join(process.grpc_address for process in processes)
    before = total(cpu_seconds, processes)
    ran = subprocess.run(
        [os.path.join(os.environ["FALAJ_BINARIES"], "quorum_bench"), f"--system={system}", f"--endpoints={endpoints}",
         f"--clients={clients}", f"--time={seconds}s", *os.environ.get("QUORUM_BENCH_FLAGS", "").split()],
        stdout=subprocess.PIPE, text=True, check=False)
    if not ran.stdout:
        raise SystemExit(f"the load generator failed with {ran.returncode} against {system}")
    result = json.loads(ran.stdout.splitlines()[-1])
    spent = total(cpu_seconds, processes) - before
    result["server_cpu_s_per_1000"] = 1000 * spent / max(1, result["acknowledged"])
    result["resident_mib"] = total(resident_mib, processes)
    print(f"{ran.stdout.splitlines()[0]}   CPU s/1,000 writes: servers {result['server_cpu_s_per_1000']:.3f}, "
          f"client {result['client_cpu_s_per_1000']:.3f}; {result['resident_mib']:.0f} MiB resident", flush=True)
    return result


def turn(system, seconds, parent):
    """One sitting of one system: {clients: result}."""
    directory = tempfile.mkdtemp(prefix=f"{system}-", dir=parent)
    try:
        with start(system, directory) as cluster:
            cluster.start()
            processes = list(cluster.processes.values())
            return {clients: load(system, processes, clients, seconds) for clients in (MANY, 1)}
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def medians(turns, clients):
    """Of every number of the results, over the turns."""
    results = [results[clients] for results in turns]
    return {key: statistics.median(result[key] for result in results)
            for key, value in results[0].items() if isinstance(value, (int, float))}


def verdict(name, value, unit, good, bound):
    """Prints one line; returns whether the bound holds."""
    print(f"{'ok    ' if good else 'MISSED'} {name}: {value:.2f}{unit} (bound: {bound})")
    return good


def judge(falaj, etcd, failures):
    """Compares the medians with the bounds; True if all hold."""
    many, one = falaj[MANY], falaj[1]
    ratio = many["writes_per_second"] / etcd[MANY]["writes_per_second"]
    return all([
        verdict("writes/s, 64 clients", many["writes_per_second"], "",
                many["writes_per_second"] >= BOUND_WRITES_PER_SECOND, f">= {BOUND_WRITES_PER_SECOND}"),
        verdict("p99, 64 clients", many["p99_ms"], " ms", many["p99_ms"] < BOUND_P99_MS, f"< {BOUND_P99_MS} ms"),
        verdict("p50, one client", one["p50_ms"], " ms", one["p50_ms"] < BOUND_ONE_P50_MS, f"< {BOUND_ONE_P50_MS} ms"),
        verdict("writes/s over etcd's, 64 clients", ratio, "", ratio >= BOUND_RATIO, f">= {BOUND_RATIO}"),
        verdict("failed or lost writes", failures, "", failures == 0, "0"),
    ])


def compare(name, falaj, etcd):
    """Prints the ratios of the medians that have no bound."""
    def ratio(clients, key):
        return falaj[clients][key] / etcd[clients][key]
    print(f"       {name} / etcd: writes/s of 64 clients {ratio(MANY, 'writes_per_second'):.2f}, of one "
          f"{ratio(1, 'writes_per_second'):.2f}; p50 of one {ratio(1, 'p50_ms'):.2f}; server CPU per write "
          f"{ratio(MANY, 'server_cpu_s_per_1000'):.2f}, resident memory {ratio(MANY, 'resident_mib'):.2f}")


def main(seconds, turns):
    parent = tempfile.mkdtemp(prefix="quorum-bench-", dir=os.environ.get("QUORUM_BENCH_DIRECTORY"))
    results = {system: [] for system in SYSTEMS}
    try:
        sync_ms = fdatasync_ms(parent)
        print(f"fdatasync of 16 KiB {sync_ms:.2f} ms; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
              flush=True)
        for _ in range(turns):
            for system, of_system in results.items():
                of_system.append(turn(system, seconds, parent))
    finally:
        shutil.rmtree(parent, ignore_errors=True)
    summary = {system: {clients: medians(of_system, clients) for clients in (MANY, 1)}
               for system, of_system in results.items()}
    failures = sum(result["errors"] + result["lost"]
                   for of_system in results.values() for by_clients in of_system for result in by_clients.values())
    good = judge(summary["falaj"], summary["etcd"], failures)
    for name in ("falaj", "falaj-stream"):
        compare(name, summary[name], summary["etcd"])
    print(json.dumps({"fdatasync_ms": sync_ms, **summary}))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10, int(sys.argv[2]) if len(sys.argv) > 2 else 3))
