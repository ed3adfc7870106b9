"""One direction of a connection, with everything that slows and stops bytes on their way."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from immortus_channels.testing.faults import Faults

Way = Literal["up", "down"]

TICK = 0.01
"""Seconds between checks whether the faults have changed."""
MOST = 65_536


async def until(holds: Callable[[], object]) -> None:
    """Wait until `holds()` is true."""
    while not holds():  # noqa: ASYNC110 - faults are set from any thread
        await asyncio.sleep(TICK)


@dataclass(kw_only=True)
class Line:
    """Carries bytes from `source` to `sink`, and then the end.

    Reading is a task of its own, so that latency delays the bytes without thinning them out; it reads little ahead, so
    that a sender notices a slow line.
    """

    way: Way
    source: asyncio.StreamReader
    sink: asyncio.StreamWriter
    faults: Callable[[], Faults]
    dice: random.Random
    counts: Counter[str]
    _held: bytes = field(init=False, default=b"")
    _held_since: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self._under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=8)

    async def run(self) -> None:
        """Carry until the source has ended."""
        reading = asyncio.create_task(self._read())
        try:
            while True:
                due, data = await self._next()
                await asyncio.sleep(due - _now())
                await until(self._is_open)
                if not data:
                    break
                await self._hold(data)
            await self._pass_on()
            if self.sink.can_write_eof():
                self.sink.write_eof()
        finally:
            reading.cancel()

    async def _read(self) -> None:
        while True:
            try:
                data = await self.source.read(self._appetite())
            except ConnectionError:
                data = b""
            faults = self.faults()
            due = _now() + faults.latency + self.dice.uniform(0, faults.jitter)
            await self._under_way.put((due, data))
            if not data:
                return

    def _appetite(self) -> int:
        """Return how much to read at once: from a slow line no more than a tenth of a second's worth."""
        bandwidth = self.faults().bandwidth
        return MOST if bandwidth is None else max(min(MOST, int(bandwidth / 10)), 1)

    async def _next(self) -> tuple[float, bytes]:
        """Return the next bytes; bytes held back meanwhile leave when they are old enough."""
        while self._held and self._under_way.empty():
            await asyncio.sleep(TICK)
            if self._is_released():
                await self._pass_on()
        return await self._under_way.get()

    def _is_open(self) -> bool:
        return self.faults().blackhole not in (self.way, "both")

    async def _hold(self, data: bytes) -> None:
        if not self._held:
            self._held_since = _now()
        self._held += data
        if self._is_released():
            await self._pass_on()

    def _is_released(self) -> bool:
        faults = self.faults()
        if self.way == "up" or (faults.hold_bytes is None and faults.hold_seconds is None):
            return True
        is_full = faults.hold_bytes is not None and len(self._held) >= faults.hold_bytes
        is_old = faults.hold_seconds is not None and _now() >= self._held_since + faults.hold_seconds
        return is_full or is_old

    async def _pass_on(self) -> None:
        data, self._held = self._held, b""
        while data:
            await until(self._is_open)
            faults = self.faults()
            piece = data[: faults.slice or len(data)]
            self.sink.write(piece)
            await self.sink.drain()
            self.counts[self.way] += len(piece)
            data = data[len(piece) :]
            if faults.bandwidth is not None:
                await asyncio.sleep(len(piece) / faults.bandwidth)
            elif faults.slice:
                await asyncio.sleep(0)


def _now() -> float:
    return asyncio.get_running_loop().time()
