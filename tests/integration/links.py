"""The network between the metadata nodes: a TCP proxy per directed link, in a process of its own.

    links = Links({1: port1, 2: port2, 3: port3})
    links.address(1, 2)   # Where node 1 finds node 2.
    links.cut(1, 2)       # What 1 sends to 2 no longer arrives; what 2 sends to 1 does.
    links.heal()

Every node sends its Raft messages over a connection it opened itself, so a link is one direction of the conversation.
A cut link neither refuses nor resets: bytes wait, as behind a router that has lost its way. When it heals, they arrive
late, or the connections break and they are lost, as the caller chooses.
"""

import asyncio
import json
import subprocess
import sys

from link import Link


class Links:
    """The proxies of some nodes, seen from the test. One thread at a time."""

    def __init__(self, ports):
        self.pairs = [(a, b) for a in ports for b in ports if a != b]
        wanted = json.dumps([[a, b, ports[b]] for a, b in self.pairs])
        self._child = subprocess.Popen([sys.executable, "-B", __file__, wanted], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, text=True)
        self._ports = dict(zip(self.pairs, json.loads(self._child.stdout.readline())))

    def address(self, a, b):
        """Where node `a` finds node `b`."""
        return f"127.0.0.1:{self._ports[a, b]}"

    def node_at(self, address):
        """Which node is behind an address of this network; None if it is no such address."""
        return next((b for (_, b), port in self._ports.items() if address == f"127.0.0.1:{port}"), None)

    def peers(self, a, port):
        """The flag --peers of node `a`, which listens at `port` itself."""
        others = [f"{b}={self.address(a, b)}" for x, b in self.pairs if x == a]
        return ",".join(sorted(others + [f"{a}=127.0.0.1:{port}"]))

    def cut(self, a, b):
        self._tell(link=[a, b], held=True)

    def isolate(self, node):
        """Cuts a node off, both ways."""
        for a, b in self.pairs:
            if node in (a, b):
                self.cut(a, b)

    def delay(self, a, b, seconds):
        """Lets everything from `a` to `b` arrive so much later."""
        self._tell(link=[a, b], delay=seconds)

    def heal(self, lose=False):
        """All links work again. With `lose`, what was held is lost and connections break."""
        for a, b in self.pairs:
            self._tell(link=[a, b], held=False, delay=0, reset=lose)

    def close(self):
        self._child.stdin.close()
        self._child.wait(timeout=10)

    def _tell(self, **command):
        self._child.stdin.write(json.dumps(command) + "\n")
        self._child.stdin.flush()
        assert self._child.stdout.readline() == "ok\n", "the proxies have ended"


class Proxy(Link):
    """One proxy: a link to a node, whose answers come back unhindered."""

    def __init__(self, target_port):
        super().__init__()
        self.target_port = target_port

    async def serve(self):
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return server.sockets[0].getsockname()[1]

    async def _connected(self, reader, writer):
        await self.open.wait()
        try:
            upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, upstream_writer}
        self.writers |= both
        try:
            await asyncio.wait([asyncio.create_task(self.carry(reader, upstream_writer)),
                                asyncio.create_task(Link().carry(upstream_reader, writer))],
                               return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.writers -= both
            for end in both:
                end.transport.abort()


async def run_proxies(wanted):
    """Serves until standard input ends; every line of it is a command."""
    links = {(a, b): Proxy(port) for a, b, port in wanted}
    print(json.dumps([await link.serve() for link in links.values()]), flush=True)
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        command = json.loads(line)
        links[tuple(command["link"])].change(command)
        print("ok", flush=True)


if __name__ == "__main__":
    asyncio.run(run_proxies(json.loads(sys.argv[1])))
