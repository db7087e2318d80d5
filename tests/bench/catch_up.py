"""What live writes notice of a follower that was away for long and catches up.

    tests/bench/catch_up.sh build/release [GIB [LIMIT_MIB]]

Three metadata nodes, three storage nodes and a gateway on loopback, topics with three replicas and durability `os`.
Measures writes to the topic `live` on a schedule, RATE records a second of 1 KiB, while all is well; stops a storage
node, writes GIB (10) to the topic `backlog`, starts the node again and measures the same writes until everybody is in
sync. Each leader reads and sends LIMIT_MIB (20) a second for replicas that lag, and as much as is written to it
meanwhile; the node lags behind two. Prints the latencies and the speed of catching up; one line of JSON, with the load
of the machine before it began; exits 1 if p99 is more than twice the undisturbed figure, or a record is lost.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

from cluster import Cluster, wait_until
from falaj.v1 import cluster_service_pb2, cluster_service_pb2_grpc, topic_service_pb2

LIVE, BACKLOG = "live", "backlog"
PARTITIONS = 6
RATE = 3000
FILL_RATE = 60_000
PHASE_S = 20
P99_FACTOR = 2.0


class Bench:

    def __init__(self, cluster):
        self.cluster = cluster
        self.gateway = cluster.processes["gateway-1"].grpc_address
        self.view = cluster_service_pb2_grpc.ClusterServiceStub(cluster.channel())

    def whole(self):
        state = self.view.GetCluster(cluster_service_pb2.GetClusterRequest(), timeout=20)
        return state.leaderless_partition_count == 0 and state.under_replicated_partition_count == 0

    def produce(self, topic, *arguments):
        """Runs `falaj bench produce` against the topic; its result."""
        command = [os.path.join(os.environ["FALAJ_BINARIES"], "falaj"), "bench", "produce", "--address", self.gateway,
                   "--topic", topic, "--replicas", "3", "--json", "-", *arguments]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
        assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}"
        return json.loads(done.stdout)

    def live_p99_ms(self):
        result = self.produce(LIVE, "--rate", str(RATE), "--seconds", str(PHASE_S))
        return result["phases"][0]["produce"]["from_intended"]["p99_us"] / 1000

    def fill(self, gib):
        """Writes so much to the backlog, about as fast as it goes: the producer waits for room."""
        records = gib << 20
        self.produce(BACKLOG, "--rate", str(FILL_RATE), "--batch-bytes", "128KiB", "--records", str(records))


def main(gib, limit_mib):
    load = os.getloadavg()[0]
    directory = tempfile.mkdtemp(prefix="falaj-catch-up-")
    try:
        flags = [f"--catch_up_bytes_per_second={limit_mib << 20}"]
        with Cluster(os.environ["FALAJ_BINARIES"], directory, storage_nodes=3, metadata_nodes=3,
                     storage_flags=flags) as cluster:
            cluster.start()
            cluster.wait_online(3)
            bench = Bench(cluster)
            for topic in (LIVE, BACKLOG):
                cluster.create_topic(topic, PARTITIONS, replicas=3, min_in_sync_replicas=2,
                                     durability=topic_service_pb2.DURABILITY_OS)
            undisturbed = [bench.live_p99_ms() for _ in range(3)]
            cluster.stop("storage-3")
            bench.fill(gib)
            begin = time.monotonic()
            cluster.start_process("storage-3")
            disturbed = []
            while not bench.whole() or not disturbed:
                disturbed.append(bench.live_p99_ms())
            took = time.monotonic() - begin
            wait_until(bench.whole, "all partitions are in sync")
    finally:
        if not os.environ.get("FALAJ_KEEP"):
            shutil.rmtree(directory, ignore_errors=True)
    before, during = sorted(undisturbed)[1], sorted(disturbed)[len(disturbed) // 2]
    speed = (gib << 10) / took
    good = during <= P99_FACTOR * before
    print(f"{'ok    ' if good else 'MISSED'} live writes, {RATE} records/s, p99 of phases of {PHASE_S} s: undisturbed "
          f"{before:.1f} ms, while a follower {gib} GiB behind catches up {during:.1f} ms "
          f"(bound: {P99_FACTOR:g} times)")
    print(f"ok     it caught up in {took:.0f} s, {speed:.0f} MiB/s (limit: {limit_mib} MiB/s from each of two leaders)")
    print(json.dumps({"load": load, "gib": gib, "limit_mib": limit_mib, "undisturbed_p99_ms": undisturbed,
                      "disturbed_p99_ms": disturbed, "seconds": round(took, 1), "mib_per_second": round(speed, 1)}))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10, int(sys.argv[2]) if len(sys.argv) > 2 else 20))
