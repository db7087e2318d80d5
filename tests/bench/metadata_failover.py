"""How long linearizable writes pause when the leader of the metadata service is killed -9.

    tests/bench/metadata_failover.sh build/release [KILLS]

Three metadata nodes and a gateway on loopback. Two clients write, each to its own znode: one through the gateway, one
to the metadata nodes themselves, following the leader. Before each kill both have just written; the pause is the time
from the kill to the next write that succeeds. Prints percentiles for both, the verdict, and one line of JSON; exits 1
if the 99th percentile of either is over a second.
"""

import json
import math
import os
import shutil
import sys
import tempfile
import threading
import time

import grpc

from cluster import Cluster, error_reason
from falaj.v1 import coordination_service_pb2 as pb
from falaj.v1 import coordination_service_pb2_grpc

BOUND_P99_MS = 1000
GIVE_UP_S = 60
CALL_TIMEOUT_S = 5
PAUSE_S = 0.01
PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
CHANNEL_OPTIONS = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.min_reconnect_backoff_ms", 1000),
                   ("grpc.max_reconnect_backoff_ms", 200)]


class Writer:
    """Writes to its znode at one of some addresses; goes where the error says the leader is, else to the next one."""

    def __init__(self, path, addresses):
        self.path = path
        self.channels = [grpc.insecure_channel(address, options=CHANNEL_OPTIONS) for address in addresses]
        self.stubs = {address: coordination_service_pb2_grpc.CoordinationServiceStub(channel)
                      for address, channel in zip(addresses, self.channels)}
        self.address = addresses[0]
        self.count = 0

    def close(self):
        for channel in self.channels:
            channel.close()

    def create(self):
        request = pb.CreateZnodeRequest(path=self.path, create_parents=True)
        self._until_it_succeeds(lambda stub: stub.CreateZnode(request, timeout=CALL_TIMEOUT_S),
                                ["ZNODE_ALREADY_EXISTS"])

    def write(self):
        """Returns once a write has succeeded. A repetition writes the same again."""
        self.count += 1
        request = pb.SetZnodeRequest(path=self.path, data=str(self.count).encode())
        self._until_it_succeeds(lambda stub: stub.SetZnode(request, timeout=CALL_TIMEOUT_S))

    def check(self):
        """What was acknowledged last must be what a linearizable read sees."""
        seen = []
        self._until_it_succeeds(lambda stub: seen.append(
            stub.GetZnode(pb.GetZnodeRequest(path=self.path), timeout=CALL_TIMEOUT_S)))
        assert seen[0].znode.data == str(self.count).encode(), f"{self.path}: {seen[0]}, written: {self.count}"

    def _until_it_succeeds(self, call, accepted=()):
        give_up = time.monotonic() + GIVE_UP_S
        while True:
            try:
                call(self.stubs[self.address])
                return
            except grpc.RpcError as error:
                reason, metadata = error_reason(error)
                if reason in accepted:
                    return
                if error.code() not in PASSING or time.monotonic() > give_up:
                    raise
                self._turn(metadata.get("leader"))

    def _turn(self, leader):
        if leader in self.stubs and leader != self.address:
            self.address = leader
            return
        addresses = list(self.stubs)
        self.address = addresses[(addresses.index(self.address) + 1) % len(addresses)]
        time.sleep(PAUSE_S)


def pauses_of_a_kill(cluster, writers):
    """Kills the leader; the milliseconds until each writer's next success."""
    for writer in writers:
        writer.write()
    leader = cluster.metadata_leader()
    pauses = [None] * len(writers)
    begin = time.monotonic()
    cluster.kill(leader)

    def write(number):
        writers[number].write()
        pauses[number] = 1000 * (time.monotonic() - begin)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(len(writers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert None not in pauses, "a write did not succeed"
    for writer in writers:
        writer.check()
    cluster.start_process(leader)
    return pauses


def percentiles(pauses):
    pauses = sorted(pauses)

    def percentile(percent):
        return round(pauses[math.ceil(len(pauses) * percent / 100) - 1])

    return {"p50_ms": percentile(50), "p90_ms": percentile(90), "p99_ms": percentile(99), "max_ms": round(pauses[-1])}


def main(kills):
    directory = tempfile.mkdtemp(prefix="falaj-failover-")
    writers = {}
    pauses = []
    try:
        with Cluster(os.environ["FALAJ_BINARIES"], directory, storage_nodes=0, metadata_nodes=3) as cluster:
            cluster.start()
            nodes = [process.grpc_address for name, process in cluster.processes.items() if name.startswith("metadata")]
            writers = {"gateway": Writer("/bench/gateway", [cluster.processes["gateway-1"].grpc_address]),
                       "direct": Writer("/bench/direct", nodes)}
            for writer in writers.values():
                writer.create()
            for _ in range(kills):
                pauses.append(pauses_of_a_kill(cluster, list(writers.values())))
    finally:
        for writer in writers.values():
            writer.close()
        shutil.rmtree(directory, ignore_errors=True)
    result = {"kills": kills}
    for number, name in enumerate(writers):
        of_writer = result[name] = percentiles([both[number] for both in pauses])
        good = of_writer["p99_ms"] <= BOUND_P99_MS
        print(f"{'ok    ' if good else 'MISSED'} leader killed {kills} times, writes ({name}) paused p50 "
              f"{of_writer['p50_ms']} ms, p99 {of_writer['p99_ms']} ms (bound: <= {BOUND_P99_MS} ms), longest "
              f"{of_writer['max_ms']} ms")
    print(json.dumps(result))
    return 0 if all(result[name]["p99_ms"] <= BOUND_P99_MS for name in writers) else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100))
