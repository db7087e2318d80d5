"""Three etcd members on loopback, run as tests/integration/cluster.py runs Falaj's processes."""

import os
import shutil
import signal

from cluster import Process, free_port

INSTALL = "etcd is not installed; on Debian: apt-get install --no-install-recommends etcd-server"


class EtcdCluster:
    """With the defaults of etcd: every write is on the disks of a majority before it is answered."""

    def __init__(self, directory, members=3):
        binary = shutil.which("etcd")
        if binary is None:
            raise SystemExit(INSTALL)
        names = [f"etcd-{number}" for number in range(1, members + 1)]
        peers = {name: f"http://127.0.0.1:{free_port()}" for name in names}
        self.processes = {}
        for name in names:
            port = free_port()
            client = f"http://127.0.0.1:{port}"
            arguments = [f"--name={name}", f"--data-dir={directory}/{name}",
                         f"--listen-client-urls={client}", f"--advertise-client-urls={client}",
                         f"--listen-peer-urls={peers[name]}", f"--initial-advertise-peer-urls={peers[name]}",
                         "--initial-cluster=" + ",".join(f"{peer}={url}" for peer, url in peers.items()),
                         "--initial-cluster-state=new", "--logger=zap", "--log-level=error"]
            self.processes[name] = Process(name, binary, arguments, port, port,
                                           os.path.join(directory, f"{name}.log"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes.values():
            if process.child is not None:
                process.end(signal.SIGKILL)

    def start(self):
        """Does not wait: the load generator waits until a member leads."""
        for process in self.processes.values():
            process.start()
