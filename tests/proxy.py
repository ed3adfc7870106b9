"""A proxy between browser and site that does to WebSockets what proxies do to WebSockets."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Self

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Fault = Callable[[bytes, Streams, int], Coroutine[Any, Any, None]]


class FaultyProxy:
    """Passes HTTP through to `port` and treats every upgrade by `fault`."""

    def __init__(self, port: int, fault: Fault) -> None:
        self.upstream = port
        self.fault = fault
        self.upgrades = 0
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(5)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    @property
    def url(self) -> str:
        """Where the browser goes."""
        return f"http://127.0.0.1:{self.port}"

    async def _start(self) -> asyncio.Server:
        return await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def _stop(self) -> None:
        """Close what is open, and give the transports the rounds of the loop that they need to go."""
        self._server.close()
        for _ in range(10):
            await asyncio.sleep(0.02)
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if b"upgrade: websocket" in head.lower():
                self.upgrades += 1
                await self.fault(head, (reader, writer), self.upstream)
            else:
                await passed_through(head, (reader, writer), self.upstream)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def passed_through(head: bytes, client: Streams, port: int) -> None:
    """No fault: one request and its answer; connections are not kept, so that each head is seen."""
    upstream = await asyncio.open_connection("127.0.0.1", port)
    upstream[1].write(head.replace(b"keep-alive", b"close"))
    await _pump_both(client, upstream)


async def _pump_both(client: Streams, upstream: Streams) -> None:
    pumps = [asyncio.create_task(_pump(client[0], upstream[1])), asyncio.create_task(_pump(upstream[0], client[1]))]
    try:
        await asyncio.wait(pumps)
    finally:
        for pump in pumps:
            pump.cancel()
        upstream[1].close()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        sink.write(data)
        await sink.drain()
    if sink.can_write_eof():
        sink.write_eof()


def answered(status: str) -> Fault:
    """The upgrade is answered with this status line."""

    async def fault(head: bytes, client: Streams, port: int) -> None:
        client[1].write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await client[1].drain()

    return fault


async def hanging(head: bytes, client: Streams, port: int) -> None:
    """The upgrade is never answered."""
    await client[0].read()  # until the browser gives up


async def dying(head: bytes, client: Streams, port: int) -> None:
    """The socket opens and dies before anything useful has come through."""
    upstream = await asyncio.open_connection("127.0.0.1", port)
    upstream[1].write(head)
    client[1].write(await upstream[0].readuntil(b"\r\n\r\n"))
    await client[1].drain()
    upstream[1].close()
