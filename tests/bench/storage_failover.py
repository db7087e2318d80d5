"""How long writes to its partitions pause when a storage node is killed -9, or stopped.

    tests/bench/storage_failover.sh build/release [KILLS [STOPS]]

Three metadata nodes, three storage nodes and two gateways on loopback, a topic of 1,000 partitions with three replicas.
Clients write with acks ALL, each to a partition of its own, without a break. A pause is the longest time between two
acknowledgements of a partition that the node led, from its end until writes go on. Prints percentiles over all such
partitions, and what clients of the others saw; checks that nothing acknowledged was lost, moved or doubled; one line of
JSON; exits 1 if a bound is missed.
"""

import json
import math
import os
import random
import shutil
import sys
import tempfile
import time
import unittest

from cluster import Cluster, wait_until
from falaj.v1 import cluster_service_pb2, cluster_service_pb2_grpc, topic_service_pb2
from workload import Producer, check, read_all

TOPIC = "orders"
PARTITIONS = 1000
NODES = (1, 2, 3)
WRITERS_A_NODE = 4
KILL_P99_MS = 1000
STOP_LONGEST_MS = 300
SETTLE_ACKS = 50  # A writer that has got so many again goes on.


class Bench:

    def __init__(self, cluster):
        self.cluster = cluster
        self.view = cluster_service_pb2_grpc.ClusterServiceStub(cluster.channel("gateway-2"))
        self.topics = cluster.topics("gateway-2")
        self.writers = []

    def partitions(self):
        return self.topics.GetTopic(topic_service_pb2.GetTopicRequest(name=TOPIC), timeout=20).topic.partitions

    def whole(self):
        state = self.view.GetCluster(cluster_service_pb2.GetClusterRequest(), timeout=20)
        return state.leaderless_partition_count == 0 and state.under_replicated_partition_count == 0

    def begin(self):
        self.cluster.create_topic(TOPIC, PARTITIONS, replicas=3, min_in_sync_replicas=2)
        wait_until(self.whole, "all partitions are in sync", 120)
        taken = {node: 0 for node in NODES}
        for partition in self.partitions():
            if taken[partition.leader] == WRITERS_A_NODE:
                continue
            taken[partition.leader] += 1
            number = len(self.writers)
            stub = self.cluster.producer(f"gateway-{1 + number % 2}")
            self.writers.append(Producer(stub, TOPIC, partition.partition, f"w{number}"))
            self.writers[-1].start()
        self.wait_for_progress()

    def wait_for_progress(self):
        goals = {writer: len(writer.acknowledged_at) + SETTLE_ACKS for writer in self.writers}
        wait_until(lambda: all(len(writer.acknowledged_at) >= goal for writer, goal in goals.items()),
                   "every partition is written to", 60)

    def end_node(self, node, end):
        """Ends a storage node by end(name) and brings it back. The pauses in ms of its partitions and of the others,
        and how many calls failed."""
        led = {partition.partition for partition in self.partitions() if partition.leader == node}
        failures = sum(writer.failures for writer in self.writers)
        begin = time.monotonic()
        end(f"storage-{node}")
        self.wait_for_progress()
        pauses = ([], [])
        for writer in self.writers:
            pauses[0 if writer.partition in led else 1].append(1000 * writer.longest_pause(begin))
        failures = sum(writer.failures for writer in self.writers) - failures
        self.cluster.start_process(f"storage-{node}")
        wait_until(self.whole, "all partitions are in sync again", 120)
        self.wait_for_progress()
        return pauses + (failures,)

    def verify(self):
        """Counts what was acknowledged, which must be there, at its offset, once."""
        case = unittest.TestCase()
        consumer = self.cluster.consumer()
        records = 0
        for writer in self.writers:
            writer.stop()
            check(case, read_all(consumer, TOPIC, writer.partition), [writer], control_records=1000)
            records += len(writer.acknowledged)
        return records


def percentile(values, percent):
    values = sorted(values)
    return round(values[math.ceil(len(values) * percent / 100) - 1])


def summary(rounds):
    led = [pause for pauses, _, _ in rounds for pause in pauses]
    others = [pause for _, pauses, _ in rounds for pause in pauses]
    return {"rounds": len(rounds), "led_p50_ms": percentile(led, 50), "led_p99_ms": percentile(led, 99),
            "led_max_ms": percentile(led, 100), "others_p50_ms": percentile(others, 50),
            "others_max_ms": percentile(others, 100), "failed_calls": sum(failures for _, _, failures in rounds)}


def report(what, result, bound, reached, limit):
    good = reached <= limit
    verdict = "ok    " if good else "MISSED"
    print(f"{verdict} {what} {result['rounds']} times: writes to its partitions paused p50 {result['led_p50_ms']} ms, "
          f"p99 {result['led_p99_ms']} ms, longest {result['led_max_ms']} ms (bound: {bound} <= {limit} ms), to the "
          f"others p50 {result['others_p50_ms']} ms, longest {result['others_max_ms']} ms; "
          f"{result['failed_calls']} failed calls")
    return good


def report_no_failure(result):
    good = result["failed_calls"] == 0
    print(f"{'ok    ' if good else 'MISSED'} stopped {result['rounds']} times: {result['failed_calls']} failed calls "
          "(bound: 0)")
    return good


def main(kills, stops):
    directory = tempfile.mkdtemp(prefix="falaj-failover-")
    chance = random.Random(kills)
    try:
        with Cluster(os.environ["FALAJ_BINARIES"], directory, storage_nodes=3, metadata_nodes=3, gateways=2) as cluster:
            cluster.start()
            cluster.wait_online(3)
            bench = Bench(cluster)
            bench.begin()
            killed = [bench.end_node(chance.choice(NODES), cluster.kill) for _ in range(kills)]
            stopped = [bench.end_node(chance.choice(NODES), cluster.stop) for _ in range(stops)]
            records = bench.verify()
    finally:
        if not os.environ.get("FALAJ_KEEP"):
            shutil.rmtree(directory, ignore_errors=True)
    result = {"records": records}
    good = True
    if killed:
        result["killed"] = summary(killed)
        good &= report("a storage node killed -9", result["killed"], "p99", result["killed"]["led_p99_ms"], KILL_P99_MS)
    if stopped:
        result["stopped"] = summary(stopped)
        longest = max(result["stopped"]["led_max_ms"], result["stopped"]["others_max_ms"])
        good &= report("a storage node stopped", result["stopped"], "longest of all", longest, STOP_LONGEST_MS)
        good &= report_no_failure(result["stopped"])
    print(f"ok     {records} acknowledged records are there, each once, at its offset")
    print(json.dumps(result))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 50, int(sys.argv[2]) if len(sys.argv) > 2 else 10))
