"""What happens to the nodes of a whole cluster during a run against its log, drawn from a seed."""

import signal
import subprocess
import time

from caller import now
from cluster import wait_until
from nemesis import Nemesis

SESSION_TIMEOUT_S = 2  # Of storage nodes: who is silent for longer counts as gone.
RESTART_S = 10


class LogNemesis(Nemesis):
    """Hits storage nodes above all; the metadata leader and a gateway now and then. Heals after every period."""

    FAULTS = ["kill", "kill-leader", "kill-two", "pause", "pause-long", "pause-two", "cut-one-way", "part", "isolate",
              "cut-from-metadata", "cut-from-gateways", "slow", "restart", "reassign", "drain", "kill-metadata-leader",
              "kill-gateway"]

    def __init__(self, cluster, history, seed, topics, falaj, small_disk=None, faults=None, quiet_share=None):
        super().__init__(cluster, history, seed, pause_max_s=4 * SESSION_TIMEOUT_S)
        names = cluster.network.names
        self._nodes = [name for name in names if name.startswith("storage-")]
        self._metadata = [name for name in names if name.startswith("metadata-")]
        self._gateways = [name for name in names if name.startswith("gateway-")]
        self._topics = topics  # {name: number of partitions}, with three replicas each.
        self._falaj = falaj  # Runs the command: ok, what it said.
        self._disk, self._disk_node = small_disk or (None, None)
        self._draining = set()
        self._inflictions = {"restart": self._restart, "reassign": self._reassign, "drain": self._drain,
                             "slow": self._slow, "full-disk": self._fill_disk}
        if faults:
            self.FAULTS = faults
        elif self._disk is not None:
            self.FAULTS = self.FAULTS + ["full-disk"]
        if quiet_share is not None:
            self.QUIET_SHARE = quiet_share

    def _length(self, kinds):
        if "pause-long" in kinds:
            return self.chance.uniform(1.5, 4) * SESSION_TIMEOUT_S
        if any(kind.startswith("pause") for kind in kinds):
            return self.chance.uniform(0.1, 0.8) * SESSION_TIMEOUT_S
        return self.chance.uniform(1, 6)

    def _inflict(self, kind):
        """Returns the nodes that are hit."""
        if kind in self._inflictions:
            return self._inflictions[kind]()
        targets = self._targets(kind)
        if kind.startswith("kill"):
            self._kill(targets)
        elif kind.startswith("pause"):
            self._pause(targets)
        elif kind == "cut-one-way":
            a, b = self.chance.sample(self._nodes, 2)
            self.cluster.network.cut(a, b)
            targets = {a, b}
        elif kind != "quiet":
            self.cluster.network.part(sorted(targets), self._others(kind))
        return targets

    def _targets(self, kind):
        if kind == "quiet":
            return set()
        if kind == "kill-metadata-leader":
            return {self.metadata_leader() or self.chance.choice(self._metadata)}
        if kind == "kill-gateway":
            return {self.chance.choice(self._gateways)}
        if kind.endswith("-two"):
            return set(self.chance.sample(self._nodes, 2))
        if kind == "kill-leader":
            return {self._partition_leader() or self.chance.choice(self._nodes)}
        return {self.chance.choice(self._nodes)}

    def _others(self, kind):
        """Whom the target of a cut no longer hears, nor they it."""
        return {"isolate": self._nodes + self._metadata + self._gateways, "cut-from-metadata": self._metadata,
                "cut-from-gateways": self._gateways, "part": self._nodes}[kind]

    def _partition_leader(self):
        """The node that leads a partition drawn at random; None if nobody knows."""
        topic = self.chance.choice(sorted(self._topics))
        partition = self.chance.randrange(self._topics[topic])
        try:
            leader = self.cluster.partitions(topic)[partition].leader
        except Exception:  # pylint: disable=broad-except  # The gateway may be down; any node will do then.
            return None
        return f"storage-{leader}" if leader else None

    def metadata_leader(self):
        for name in self._metadata:
            if name not in self._killed | self._paused and \
                    "falaj_raft_is_leader" in (text := self._process(name).metrics()) and \
                    any(line.startswith("falaj_raft_is_leader{") and line.endswith(" 1") for line in text.splitlines()):
                return name
        return None

    def _slow(self):
        node, seconds = self.chance.choice(self._nodes), self.chance.uniform(0.02, 0.3)
        for other in self._nodes + self._gateways:
            if other != node:
                self.cluster.network.delay(other, node, seconds)
        return {node}

    def _restart(self):
        """All storage nodes in turn, as an upgrade does it."""
        for name in self._nodes:
            if self.stopping.is_set() or name in self._killed | self._paused:
                continue
            code = self._process(name).end(signal.SIGTERM)
            assert code == 0, f"{name} ended with {code} after SIGTERM"
            self._process(name).start()
            self._wait_ready(name)
        return set(self._nodes)

    def _wait_ready(self, name):
        try:
            wait_until(self._process(name).ready, f"{name} is ready", RESTART_S)
        except AssertionError:
            if self._process(name).child.poll() is not None:
                raise  # It ended by itself. Else another fault may keep it from the others.

    def _reassign(self):
        topic = self.chance.choice(sorted(self._topics))
        partition = self.chance.randrange(self._topics[topic])
        replicas = self.chance.sample([name.rsplit("-", 1)[1] for name in self._nodes], 3)
        self._administer("cluster", "reassign", topic, "-p", str(partition), "--replicas", ",".join(replicas))
        return set()

    def _drain(self):
        if len(self._nodes) < 4:
            return set()  # There is nowhere to go.
        node = self.chance.choice(self._nodes)
        self._draining.add(node)
        self._administer("cluster", "drain", node.rsplit("-", 1)[1])
        return {node}

    def undrain(self):
        """Tries to take back what was drained; true if nothing is left."""
        for node in sorted(self._draining):
            if self._administer("cluster", "undrain", node.rsplit("-", 1)[1]):
                self._draining.discard(node)
        return not self._draining

    def _administer(self, *arguments):
        """A command that may fail while something is broken; true if it did not."""
        invoked = now()
        try:
            ok, said = self._falaj(*arguments, "--timeout", "5s")
        except subprocess.TimeoutExpired:
            ok, said = False, "no end in sight"
        self.history.add(f="admin", command=" ".join(arguments), invoked=invoked, returned=now(), ok=ok, said=said)
        return ok

    def _fill_disk(self):
        self._disk.fill()
        return {self._disk_node}

    def _heal(self):
        if self._disk is not None:
            self._disk.free()
        for name in self._paused:
            self._process(name).child.send_signal(signal.SIGCONT)
        for name in self._killed:
            self._process(name).start()
        if self._paused or self._killed:
            time.sleep(self.chance.uniform(0.2, 1))  # Who wakes up alone has to find out that the world has moved on.
        self._paused.clear()
        self._killed.clear()
        self.cluster.network.heal(lose=self.chance.random() < 0.5)
        self.undrain()

    def _process(self, node):
        return self.cluster.processes[node]
