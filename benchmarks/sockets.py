"""Watchers: many WebSockets in one process, as cheap as can be, so that the server is what is measured.

A client that does no more than count frames and note when they came costs a tenth of a library that decodes them.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from benchmarks.processes import Talk

CURRENT = re.compile(rb'"current": ?(\d+)')
LAST = re.compile(rb'"state": ?"finished"|"complete": ?true')
PING = b'"ping"'
PONG = b'{"type":"pong"}'
END = 2**53
AT_ONCE = 50
CONNECT_TIMEOUT = 60.0


Arrival: TypeAlias = "tuple[int, int, float]"


class Socket(asyncio.Protocol):
    """Just enough of RFC 6455 for a client that trusts its server: no extensions, no fragments."""

    def __init__(self, port: int, path: str, cookie: str, heard: Callable[[bytes], None]) -> None:
        self._request = (
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
            f"Origin: http://127.0.0.1:{port}\r\nCookie: {cookie}\r\n\r\n"
        ).encode()
        self._heard = heard
        self._buffer = bytearray()
        self._is_open = False
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the upgrade."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail whoever waits for the opening."""
        if not self.opened.done():
            self.opened.set_exception(ConnectionError(bytes(self._buffer[:200]).decode(errors="replace")))

    def data_received(self, data: bytes) -> None:
        """Take the answer to the upgrade, then frames."""
        self._buffer += data
        if not self._is_open:
            head, separator, rest = self._buffer.partition(b"\r\n\r\n")
            if not separator:
                return
            if not head.startswith(b"HTTP/1.1 101"):
                self._transport.close()
                return
            self._buffer = rest
            self._is_open = True
            self.opened.set_result(None)
        self._read_frames()

    def close(self) -> None:
        """Leave without a word."""
        self._transport.abort()

    def _read_frames(self) -> None:
        buffer, start = self._buffer, 0
        while len(buffer) - start >= 2:  # noqa: PLR2004 - the shortest header
            body, size = start + 2, buffer[start + 1]
            if size >= 126:  # noqa: PLR2004 - the length follows, in 2 or 8 bytes
                body += 2 if size == 126 else 8  # noqa: PLR2004
                size = int.from_bytes(buffer[start + 2 : body])
            if len(buffer) < body + size:
                break
            self._obey(buffer[start] & 0x0F, bytes(buffer[body : body + size]))
            start = body + size
        del buffer[:start]

    def _obey(self, opcode: int, payload: bytes) -> None:
        match opcode:
            case 1 if len(payload) < 20 and PING in payload:  # noqa: PLR2004 - the protocol's own ping
                self._send(0x81, PONG)
            case 1:
                self._heard(payload)
            case 8:
                self._transport.close()
            case 9:
                self._send(0x8A, payload)

    def _send(self, first: int, payload: bytes) -> None:
        """A frame masked with zeros, which leaves the payload as it is."""
        self._transport.write(bytes([first, 0x80 | len(payload), 0, 0, 0, 0]) + payload)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the watchers of one process saw.

    `arrivals` are (socket, current, seconds of the machine's monotonic clock), in order, the final state with `END`;
    `ended` counts the sockets that saw it; `rate` is documents per second, over all sockets, while they came.
    """

    arrivals: Sequence[Arrival]
    ended: int
    rate: float


class Watchers:
    """The sockets of this process, each watching one job."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self.ended: set[int] = set()
        self._sockets: list[Socket] = []

    async def connect(self, port: int, path: str, jobs: Sequence[str], cookie: str) -> None:
        """Open a socket per job, some at a time."""
        room = asyncio.Semaphore(AT_ONCE)
        loop = asyncio.get_running_loop()

        async def open_one(number: int, job: str) -> None:
            async with room, asyncio.timeout(CONNECT_TIMEOUT):
                address = path.format(job=job)
                make = lambda: Socket(port, address, cookie, self._listener(number))  # noqa: E731
                _, socket = await loop.create_connection(make, "127.0.0.1", port)
                await socket.opened
                self._sockets.append(socket)

        await asyncio.gather(*(open_one(number, job) for number, job in enumerate(jobs)))

    def _listener(self, number: int) -> Callable[[bytes], None]:
        def heard(payload: bytes) -> None:
            if LAST.search(payload):
                self.ended.add(number)
                self.arrivals.append((number, END, time.monotonic()))
            elif current := CURRENT.search(payload):
                self.arrivals.append((number, int(current[1]), time.monotonic()))

        return heard

    async def until_quiet(self, sockets: int, patience: float) -> None:
        """Wait until all have seen the end, or nothing has come for so long."""
        seen, quiet_since = -1, time.monotonic()
        while len(self.ended) < sockets and time.monotonic() - quiet_since < patience:
            await asyncio.sleep(0.05)
            if len(self.arrivals) != seen:
                seen, quiet_since = len(self.arrivals), time.monotonic()


def watch(talk: Talk, port: int, path: str, jobs: Sequence[str], cookie: str) -> Seen:
    """Watch the jobs from one process: ready to connect, ready when all are open, and at the end what was seen."""
    talk.ready()
    return asyncio.run(_watch(talk, port, path, jobs, cookie))


async def _watch(talk: Talk, port: int, path: str, jobs: Sequence[str], cookie: str) -> Seen:
    watchers = Watchers()
    await watchers.connect(port, path, jobs, cookie)
    await asyncio.to_thread(talk.ready)
    watchers.arrivals.clear()
    await watchers.until_quiet(len(jobs), patience=5.0)
    return Seen(arrivals=watchers.arrivals, ended=len(watchers.ended), rate=_rate(watchers.arrivals))


def _rate(arrivals: Sequence[Arrival]) -> float:
    """Documents per second in the middle half of the time in which they came."""
    if not arrivals:
        return 0.0
    first, last = arrivals[0][2], arrivals[-1][2]
    begin, end = first + (last - first) / 4, last - (last - first) / 4
    return sum(begin <= at < end for _, _, at in arrivals) / max(end - begin, 1e-9)


def hold(talk: Talk, port: int, path: str, jobs: Sequence[str], cookie: str) -> None:
    """Keep sockets open until told to close them; ready with the seconds that opening them took."""

    async def holding() -> None:
        watchers, begin = Watchers(), time.monotonic()
        await watchers.connect(port, path, jobs, cookie)
        await asyncio.to_thread(talk.ready, time.monotonic() - begin)

    asyncio.run(holding())


def document(job: str, current: int, state: str = "running") -> str:
    """A document of the size of ours, for the systems that leave it to their users."""
    return json.dumps(
        {
            "job_id": job, "job_class": "benchmark", "state": state, "completed": state == "finished",
            "version": time.time_ns() // 1000, "attempt": 1, "current": current, "total": None, "percentage": None,
            "message": None, "error": None, "result": None, "cancel_requested": False, "stalled": False,
            "enqueued_at": None, "started_at": "2026-11-22T17:00:00.000Z", "finished_at": None,
        }
    )  # fmt: skip
