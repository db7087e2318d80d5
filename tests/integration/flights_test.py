"""The 20,000 flights, some without a key, through a cluster and back: several producers and consumers at once; and the
whole story, in which a gateway is replaced in the middle and everything is killed. Separately started processes.

By hand: tests/integration/run.sh build/release flights_test.py [unittest arguments].
"""

import collections
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

from cluster import Cluster, wait_until

BINARIES = os.environ["FALAJ_BINARIES"]
FALAJ = os.path.join(BINARIES, "falaj")
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
FLIGHTS = os.path.join(ROOT, "tests/testdata/flights-20k.tsv")
WITHOUT_KEY = 50  # Every so many flights one loses its key: the file has none of these.
TOPIC = "flights"
PARTITIONS = 6
PRODUCERS = 2
NULL = "\x01"
FLAGS = ("--session_timeout=1s", "--replica_lag_max=2s")


def read_flights():
    """[(key, value)]; an empty key is a null key."""
    with open(FLIGHTS, encoding="utf-8") as file:
        flights = [tuple(line.rstrip("\n").split("\t", 1)) for line in file]
    return [("" if number % WITHOUT_KEY == 0 else key, value) for number, (key, value) in enumerate(flights)]


class FlightsTest(unittest.TestCase):

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="falaj-flights-")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.flights = read_flights()

    def write(self, name, flights):
        path = os.path.join(self.directory, name)
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(f"{key}\t{value}\n" for key, value in flights)
        return path

    def test_several_producers_and_consumers_at_once(self):
        """What scripts/flights.sh does with any file."""
        environment = {**os.environ, "FALAJ_BINARIES": BINARIES}
        done = subprocess.run([os.path.join(ROOT, "scripts/flights.sh"), self.write("input", self.flights)],
                              env=environment, capture_output=True, text=True, timeout=200, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        nulls = len(self.flights) // WITHOUT_KEY
        self.assertIn(f"all {len(self.flights)} records are back, {nulls} of them without a key", done.stdout)

    def test_a_gateway_is_replaced_and_everything_is_killed_in_the_middle(self):
        cluster = Cluster(BINARIES, self.directory, storage_nodes=3, gateways=2, metadata_nodes=3, storage_flags=FLAGS)
        self.addCleanup(cluster.__exit__)
        cluster.start()
        cluster.wait_online(3)
        cluster.create_topic(TOPIC, PARTITIONS, replicas=3, min_in_sync_replicas=2)
        producers = [self.start_producer(cluster, number) for number in range(PRODUCERS)]

        self.wait_for_records(cluster, 3_000)
        cluster.kill("gateway-1")
        cluster.start_process("gateway-1")  # Another one, at the same address.
        self.wait_for_records(cluster, 8_000)
        self.kill_everything(cluster)
        self.wait_for_records(cluster, 12_000)
        self.assertTrue(any(producer.poll() is None for producer in producers), "all was written before the end")
        for producer in producers:
            _, said = producer.communicate(timeout=150)
            self.assertEqual(producer.returncode, 0, said)
        self.kill_everything(cluster)
        self.verify(cluster)

    def start_producer(self, cluster, number):
        """`falaj produce` of its share, no faster than the story is told."""
        path = self.write(f"share-{number}", self.flights[number::PRODUCERS])
        child = subprocess.Popen([FALAJ, "produce", TOPIC, "-q", "-Z", "-K", "\\t", "--file", path, "--rate", "700",
                                  "--timeout", "2m", "--address", cluster.processes["gateway-1"].grpc_address],
                                 stderr=subprocess.PIPE, text=True)
        self.addCleanup(lambda: child.poll() is None and child.kill())
        return child

    def kill_everything(self, cluster):
        for name in cluster.processes:
            cluster.kill(name)
        for process in cluster.processes.values():
            process.start()
        cluster.wait_ready()

    def consume(self, cluster):
        """[(partition, offset, key, value)] through the other gateway; None while some partition cannot be read."""
        done = subprocess.run([FALAJ, "consume", TOPIC, "-o", "start", "-e", "-Z", NULL, "-f", "%p\\t%o\\t%k\\t%s\\n",
                               "--address", cluster.processes["gateway-2"].grpc_address],
                              capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            return None
        records = [line.split("\t", 3) for line in done.stdout.splitlines()]
        return [(int(p), int(o), "" if key == NULL else key, value) for p, o, key, value in records]

    def wait_for_records(self, cluster, count):
        wait_until(lambda: len(self.consume(cluster) or ()) >= count, f"{count} records are there", 90)

    def verify(self, cluster):
        found = []

        def read():
            found[:] = self.consume(cluster) or []
            return len(found) >= len(self.flights)

        wait_until(read, "all records can be read", 60)
        self.assertEqual(collections.Counter((key, value) for _, _, key, value in found),
                         collections.Counter(self.flights), "lost, or twice, or another")
        partitions = collections.defaultdict(set)
        offsets = collections.defaultdict(list)
        for partition, offset, key, _ in found:
            partitions[key].add(partition)
            offsets[partition].append(offset)
        self.assertEqual([key for key, where in partitions.items() if key and len(where) > 1], [])
        for partition in range(PARTITIONS):
            self.assertEqual(offsets[partition], sorted(set(offsets[partition])))
        self.disks_agree(cluster)

    def disks_agree(self, cluster):
        wait_until(lambda: all(len(p.in_sync_replicas) == 3 for p in cluster.partitions(TOPIC, "gateway-2")),
                   "all replicas are in sync", 60)
        directories = [os.path.join(self.directory, f"storage-{number}") for number in (1, 2, 3)]
        for number in (1, 2, 3):
            cluster.processes[f"storage-{number}"].end(signal.SIGKILL)
        done = subprocess.run([FALAJ, "debug", "verify", *directories, "--in-sync", "--replicas", "3",
                               "--nothing-deleted"], capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv)
