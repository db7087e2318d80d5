"""A link of the test networks (network.py, links.py), in the process of their proxies."""

import asyncio


class Link:
    """One direction between two nodes, or the way to one: what travels over it may be held, delayed or lost."""

    def __init__(self):
        self.open = asyncio.Event()
        self.open.set()
        self.delay = 0
        self.writers = set()  # Of all connections that use it.

    async def carry(self, reader, writer):
        """Passes on what comes until either end has gone."""
        try:
            while data := await reader.read(1 << 16):
                if self.delay:
                    await asyncio.sleep(self.delay)
                await self.open.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass  # The other end has gone; the connection ends.

    def change(self, command):
        if command.get("reset"):
            for writer in self.writers:
                writer.transport.abort()
        self.delay = command.get("delay", self.delay)
        if "held" in command:
            (self.open.clear if command["held"] else self.open.set)()
