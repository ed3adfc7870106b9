"""A TCP pipe that can go silent without breaking: what a half-open connection looks like from both ends."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self


class Pipe:
    """Passes bytes between its own port and another; `silence()` swallows all that existing connections still say."""

    def __init__(self, port: int) -> None:
        self.connections = 0
        self._upstream = port
        self._silenced_before = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def silence(self) -> None:
        """From now on nothing goes through the connections there are; new ones work."""
        self._silenced_before = self.connections

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, self.connections = self.connections, self.connections + 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
        try:
            await asyncio.gather(self._pump(number, reader, up_writer), self._pump(number, up_reader, writer))
        finally:
            self._tasks.discard(task)
            up_writer.close()
            writer.close()

    async def _pump(self, number: int, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                if number >= self._silenced_before:
                    sink.write(data)
                    await sink.drain()
            if number >= self._silenced_before:
                sink.close()
