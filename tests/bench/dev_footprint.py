"""How soon `falaj dev` is ready, and what memory it takes: empty, and with a topic of many partitions.

    tests/bench/dev_footprint.sh build/release [PARTITIONS]

Starts `falaj dev` with one storage node and an empty directory; memory is what is resident in it and in processes that
it has started. Then makes a topic of PARTITIONS partitions (10,000), waits until all are led, and
measures again, of which there is no bound. Prints a table with the bounds and one line of JSON; exits 1 if a bound is
missed.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import types

import grpc

from cluster import wait_until
from falaj.v1 import cluster_service_pb2, cluster_service_pb2_grpc
from falaj.v1 import topic_service_pb2, topic_service_pb2_grpc
from process_cost import resident_mib, total

READY_S = 2.0
RESIDENT_MB = 150.0
PATIENCE_S = 60
SETTLE_S = 3  # Elections and first flushes are over then.


class Dev:
    """`falaj dev` on free ports, started and ready."""

    def __init__(self, directory):
        begin = time.monotonic()
        self.talk = open(f"{directory}/talk", "wb")
        self.child = subprocess.Popen(
            [os.path.join(os.environ["FALAJ_BINARIES"], "falaj"), "dev", "--data", f"{directory}/data", "--port", "0",
             "--http-port", "0"], stdout=subprocess.PIPE, stderr=self.talk, text=True)
        impatience = threading.Timer(PATIENCE_S, self.child.kill)
        impatience.start()
        try:
            ready = next((line for line in self.child.stdout if line.startswith("ready")), None)
        finally:
            impatience.cancel()
        self.ready_s = time.monotonic() - begin
        if ready is None:
            self.child.kill()
            raise RuntimeError("falaj dev did not become ready")
        self.channel = grpc.insecure_channel(ready.split("--address ")[1].split()[0])

    def resident_mb(self):
        """Of the process and its children, should it have some."""
        with open(f"/proc/{self.child.pid}/task/{self.child.pid}/children", encoding="ascii") as children:
            pids = [self.child.pid, *map(int, children.read().split())]
        processes = [types.SimpleNamespace(child=types.SimpleNamespace(pid=pid)) for pid in pids]
        return total(resident_mib, processes) * (1 << 20) / 1e6

    def create_topic(self, partitions):
        """Seconds until all of them are led."""
        begin = time.monotonic()
        request = topic_service_pb2.CreateTopicRequest(name="orders", partition_count=partitions)
        topic_service_pb2_grpc.TopicServiceStub(self.channel).CreateTopic(request, timeout=PATIENCE_S)
        view = cluster_service_pb2_grpc.ClusterServiceStub(self.channel)

        def led():
            state = view.GetCluster(cluster_service_pb2.GetClusterRequest(), timeout=PATIENCE_S)
            return state.leaderless_partition_count == 0

        wait_until(led, "all partitions are led", PATIENCE_S)
        return time.monotonic() - begin

    def stop(self):
        self.channel.close()
        self.child.send_signal(signal.SIGTERM)
        try:
            self.child.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        self.talk.close()


def main(partitions):
    directory = tempfile.mkdtemp(prefix="falaj-dev-")
    try:
        dev = Dev(directory)
        try:
            time.sleep(SETTLE_S)
            empty = dev.resident_mb()
            created = dev.create_topic(partitions)
            time.sleep(SETTLE_S)
            full = dev.resident_mb()
        finally:
            dev.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    rows = [("ready", dev.ready_s, "s", READY_S),
            ("resident, no topic", empty, "MB", RESIDENT_MB),
            (f"topic of {partitions} partitions led", created, "s", None),
            (f"resident, {partitions} partitions", full, "MB", None)]
    good = True
    for what, measured, unit, bound in rows:
        met = bound is None or measured < bound
        good &= met
        verdict = "      " if bound is None else "ok    " if met else "MISSED"
        print(f"{verdict} {what:32} {measured:8.2f} {unit:2}" + ("" if bound is None else f"  (bound: {bound:g})"))
    print(json.dumps({"ready_s": dev.ready_s, "resident_mb": empty, "partitions": partitions, "created_s": created,
                      "resident_with_partitions_mb": full}))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10000))
