"""What happens to the metadata nodes during a fault run: drawn from a seed, one period after the other.

A period brings one fault, or two at once, or none. Everything is whole again after each, so that recovery is tested
as often as failure.
"""

import random
import re
import signal
import threading
import time

from caller import now


class Nemesis(threading.Thread):
    """Does harm until stopped, and heals before it ends."""

    FAULTS = ["kill", "kill-leader", "pause", "pause-leader", "cut-one-way", "leader-mute", "leader-deaf",
              "isolate-leader", "isolate-paused-leader", "isolate", "delay", "kill-majority", "pause-majority"]
    QUIET_SHARE = 0.2
    TWO_SHARE = 0.15

    def __init__(self, cluster, history, seed, pause_max_s):
        super().__init__(daemon=True, name="nemesis")
        self.cluster = cluster
        self.history = history
        self.chance = random.Random(seed)
        self.stopping = threading.Event()
        self.failure = None
        self.counts = {}
        self._pause_max_s = pause_max_s
        self._nodes = sorted(cluster.metadata_ports)
        self._killed = set()
        self._paused = set()
        self._cards = []

    def run(self):
        try:
            while not self.stopping.is_set():
                self._period()
        except Exception as error:  # pylint: disable=broad-except  # Reported as a failure of the run.
            self.failure = f"nemesis: {error!r}"
        finally:
            self._heal()

    def stop(self):
        self.stopping.set()
        self.join(timeout=60)

    def _period(self):
        if self.chance.random() < self.QUIET_SHARE:
            kinds = ["quiet"]
        else:
            kinds = [self._draw() for _ in range(2 if self.chance.random() < self.TWO_SHARE else 1)]
        began = now()
        affected = set()
        for kind in kinds:
            self.counts[kind] = self.counts.get(kind, 0) + 1
            affected |= self._inflict(kind)
        self.stopping.wait(self._length(kinds))
        self._heal()
        self.history.add(f="fault", kinds=kinds, nodes=sorted(affected), invoked=began, returned=now())
        self.stopping.wait(self.chance.uniform(1, 3))

    def _draw(self):
        """Like cards, so that every fault comes even in a short run with a long list."""
        if not self._cards:
            self._cards = self.chance.sample(self.FAULTS, len(self.FAULTS))
        return self._cards.pop()

    def _length(self, kinds):
        if any(kind.startswith("pause") for kind in kinds) and self.chance.random() < 0.3:
            return self.chance.uniform(0.5, 1) * self._pause_max_s
        return self.chance.uniform(0.5, min(5, self._pause_max_s))

    def _inflict(self, kind):
        """Returns the nodes that are hit."""
        leader = self.leader() or self.chance.choice(self._nodes)
        others = [node for node in self._nodes if node != leader]
        links = self.cluster.links
        if kind in ("kill", "pause", "isolate"):
            targets = {self.chance.choice(self._nodes)}
        elif kind.endswith("-majority"):
            targets = set(self.chance.sample(self._nodes, len(self._nodes) // 2 + 1))
        else:
            targets = {leader} if kind != "quiet" else set()
        if kind.startswith("kill"):
            self._kill(targets)
        elif kind.startswith("pause"):
            self._pause(targets)
        elif kind.startswith("isolate"):
            links.isolate(min(targets))
            if kind == "isolate-paused-leader":
                self._pause(targets)
        elif kind == "cut-one-way":
            a, b = self.chance.sample(self._nodes, 2)
            links.cut(a, b)
            targets = {a, b}
        elif kind == "leader-mute":
            for other in others:
                links.cut(leader, other)
        elif kind == "leader-deaf":
            for other in others:
                links.cut(other, leader)
        elif kind == "delay":
            seconds = self.chance.uniform(0.02, 0.3)
            for other in others:
                links.delay(leader, other, seconds)
        return targets

    def _kill(self, nodes):
        for node in nodes - self._killed - self._paused:
            self._killed.add(node)
            code = self._process(node).end(signal.SIGKILL)
            assert code == -signal.SIGKILL, f"metadata-{node} had ended by itself, with {code}"

    def _pause(self, nodes):
        for node in nodes - self._killed - self._paused:
            self._paused.add(node)
            self._process(node).child.send_signal(signal.SIGSTOP)

    def _heal(self):
        """Processes first: one that wakes up alone has to find out by itself that the world has moved on."""
        for node in self._paused:
            self._process(node).child.send_signal(signal.SIGCONT)
        for node in self._killed:
            self._process(node).start()
        if self._paused or self._killed:
            self.stopping.wait(self.chance.uniform(0.2, 1))
        self._paused.clear()
        self._killed.clear()
        self.cluster.links.heal(lose=self.chance.random() < 0.5)

    def _process(self, node):
        return self.cluster.processes[f"metadata-{node}"]

    def leader(self):
        """The node that leads in the highest term, among those that can say so; None if nobody does."""
        best = (0, None)
        for node in self._nodes:
            process = self._process(node)
            if process.child is None or node in self._paused:
                continue
            text = process.metrics()
            term = re.search(r"^falaj_raft_term\{[^}]*\} (\S+)$", text, re.MULTILINE)
            if term and re.search(r"^falaj_raft_is_leader\{[^}]*\} 1$", text, re.MULTILINE):
                best = max(best, (float(term[1]), node))
        return best[1]


def wait_for_end(seconds, threads):
    """Waits so long, or until one of the threads has failed."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and not any(thread.failure for thread in threads):
        time.sleep(0.2)
