"""What a cluster of many partitions costs while nobody uses it, and how soon a restarted node is in sync again.

    tests/bench/idle_cluster.sh build/release [PARTITIONS [SECONDS]]

Three metadata nodes, three storage nodes and a gateway on loopback; PARTITIONS partitions (3,000) with three replicas.
Prints for each process its share of a core over SECONDS (30) and its resident memory, then restarts a storage node and
waits until every partition is in sync; one line of JSON; exits 1 if a bound is missed.
"""

import json
import os
import shutil
import sys
import tempfile
import time

from cluster import Cluster, wait_until
from falaj.v1 import cluster_service_pb2, cluster_service_pb2_grpc
from process_cost import cpu_seconds, resident_mib

TOPIC = "orders"
IDLE_PERCENT = 2.0
RESIDENT_MIB = 400.0
IN_SYNC_S = 4.0
SETTLE_S = 15  # Elections, flushes and checkpoints of the beginning are over then.


def say(good, what, measured, bound, unit):
    print(f"{'ok    ' if good else 'MISSED'} {what}: {measured:.2f} {unit} (bound: {bound:g})")
    return good


class Bench:

    def __init__(self, cluster):
        self.cluster = cluster
        self.view = cluster_service_pb2_grpc.ClusterServiceStub(cluster.channel())

    def whole(self):
        state = self.view.GetCluster(cluster_service_pb2.GetClusterRequest(), timeout=20)
        return state.leaderless_partition_count == 0 and state.under_replicated_partition_count == 0

    def begin(self, partitions):
        for number in range(0, partitions, 1000):
            self.cluster.create_topic(f"{TOPIC}-{number}", min(1000, partitions - number), replicas=3,
                                      min_in_sync_replicas=2)
        wait_until(self.whole, "all partitions are in sync", 120)

    def idle(self, seconds):
        """Percent of a core and MiB by process."""
        processes = self.cluster.processes
        before = {name: cpu_seconds(process) for name, process in processes.items()}
        time.sleep(seconds)
        return {name: (100 * (cpu_seconds(process) - before[name]) / seconds, resident_mib(process))
                for name, process in processes.items()}

    def restart(self, name):
        """Seconds from the start of the process to everything in sync."""
        self.cluster.stop(name)
        wait_until(lambda: not self.whole(), "the stop is seen", 30)
        begin = time.monotonic()
        self.cluster.start_process(name)
        wait_until(self.whole, "all partitions are in sync again", 120)
        return time.monotonic() - begin


def main(partitions, seconds):
    directory = tempfile.mkdtemp(prefix="falaj-idle-")
    try:
        with Cluster(os.environ["FALAJ_BINARIES"], directory, storage_nodes=3, metadata_nodes=3) as cluster:
            cluster.start()
            cluster.wait_online(3)
            bench = Bench(cluster)
            bench.begin(partitions)
            time.sleep(SETTLE_S)
            costs = bench.idle(seconds)
            in_sync = bench.restart("storage-2")
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    for name, (percent, mib) in sorted(costs.items()):
        print(f"       {name:12} {percent:5.2f} % of a core {mib:6.1f} MiB")
    percent = sum(cost[0] for cost in costs.values())
    mib = sum(cost[1] for cost in costs.values())
    good = say(percent <= IDLE_PERCENT, f"idle, {partitions} partitions x 3, all processes", percent, IDLE_PERCENT,
               "% of a core")
    good &= say(mib <= RESIDENT_MIB, "resident, all processes", mib, RESIDENT_MIB, "MiB")
    good &= say(in_sync <= IN_SYNC_S, "a storage node's restart until all is in sync", in_sync, IN_SYNC_S, "s")
    print(json.dumps({"partitions": partitions, "idle_percent": percent, "resident_mib": mib, "in_sync_s": in_sync}))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 3000, int(sys.argv[2]) if len(sys.argv) > 2 else 30))
