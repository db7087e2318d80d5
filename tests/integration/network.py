"""The network between all nodes of a cluster: a TCP proxy in front of each, in a process of its own.

    network = Network({"metadata-1": port, "storage-1": port, "storage-2": port})
    network.address("storage-1")               # Where everybody finds it.
    network.cut("storage-1", "storage-2")      # What 1 sends to 2 no longer arrives; what 2 sends to 1 does.
    network.heal()

A node advertises one address to all, so a proxy finds out who has dialled it: the system knows which process owns the
other end of a connection. A link is one direction between two nodes, whoever dialled: answers travel over the other.
A cut link neither refuses nor resets: bytes wait, as behind a router that has lost its way. When it heals, they arrive
late, or the connections break and they are lost, as the caller chooses.

`links.py` is the plainer one, for metadata nodes alone: a proxy per pair, and it cuts only what a node sends over a
connection it opened itself.
"""

import asyncio
import json
import os
import re
import subprocess
import sys

from link import Link


class Network:
    """The proxies of some nodes, seen from the test. One thread at a time."""

    def __init__(self, ports):
        self.names = list(ports)
        self._own_ports = ports
        self._touched = set()  # Links that are not as they should be.
        self._child = subprocess.Popen([sys.executable, "-B", __file__, json.dumps(ports)], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, text=True)
        self._ports = json.loads(self._child.stdout.readline())

    def address(self, name):
        """Where the others find a node."""
        return f"127.0.0.1:{self._ports[name]}"

    def port_of(self, name):
        """Where a node listens itself, behind its proxy."""
        return self._own_ports[name]

    def cut(self, a, b):
        """Nothing from `a` arrives at `b`."""
        self._change(a, b, held=True)

    def part(self, some, others):
        """Cuts some nodes off from others, both ways."""
        for a in some:
            for b in others:
                if a != b:
                    self.cut(a, b)
                    self.cut(b, a)

    def delay(self, a, b, seconds):
        """Lets everything from `a` to `b` arrive so much later."""
        self._change(a, b, delay=seconds)

    def heal(self, lose=False):
        """All links work again. With `lose`, what was held is lost and the connections break."""
        for a, b in sorted(self._touched):
            self._tell(link=[a, b], held=False, delay=0, reset=lose)
        self._touched.clear()

    def close(self):
        self._child.stdin.close()
        self._child.wait(timeout=10)
        self._child.stdout.close()

    def _change(self, a, b, **command):
        self._touched.add((a, b))
        self._tell(link=[a, b], **command)

    def _tell(self, **command):
        self._child.stdin.write(json.dumps(command) + "\n")
        self._child.stdin.flush()
        assert self._child.stdout.readline() == "ok\n", "the proxies have ended"


class Dialler:
    """Tells which node owns the other end of a connection: by the port it listens on, which its command line names."""

    def __init__(self, ports):
        self._names = {f"--listen=127.0.0.1:{port}": name for name, port in ports.items()}

    def name(self, their_port, our_port):
        """None if it is no node, or it has gone again."""
        inode = self._inode(their_port, our_port)
        if inode is None:
            return None
        for pid, name in self._processes():
            if self._owns(pid, f"socket:[{inode}]"):
                return name
        return None

    @staticmethod
    def _inode(local, remote):
        wanted = re.compile(rf"^ *\d+: [0-9A-F]+:{local:04X} [0-9A-F]+:{remote:04X} (?:\S+ +){{6}}(\d+) ", re.MULTILINE)
        for table in ("/proc/net/tcp6", "/proc/net/tcp"):
            try:
                with open(table, encoding="ascii") as file:
                    found = wanted.search(file.read())
            except FileNotFoundError:
                continue  # A machine without IPv6.
            if found:
                return found[1]
        return None

    def _processes(self):
        """(pid, name) of the nodes that run."""
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    arguments = file.read().decode(errors="replace").split("\0")
            except OSError:
                continue
            for argument in arguments:
                if argument in self._names:
                    yield pid, self._names[argument]

    @staticmethod
    def _owns(pid, socket):
        try:
            for descriptor in os.listdir(f"/proc/{pid}/fd"):
                try:
                    if os.readlink(f"/proc/{pid}/fd/{descriptor}") == socket:
                        return True
                except OSError:
                    continue  # Closed since.
        except OSError:
            pass  # Ended since.
        return False


class Proxies:
    """All proxies and links, in their process."""

    def __init__(self, ports):
        self._ports = ports
        self._dialler = Dialler(ports)
        self._links = {}

    def link(self, a, b):
        return self._links.setdefault((a, b), Link())

    async def serve(self):
        """{name: the port of its proxy}"""
        return {name: await self._serve_one(name) for name in self._ports}

    async def _serve_one(self, name):
        async def connected(reader, writer):
            await self._connected(name, reader, writer)
        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        return server.sockets[0].getsockname()[1]

    async def _connected(self, name, reader, writer):
        their_port = writer.get_extra_info("peername")[1]
        dialler = self._dialler.name(their_port, writer.get_extra_info("sockname")[1])
        there, back = self.link(dialler, name), self.link(name, dialler)
        await there.open.wait()
        try:
            target_reader, target_writer = await asyncio.open_connection("127.0.0.1", self._ports[name])
        except OSError:
            writer.transport.abort()
            return
        both = {writer, target_writer}
        for link in (there, back):
            link.writers |= both
        try:
            await asyncio.wait([asyncio.create_task(there.carry(reader, target_writer)),
                                asyncio.create_task(back.carry(target_reader, writer))],
                               return_when=asyncio.FIRST_COMPLETED)
        finally:
            for link in (there, back):
                link.writers -= both
            for end in both:
                end.transport.abort()


async def run_proxies(ports):
    """Serves until standard input ends; every line of it is a command."""
    proxies = Proxies(ports)
    print(json.dumps(await proxies.serve()), flush=True)
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        command = json.loads(line)
        proxies.link(*command["link"]).change(command)
        print("ok", flush=True)


if __name__ == "__main__":
    asyncio.run(run_proxies(json.loads(sys.argv[1])))
