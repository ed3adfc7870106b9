"""The way of all viewers to the site, which can be cut."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect


class Network:
    """Sockets and requests to one site."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_up = True
        self.cuts = 0
        self._sockets: set[ClientConnection] = set()

    @contextlib.asynccontextmanager
    async def socket(self, path: str, **options: Any) -> AsyncIterator[ClientConnection]:
        """A socket; none can be opened while the network is down."""
        if not self.is_up:
            raise ConnectionRefusedError
        where = f"{self.url.replace('http', 'ws', 1)}{path}"
        async with connect(where, proxy=None, ping_interval=None, close_timeout=1, **options) as socket:
            self._sockets.add(socket)
            try:
                yield socket
            finally:
                self._sockets.discard(socket)

    async def get(self, path: str, version: int) -> tuple[int, bytes]:
        """Status and body; a whole HTTP client would be slower than the server, and there are five hundred."""
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(self.url).port)
        try:
            lines = (f"GET {path} HTTP/1.1", "Host: 127.0.0.1", f'If-None-Match: "{version}"', "Connection: close")
            writer.write("\r\n".join([*lines, "", ""]).encode())
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            return int(head.split(b" ", 2)[1]), body
        except IndexError:
            raise ConnectionResetError from None
        finally:
            writer.close()

    def cut(self) -> None:
        """End every socket as a line that breaks does."""
        for socket in self._sockets:
            self.cuts += 1
            socket.transport.abort()
