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
import threading
import time
import unittest

from cluster import Cluster, wait_until

BINARIES = os.environ["FALAJ_BINARIES"]
FALAJ = os.path.join(BINARIES, "falaj")
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
FLIGHTS = os.path.join(ROOT, "tests/testdata/flights-20k.tsv")
WITHOUT_KEY = 50  # Every so many flights one loses its key: the file has none of these.
SCRIPT_S = 180  # What scripts/flights.sh may take in all, and how long it waits for the records to come back.
SCRIPT_PATIENCE_S = 90
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


def end_group(group):
    """Ends all processes of a group: in good order, if they do so in time."""
    for number, patience_s in ((signal.SIGTERM, 30), (signal.SIGKILL, 10)):
        deadline = time.monotonic() + patience_s
        try:
            os.killpg(group, number)
            while time.monotonic() < deadline:
                os.killpg(group, 0)
                time.sleep(0.05)
        except ProcessLookupError:
            return


def run_in_group(command, environment, timeout_s):
    """(exit code, what it has printed) of a command that starts others. If it takes too long, all of them end."""
    with tempfile.TemporaryFile("w+") as printed:
        child = subprocess.Popen(command, env=environment, stdout=printed, stderr=printed, start_new_session=True)
        try:
            child.wait(timeout=timeout_s)
        except BaseException:
            reaper = threading.Thread(target=child.wait)  # Until then it counts as one of its group.
            reaper.start()
            end_group(child.pid)
            reaper.join()
            printed.seek(0)
            print(printed.read(), file=sys.stderr)
            raise
        printed.seek(0)
        return child.returncode, printed.read()


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
        environment = {**os.environ, "FALAJ_BINARIES": BINARIES, "FLIGHTS_PATIENCE_S": str(SCRIPT_PATIENCE_S)}
        command = [os.path.join(ROOT, "scripts/flights.sh"), self.write("input", self.flights)]
        code, printed = run_in_group(command, environment, SCRIPT_S)
        self.assertEqual(code, 0, printed)
        nulls = len(self.flights) // WITHOUT_KEY
        self.assertIn(f"all {len(self.flights)} records are back, {nulls} of them without a key", printed)

    def test_a_script_that_takes_too_long_leaves_nothing_behind(self):
        environment = {**os.environ, "FALAJ_BINARIES": BINARIES}
        started = os.path.join(self.directory, "started")
        # As scripts/flights.sh: its children are in the background, and it cleans up when it exits.
        script = f"trap 'kill $!; wait' EXIT; sleep 1000 & echo $! > {started}; while true; do sleep 0.2; done"
        with self.assertRaises(subprocess.TimeoutExpired):
            run_in_group(["bash", "-c", script], environment, 2)
        with open(started, encoding="utf-8") as file:
            child = int(file.read())
        wait_until(lambda: not os.path.exists(f"/proc/{child}"), "the child is gone", 10)

    def test_a_gateway_is_replaced_and_everything_is_killed_in_the_middle(self):
        cluster = Cluster(BINARIES, self.directory, storage_nodes=3, gateways=2, metadata_nodes=3, storage_flags=FLAGS)
        self.addCleanup(cluster.__exit__)
        cluster.start()
        cluster.wait_online(3)
        cluster.create_topic(TOPIC, PARTITIONS, replicas=3, min_in_sync_replicas=2)
        producers = [self.start_producer(cluster) for _ in range(PRODUCERS)]
        feed = self.feeder(producers)

        feed(3_000)
        self.wait_for_records(cluster, 3_000)
        feed(4_000)  # Some of it is on its way.
        cluster.kill("gateway-1")
        feed(5_500)
        cluster.start_process("gateway-1")  # Another one, at the same address.
        feed(8_000)
        self.wait_for_records(cluster, 8_000)
        feed(9_000)
        self.kill_everything(cluster, lambda: feed(10_500))
        feed(12_000)
        self.wait_for_records(cluster, 12_000)
        feed(len(self.flights))
        for producer in producers:
            _, said = producer.communicate(timeout=150)  # The end of the pipe is that of its input.
            self.assertEqual(producer.returncode, 0, said)
        self.kill_everything(cluster)
        self.verify(cluster)

    def start_producer(self, cluster):
        """`falaj produce` of what comes through a pipe."""
        child = subprocess.Popen([FALAJ, "produce", TOPIC, "-q", "-Z", "-K", "\\t", "--timeout", "2m",
                                  "--address", cluster.processes["gateway-1"].grpc_address],
                                 stdin=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
        self.addCleanup(lambda: child.poll() is None and child.kill())
        return child

    def feeder(self, producers):
        """Gives the flights up to a number to the producers, in turns: the story goes on no faster than it is told."""
        fed = 0

        def feed(until):
            nonlocal fed
            for number in range(fed, until):
                key, value = self.flights[number]
                producers[number % PRODUCERS].stdin.write(f"{key}\t{value}\n")
            for producer in producers:
                producer.stdin.flush()
                self.assertIsNone(producer.poll(), "a producer has ended")
            fed = until

        return feed

    def kill_everything(self, cluster, meanwhile=lambda: None):
        for name in cluster.processes:
            cluster.kill(name)
        meanwhile()
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
