"""A TCP proxy on loopback that does to connections what networks, proxies and captive portals do to them."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Self

from immortus_channels.testing.faults import Faults
from immortus_channels.testing.wire import Line, until

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

PATIENCE = 5.0
"""Seconds that starting and stopping may take."""


class FaultyProxy:
    """Listens on a free port and passes everything on to `port`; a context manager, with a thread of its own.

    `faults` are those of every connection; `upgrades`, unless None, are those of WebSockets instead. Both may be set at
    any time, and reach open connections. With `http=False` the proxy passes bytes on as they come, for Redis and the
    like; then `answer`, `strip` and `upgrades` have no effect. `seed` repeats the choices of `jitter`.
    """

    def __init__(
        self,
        port: int,
        faults: Faults = Faults(),  # noqa: B008 - frozen
        *,
        upgrades: Faults | None = None,
        http: bool = True,
        seed: int = 0,
    ) -> None:
        self.faults = faults
        self.upgrades = upgrades
        self.port = 0
        """The port it listens on."""
        self.counts: Counter[str] = Counter()
        """How often each thing happened: connections, upgrades, refused, hung, answered, killed, up, down (bytes)."""
        self._upstream = port
        self._is_http = http
        self._random = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
        self._clients: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="faulty-proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        starting = asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result(PATIENCE)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(PATIENCE)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()

    @property
    def url(self) -> str:
        """The URL for a browser."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def open(self) -> int:
        """How many connections are open."""
        return len(self._clients)

    def cut(self) -> None:
        """End all connections that are open now: with RST if their faults say `reset`, else with FIN."""
        asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result(PATIENCE)

    # In the thread

    async def _cut(self) -> None:
        for client in tuple(self._clients):
            _end(client, reset=self.faults.reset)

    async def _stop(self) -> None:
        """Close what is open, and give the transports the rounds of the loop that they need to end."""
        self._server.close()
        for _ in range(5):
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.counts["connections"] += 1
        self._clients.add(writer)
        try:
            await (self._serve_http if self._is_http else self._serve_bytes)((reader, writer))
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            pass  # one side has gone, on purpose or not
        finally:
            self._clients.discard(writer)
            writer.close()

    async def _serve_bytes(self, client: Streams) -> None:
        if await self._is_served(client, lambda: self.faults):
            await self._join(client, await self._connect(), lambda: self.faults)

    async def _serve_http(self, client: Streams) -> None:
        head = await client[0].readuntil(b"\r\n\r\n")
        is_upgrade = b"\nupgrade: websocket" in head.lower()
        self.counts["upgrades"] += is_upgrade

        def faults() -> Faults:
            return self.upgrades if is_upgrade and self.upgrades is not None else self.faults

        if not await self._is_served(client, faults):
            return
        server = await self._connect()
        server[1].write(_without(head, faults().strip) if is_upgrade else _last_of_its_connection(head, faults().strip))
        if is_upgrade or faults().strip:
            client[1].write(_without(await server[0].readuntil(b"\r\n\r\n"), faults().strip))
        await self._join(client, server, faults)

    async def _is_served(self, client: Streams, faults: Callable[[], Faults]) -> bool:
        """Return whether the server gets to see this connection at all."""
        if faults().hang:
            self.counts["hung"] += 1
            await until(lambda: client[0].at_eof() or not faults().hang)
        if faults().refuse:
            self.counts["refused"] += 1
            _end(client[1], reset=True)
            return False
        answer = faults().answer if self._is_http else None
        if answer is not None:
            self.counts["answered"] += 1
            client[1].write(bytes(answer))
            await client[1].drain()
            return False
        return not client[0].at_eof()

    async def _connect(self) -> Streams:
        return await asyncio.open_connection("127.0.0.1", self._upstream)

    async def _join(self, client: Streams, server: Streams, faults: Callable[[], Faults]) -> None:
        """Carry bytes both ways until both sides have ended, or the connection is cut."""
        line = partial(Line, faults=faults, dice=self._random, counts=self.counts)
        tasks = [
            asyncio.create_task(line(way="up", source=client[0], sink=server[1]).run()),
            asyncio.create_task(line(way="down", source=server[0], sink=client[1]).run()),
        ]
        killing = asyncio.create_task(self._kill(client[1], faults))
        both = asyncio.gather(*tasks, return_exceptions=True)
        both.add_done_callback(lambda _: killing.cancel())
        try:
            await asyncio.wait({killing})
        finally:
            for task in (*tasks, killing):
                task.cancel()
            await asyncio.gather(*tasks, killing, return_exceptions=True)
            server[1].close()

    async def _kill(self, client: asyncio.StreamWriter, faults: Callable[[], Faults]) -> None:
        """Cut the connection once it is as old as its faults allow."""
        began = self._loop.time()

        def is_due() -> bool:
            kill_after = faults().kill_after
            return kill_after is not None and self._loop.time() >= began + kill_after

        await until(is_due)
        self.counts["killed"] += 1
        _end(client, reset=faults().reset)


def _end(client: asyncio.StreamWriter, *, reset: bool) -> None:
    """Close a connection, or reset it."""
    if not reset:
        client.close()
        return
    end: socket.socket | None = client.get_extra_info("socket")
    if end is not None:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.transport.abort()


def _without(head: bytes, fields: tuple[str, ...]) -> bytes:
    """Return the head of a request or an answer without these fields."""
    unwanted = tuple(f"{name.lower()}:".encode() for name in fields)
    return b"\r\n".join(line for line in head.split(b"\r\n") if not line.lower().startswith(unwanted))


def _last_of_its_connection(head: bytes, fields: tuple[str, ...]) -> bytes:
    """Return the head of a request with `Connection: close`, so that the proxy sees each request."""
    first, rest = _without(head, (*fields, "connection")).split(b"\r\n", 1)
    return b"\r\n".join([first, b"Connection: close", rest])
