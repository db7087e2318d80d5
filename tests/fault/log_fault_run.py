"""A whole cluster of real processes under faults, with clients that produce and consume; then the verdict on everything
they were told, and on the disks. By hand: scripts/fault.sh --what data --minutes 5 --seed 7
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time

import log_checks
import log_report
import notes
import report
from caller import now
from cluster import Cluster, wait_until
from falaj.v1 import topic_service_pb2
from history import History
from log_clients import (Acknowledged, CommandProducer, FlightProducer, GatewayCaller, Producer, ROOT, Reader,
                         read_all)
from log_nemesis import LogNemesis, SESSION_TIMEOUT_S
from nemesis import wait_for_end
from small_disk import make_small_disk

BINARIES = os.environ["FALAJ_BINARIES"]
FALAJ = os.path.join(BINARIES, "falaj")
FLIGHTS = os.path.join(ROOT, "tests/testdata/flights-20k.tsv")
STORAGE_FLAGS = (f"--session_timeout={SESSION_TIMEOUT_S}s", "--replica_lag_max=3s")
START_S = 60
DISK_NODE = "storage-1"  # Has a small disk of its own, if that is allowed.


class Run:
    """One run in a directory of its own."""

    def __init__(self, cluster, history, options):
        self.cluster = cluster
        self.history = history
        self.clients = []
        self.unsettled = []  # What does not recover, as sentences.
        self.facts = []  # For the report.
        self.acknowledged = None
        self.topics = {"flights": 3} if options.flights else {"ledger": 4, "cached": 2}
        self._settle_s = options.settle
        self._seed = options.seed * 1000
        self._addresses = {name: process.grpc_address for name, process in cluster.processes.items()
                           if name.startswith("gateway-")}

    def prepare(self):
        self.cluster.start()
        self.cluster.wait_online(sum(name.startswith("storage-") for name in self.cluster.processes))
        ids = {}
        for topic, partitions in self.topics.items():
            durability = topic_service_pb2.DURABILITY_OS if topic == "cached" else topic_service_pb2.DURABILITY_FSYNC
            self.cluster.create_topic(topic, partitions, replicas=3, min_in_sync_replicas=2, durability=durability)
            request = topic_service_pb2.GetTopicRequest(name=topic)
            ids[topic] = self.cluster.topics().GetTopic(request, timeout=10).topic.topic_id
        wait_until(self.in_sync, "all replicas are in sync", START_S)
        self.acknowledged = Acknowledged(os.path.join(self.cluster.directory, "acknowledged.tsv"), ids)

    def falaj(self, *arguments):
        """(whether it succeeded, what it said)"""
        address = self._addresses["gateway-2"]
        done = subprocess.run([FALAJ, *arguments, "--address", address], capture_output=True, text=True, timeout=20,
                              check=False)
        return done.returncode == 0, (done.stdout + done.stderr).strip()

    def start_clients(self, flights):
        """One producer for each partition, so that its pauses can be told, and others that go to all."""
        history, partitions = self.history, self._partitions()
        if flights:
            producers = [FlightProducer(f"flights-{i}", self._caller(), history, self._next_seed(), self.acknowledged,
                                        "flights", FLIGHTS, first=i, step=2) for i in range(2)]
        else:
            producers = [Producer(f"pulse-{topic}-{partition}", self._caller(), history, self._next_seed(),
                                  self.acknowledged, [(topic, partition)]) for topic, partition in partitions]
            producers += [Producer(f"rover-{i}", self._caller(), history, self._next_seed(), self.acknowledged,
                                   partitions, pause_s=0.05, batch_max=30) for i in range(2)]
            producers += [CommandProducer(f"command-{i}", self._caller(), history, self._next_seed(), FALAJ, partitions)
                          for i in range(2)]
        readers = [Reader(f"reader-{i}", self._caller(i), history, self._next_seed(), partitions) for i in range(2)]
        readers.append(Reader("rereader", self._caller(), history, self._next_seed(), partitions, again=True))
        for client in producers + readers:
            client.start()
            self.clients.append(client)

    def stop_clients(self):
        for client in self.clients:
            client.stop()
        for client in self.clients:
            client.join(timeout=40)
            if client.is_alive():
                client.failure = f"{client.name} does not stop"

    def in_sync(self):
        """Every partition has its leader and its three replicas, all in sync, and none is on its way."""
        try:
            return all(p.HasField("leader") and not p.target_replicas and len(p.replicas) == 3
                       and set(p.replicas) == set(p.in_sync_replicas)
                       for topic in self.topics for p in self.cluster.partitions(topic))
        except Exception:  # pylint: disable=broad-except  # A gateway that was killed is not back yet.
            return False

    def settle(self, nemesis):
        """Nothing is broken any more: everything must be in sync within a bound."""
        began = time.monotonic()
        try:
            wait_until(nemesis.undrain, "nothing is drained", self._settle_s)
            self.cluster.wait_ready()
            wait_until(self.in_sync, "all replicas are in sync", self._settle_s)
        except AssertionError as error:
            self.unsettled.append(str(error))
            self.facts += [f"{topic}: {p}".replace("\n", " ") for topic in self.topics
                           for p in self.cluster.partitions(topic)]
            return
        self.facts.append(f"in sync {time.monotonic() - began:.1f} s after the last fault")

    def read_everything(self):
        """Through each gateway; both must say the same."""
        for gateway in self._addresses:
            consumer = self.cluster.consumer(gateway)
            for topic, partition in self._partitions():
                try:
                    records = read_all(consumer, topic, partition)
                except Exception as error:  # pylint: disable=broad-except  # Whatever it is, all is whole now.
                    self.unsettled.append(f"{topic}/{partition} cannot be read through {gateway}: {error!r}")
                    continue
                self.history.add(f="final", client=f"the last reader of {gateway}", node=gateway, topic=topic,
                                 partition=partition, invoked=now(), returned=now(), outcome="ok", records=records)

    def verify_disks(self):
        """What `falaj debug verify` finds wrong on the disks of the storage nodes, which it stops."""
        self.acknowledged.close()
        directories = []
        for name, process in self.cluster.processes.items():
            if name.startswith("storage-"):
                if process.child is not None:
                    self.cluster.stop(name)
                directories.append(next(argument.split("=", 1)[1] for argument in process.command
                                        if argument.startswith("--data_dir=")))
        settled = [] if self.unsettled else ["--in-sync", "--replicas", "3"]
        done = subprocess.run([FALAJ, "debug", "verify", *directories, *settled, "--nothing-deleted",
                               "--acknowledged", self.acknowledged.path], capture_output=True, text=True, check=False)
        said = [line for line in done.stderr.splitlines() if not line.startswith("{")]  # Without the store's own log.
        self.facts += [f"falaj debug verify: {line}" for line in said]
        return [] if done.returncode == 0 else [f"exit code {done.returncode}"] + said

    def _partitions(self):
        return [(topic, partition) for topic, count in self.topics.items() for partition in range(count)]

    def _caller(self, at=None):
        return GatewayCaller(self._addresses, self._next_seed() if at is None else at)

    def _next_seed(self):
        self._seed += 1
        return self._seed


def small_disk(options, directory):
    """(the disk, the node that has it); None if it is not wanted or not allowed."""
    if options.faults and "full-disk" not in options.faults:
        return None
    disk = make_small_disk(os.path.join(directory, DISK_NODE))
    return (disk, DISK_NODE) if disk is not None else None


def run(options, directory):
    disk = small_disk(options, directory)
    history = History(options.history or os.path.join(directory, "history.jsonl"))
    bug = (f"--planted_bug={options.planted_bug}",) if options.planted_bug else ()
    with Cluster(BINARIES, directory, storage_nodes=options.storage, gateways=2, metadata_nodes=3, proxied=True,
                 storage_flags=STORAGE_FLAGS + bug) as cluster:
        the_run = Run(cluster, history, options)
        the_run.prepare()
        nemesis = LogNemesis(cluster, history, options.seed, the_run.topics, the_run.falaj, disk, options.faults,
                             quiet_share=0.1 if options.flights else None)
        try:
            the_run.start_clients(options.flights)
            nemesis.start()
            wait_for_end(options.seconds, the_run.clients + [nemesis])
            nemesis.stop()
            time.sleep(2)  # Clients go on after the faults.
        finally:
            nemesis.stop()
            the_run.stop_clients()
        the_run.settle(nemesis)
        the_run.read_everything()
        disks = the_run.verify_disks()
        if disk is None and not options.faults:
            notes.note("skipped", "full-disk in log_fault_run.py: may not mount a small file system here")
    history.close()
    verdicts = {about: check(history.records) for about, check in log_checks.CHECKS.items()}
    verdicts["every acknowledged record is on every disk, all replicas are alike"] = disks
    verdicts["everything recovers"] = the_run.unsettled
    verdicts["clients"] = [c.failure for c in the_run.clients + [nemesis] if c.failure]
    verdicts["faults"] = report.check_drawn("log_fault_run.py" + (" --flights" if options.flights else ""), options,
                                            nemesis)
    log_report.print_report(options, history.records, nemesis.counts, verdicts, the_run.facts)
    return not any(verdicts.values())


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seconds", type=float, help="instead of --minutes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--settle", type=float, default=60, metavar="SECONDS",
                        help="every replica must be in sync so long after the last fault")
    parser.add_argument("--storage", type=int, default=4, help="storage nodes, at least 3")
    parser.add_argument("--faults", type=lambda text: text.split(","), help="only these, e.g. kill,pause,restart")
    parser.add_argument("--planted-bug", help="run falaj-storage with this bug: the run must fail")
    parser.add_argument("--flights", action="store_true",
                        help="produce the flights over and over while a storage node is killed every few seconds")
    parser.add_argument("--keep", action="store_true", help="keep history, logs and disks even if all is well")
    parser.add_argument("--history", help="where to write what happened; else it is kept only if the run fails")
    options = parser.parse_args()
    if options.seconds is None:
        options.seconds = options.minutes * 60
    if options.flights:
        options.faults = options.faults or ["kill"]
        options.storage = 3
    known = set(LogNemesis.FAULTS) | {"full-disk"}
    if unknown := set(options.faults or []) - known:
        parser.error(f"no such fault: {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    return options


def main():
    options = parse_arguments()
    directory = tempfile.mkdtemp(prefix="falaj-log-fault-run-")
    passed = run(options, directory)
    disk = os.path.join(directory, DISK_NODE)
    mounted = os.path.ismount(disk)
    if passed and not options.keep:
        if mounted:
            subprocess.run(["umount", disk], check=True)
        shutil.rmtree(directory)
    else:
        if mounted:  # It goes with this process.
            shutil.copytree(disk, f"{disk}-copy")
        print(f"history and logs: {directory}")
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
