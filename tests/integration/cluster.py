"""A cluster of real processes on loopback, for tests that kill, starve and restart them.

    with Cluster(binaries, directory, storage_nodes=1) as cluster:
        cluster.start()
        stub = cluster.producer()
        cluster.kill("storage-1")
        cluster.start_process("storage-1")

Every process keeps its ports and data directory over restarts, as a machine would. Processes are ended by their pid.
"""

import fcntl
import os
import random
import re
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

import grpc

from links import Links
from network import Network
from falaj.v1 import cluster_service_pb2, cluster_service_pb2_grpc
from falaj.v1 import consumer_service_pb2_grpc, producer_service_pb2_grpc
from falaj.v1 import topic_service_pb2, topic_service_pb2_grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

CLUSTER_ID = "7c5e2c2e-6a0e-4c7a-9d0b-0d6b5a1f4e21"  # Of clusters with a network of their own.


# Below the ports the system gives to outgoing connections: a process that is killed and restarted would find its port
# taken by somebody's connection.
PORTS = range(12000, 32000)
reserved_ports = []  # Descriptors whose locks keep other test processes off; the system frees them with this process.


def free_port():
    """A port nobody listens on, and no other test process will choose while this one lives."""
    directory = os.path.join(tempfile.gettempdir(), "falaj-test-ports")
    os.makedirs(directory, exist_ok=True)
    while True:
        port = random.choice(PORTS)
        lock = os.open(os.path.join(directory, str(port)), os.O_CREAT | os.O_WRONLY, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            os.close(lock)
            continue
        reserved_ports.append(lock)
        return port


def wait_until(condition, what, timeout_s=30):
    """Polls `condition` until it is true; fails the test with `what` after the timeout."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError(f"timed out after {timeout_s} s waiting until {what}")


def error_reason(error):
    """The reason and metadata a Falaj error carries: (reason, {key: value})."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            status = status_pb2.Status.FromString(value)
            for detail in status.details:
                info = error_details_pb2.ErrorInfo()
                if detail.Unpack(info):
                    return info.reason, dict(info.metadata)
    return None, {}


class Process:
    """One service process: its command line, ports and log file."""

    def __init__(self, name, binary, arguments, grpc_port, http_port, log_path):
        self.name = name
        self.command = [binary] + arguments
        self.grpc_address = f"127.0.0.1:{grpc_port}"
        self.http_address = f"127.0.0.1:{http_port}"
        self.log_path = log_path
        self.child = None

    def start(self):
        assert self.child is None, f"{self.name} runs already"
        with open(self.log_path, "ab") as log:
            self.child = subprocess.Popen(self.command, stdout=log, stderr=log)

    def end(self, signal_number):
        """Sends the signal and waits for the end; returns the exit code."""
        self.child.send_signal(signal_number)
        code = self.child.wait(timeout=60)
        self.child = None
        return code

    def metrics(self):
        """What /metrics says; empty while the process does not answer."""
        try:
            with urllib.request.urlopen(f"http://{self.http_address}/metrics", timeout=2) as answer:
                return answer.read().decode()
        except OSError:
            return ""

    def ready(self):
        return self._serves("readiness")

    def live(self):
        return self._serves("liveness")

    def _serves(self, service):
        if self.child.poll() is not None:
            raise AssertionError(f"{self.name} ended with {self.child.returncode}; see {self.log_path}")
        # A new connection each time: what a Kubernetes probe does.
        with grpc.insecure_channel(self.grpc_address) as channel:
            try:
                answer = health_pb2_grpc.HealthStub(channel).Check(
                    health_pb2.HealthCheckRequest(service=service), timeout=2)
                return answer.status == health_pb2.HealthCheckResponse.SERVING
            except grpc.RpcError:
                return False


class Cluster:
    """Some metadata nodes (a quorum if there are several), some storage nodes, some gateways.

    With `network`, the metadata nodes talk to each other through Links, which tests can cut. With `proxied` (and not
    `network`), everybody talks to everybody through a Network.
    """

    def __init__(self, binaries, directory, storage_nodes=1, gateways=1, metadata_nodes=1, data_directories=None,
                 storage_flags=(), metadata_flags=(), network=False, proxied=False):
        self.binaries = binaries
        self.directory = directory
        self.processes = {}
        self.channels = []
        self._topic_stubs = {}
        self.metadata_ports = {number: free_port() for number in range(1, metadata_nodes + 1)}
        storage_ports = {number: free_port() for number in range(1, storage_nodes + 1)}
        gateway_ports = {number: free_port() for number in range(1, gateways + 1)}
        self.links = Links(self.metadata_ports) if network else None
        self.network = None
        if proxied:
            kinds = {"metadata": self.metadata_ports, "storage": storage_ports, "gateway": gateway_ports}
            self.network = Network({f"{kind}-{number}": port for kind, ports in kinds.items()
                                    for number, port in ports.items()})
        metadata = ",".join(self._address(f"metadata-{number}", port)
                            for number, port in self.metadata_ports.items())
        for number in self.metadata_ports:
            name = f"metadata-{number}"
            self._add_metadata(number, (data_directories or {}).get(name, f"{directory}/{name}"), metadata_flags)
        for number, port in storage_ports.items():
            name = f"storage-{number}"
            data_directory = (data_directories or {}).get(name, f"{directory}/{name}")
            advertise = [f"--advertise={self.network.address(name)}"] if proxied else []
            self._add(name, os.path.join(binaries, "falaj-storage"), port,
                      [f"--data_dir={data_directory}", f"--node_id={number}",
                       f"--metadata={metadata}", *advertise, *storage_flags])
        for number, port in gateway_ports.items():
            self._add(f"gateway-{number}", os.path.join(binaries, "falaj-gateway"), port,
                      [f"--metadata={metadata}", "--stop_wait=0s"])

    def _address(self, name, port):
        """Where the other nodes find one that listens at `port`."""
        return self.network.address(name) if self.network is not None else f"127.0.0.1:{port}"

    def _add_metadata(self, number, data_directory, flags):
        port = self.metadata_ports[number]
        peers = ",".join(f"{other}=127.0.0.1:{at}" for other, at in self.metadata_ports.items())
        arguments = [f"--data_dir={data_directory}", f"--node_id={number}", *flags]
        if self.links is not None:
            # Each node is told of other addresses, so the cluster's id cannot be derived from them.
            arguments += [f"--peers={self.links.peers(number, port)}", f"--cluster_id={CLUSTER_ID}"]
        elif self.network is not None:
            known = {other: f"127.0.0.1:{at}" if other == number else self.network.address(f"metadata-{other}")
                     for other, at in self.metadata_ports.items()}
            peers = ",".join(f"{other}={address}" for other, address in known.items())
            arguments += [f"--peers={peers}", f"--cluster_id={CLUSTER_ID}"]
        elif len(self.metadata_ports) > 1:
            arguments += [f"--peers={peers}"]
        self._add(f"metadata-{number}", os.path.join(self.binaries, "falaj-metadata"), port, arguments)

    def add_joining_metadata(self, number, flags=()):
        """A further metadata node, with an empty directory, to be started and then added to the members."""
        self.metadata_ports[number] = free_port()
        self._add_metadata(number, f"{self.directory}/metadata-{number}", ["--join", *flags])
        return self.processes[f"metadata-{number}"]

    def _add(self, name, binary, port, arguments):
        http_port = free_port()
        arguments = arguments + [f"--listen=127.0.0.1:{port}", f"--http_listen=127.0.0.1:{http_port}"]
        self.processes[name] = Process(name, binary, arguments, port, http_port,
                                       os.path.join(self.directory, f"{name}.log"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for channel in self.channels:
            channel.close()
        for process in self.processes.values():
            if process.child is not None:
                process.end(signal.SIGKILL)
        for network in (self.links, self.network):
            if network is not None:
                network.close()

    def start(self):
        for process in self.processes.values():
            process.start()
        self.wait_ready()

    def wait_ready(self):
        for process in self.processes.values():
            if process.child is not None:
                wait_until(process.ready, f"{process.name} is ready")

    def start_process(self, name):
        self.processes[name].start()
        wait_until(self.processes[name].ready, f"{name} is ready")

    def kill(self, name):
        """Kill -9."""
        self.processes[name].end(signal.SIGKILL)

    def stop(self, name):
        """Ends a process as Kubernetes would, and checks that it ends well."""
        code = self.processes[name].end(signal.SIGTERM)
        assert code == 0, f"{name} ended with {code} after SIGTERM"

    def metadata_leader(self):
        """The name of the metadata node that says it leads; waits until there is one."""
        found = []

        def leads():
            for name, process in self.processes.items():
                if name.startswith("metadata-") and process.child is not None:
                    if re.search(r"^falaj_raft_is_leader\{[^}]*\} 1$", process.metrics(), re.MULTILINE):
                        found.append(name)
                        return True
            return False

        wait_until(leads, "a metadata node leads")
        return found[0]

    def channel(self, gateway="gateway-1"):
        options = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500)]
        self.channels.append(grpc.insecure_channel(self.processes[gateway].grpc_address, options=options))
        return self.channels[-1]

    def producer(self, gateway="gateway-1"):
        return producer_service_pb2_grpc.ProducerServiceStub(self.channel(gateway))

    def consumer(self, gateway="gateway-1"):
        return consumer_service_pb2_grpc.ConsumerServiceStub(self.channel(gateway))

    def topics(self, gateway="gateway-1"):
        return topic_service_pb2_grpc.TopicServiceStub(self.channel(gateway))

    def cluster(self, gateway="gateway-1"):
        return cluster_service_pb2_grpc.ClusterServiceStub(self.channel(gateway))

    def wait_online(self, nodes):
        """Waits until the metadata service sees so many storage nodes online."""
        stub = self.cluster()

        def online():
            try:
                answer = stub.GetCluster(cluster_service_pb2.GetClusterRequest(), timeout=5)
            except grpc.RpcError:
                return False
            return sum(n.state == cluster_service_pb2.NODE_STATE_ONLINE for n in answer.nodes) >= nodes

        wait_until(online, f"{nodes} storage nodes are online")

    def partitions(self, topic, gateway="gateway-1"):
        """Where the partitions of a topic are now, by index."""
        if gateway not in self._topic_stubs:
            self._topic_stubs[gateway] = self.topics(gateway)
        request = topic_service_pb2.GetTopicRequest(name=topic)
        return self._topic_stubs[gateway].GetTopic(request, timeout=10).topic.partitions

    def create_topic(self, name, partitions, replicas=1, **config):
        self.topics().CreateTopic(
            topic_service_pb2.CreateTopicRequest(
                name=name, partition_count=partitions, replication_factor=replicas,
                config=topic_service_pb2.TopicConfig(**config)),
            timeout=20, wait_for_ready=True)
