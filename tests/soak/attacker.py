"""Somebody who means harm, at full speed, in a process of their own: `python -m tests.soak.attacker PORT SECONDS`.

Speaks WebSocket by hand: a client library would check what it sends, and be slower than the server. Prints what was
offered, as JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import struct
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

TEXT, BINARY = 1, 2
HANDSHAKE = (
    "GET /ws/immortus/ HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def frame(data: bytes, opcode: int = TEXT, *, is_last: bool = True) -> bytes:
    """A frame whose mask is zero, and so leaves the data as it is."""
    head = bytes([(0x80 if is_last else 0) | opcode])
    if len(data) < 126:
        return head + bytes([0x80 | len(data)]) + bytes(4) + data
    if len(data) < 1 << 16:
        return head + bytes([0xFE]) + struct.pack(">H", len(data)) + bytes(4) + data
    return head + bytes([0xFF]) + struct.pack(">Q", len(data)) + bytes(4) + data


def flood() -> Iterator[bytes]:
    """Frames that mean nothing much."""
    return itertools.repeat(frame(b'{"type":"pong"}'))


def watches() -> Iterator[bytes]:
    """Watches of ever new jobs."""
    return (frame(json.dumps({"type": "watch", "job_id": f"guess-{n}"}).encode()) for n in itertools.count())


def fragments() -> Iterator[bytes]:
    """One message without an end."""
    return itertools.chain([frame(b"x", is_last=False)], itertools.repeat(frame(b"x", 0, is_last=False)))


def large() -> Iterator[bytes]:
    return itertools.repeat(frame(b"x" * (1 << 20)))


def deep() -> Iterator[bytes]:
    """As deep as fits into a frame that is read, and then a hundred thousand levels."""
    return itertools.cycle([frame(b"[" * 8_000 + b"]" * 8_000), frame(b"[" * 100_000 + b"]" * 100_000)])


def binary() -> Iterator[bytes]:
    return itertools.repeat(frame(b"\xff\x00" * 500, BINARY))


@dataclass(frozen=True)
class Attack:
    """One kind of frames, so many a second over so many sockets."""

    frames: object
    rate: float
    sockets: int


ATTACKS = {
    "flood": Attack(flood, 10_000, 10),
    "watches": Attack(watches, 10_000 / 60, 4),
    "fragments": Attack(fragments, 2_000, 2),
    "large": Attack(large, 10, 2),
    "deep": Attack(deep, 20, 2),
    "binary": Attack(binary, 200, 2),
}
TICK = 0.05
"""Seconds between bursts."""


class Attacker:
    """One socket of an attack, opened anew each time it is closed."""

    def __init__(self, port: int, name: str, counts: Counter[str]) -> None:
        self._port, self._name, self._counts = port, name, counts
        self._attack = ATTACKS[name]

    async def run(self) -> None:
        while True:
            with contextlib.suppress(OSError, EOFError, TimeoutError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                try:
                    writer.write(HANDSHAKE.format(port=self._port).encode())
                    async with asyncio.timeout(20):
                        await reader.readuntil(b"\r\n\r\n")
                    self._counts[f"{self._name}: sockets"] += 1
                    await self._fire(reader, writer)
                finally:
                    writer.transport.abort()
            await asyncio.sleep(TICK)

    async def _fire(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Send at the attack's pace, whatever is answered, until the server has had enough."""
        frames = self._attack.frames()
        ended = asyncio.create_task(self._until_closed(reader))
        begin, sent = time.monotonic(), 0
        while not ended.done():
            due = int((time.monotonic() - begin) * self._attack.rate / self._attack.sockets) + 1 - sent
            writer.write(b"".join(itertools.islice(frames, min(due, 2_000))))
            sent += due
            self._counts[f"{self._name}: frames"] += due
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(5):
                    await writer.drain()
            await asyncio.sleep(TICK)

    async def _until_closed(self, reader: asyncio.StreamReader) -> None:
        """Until the server sends a close frame, whose first byte no text of ours has, or hangs up."""
        with contextlib.suppress(OSError):
            while (data := await reader.read(65_536)) and b"\x88" not in data:
                pass


async def attack(port: int, seconds: float) -> Counter[str]:
    """All attacks at once."""
    counts: Counter[str] = Counter()
    tasks = [
        asyncio.create_task(Attacker(port, name, counts).run())
        for name, one in ATTACKS.items()
        for _ in range(one.sockets)
    ]
    await asyncio.wait(tasks, timeout=seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return counts


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(attack(int(sys.argv[1]), float(sys.argv[2])))))
