"""One direction of a connection: bytes arrive late, slowly or in pieces, but all of them and in order."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from immortus_channels.testing import Faults
from immortus_channels.testing.wire import Line


class Sink:
    """Takes down when what was written."""

    def __init__(self):
        self.pieces = []
        self.ended = False

    def write(self, data):
        self.pieces.append(data)

    async def drain(self):
        """Is never full."""

    def can_write_eof(self):
        return True

    def write_eof(self):
        self.ended = True


async def carried(data, faults, way="down"):
    source, sink, counts = asyncio.StreamReader(), Sink(), Counter()
    source.feed_data(data)
    source.feed_eof()
    line = Line(way=way, source=source, sink=sink, faults=lambda: faults, dice=random.Random(1), counts=counts)
    await asyncio.wait_for(line.run(), 5)
    assert b"".join(sink.pieces) == data
    assert sink.ended
    assert counts[way] == len(data)
    return sink.pieces


@pytest.mark.parametrize(
    ("faults", "pieces"),
    [
        (Faults(), 1),
        (Faults(slice=100), 10),
        (Faults(slice=1), 1000),
        (Faults(bandwidth=5000), 2),
        (Faults(latency=0.05, jitter=0.05), 1),
        (Faults(hold_bytes=5000), 1),
        (Faults(hold_seconds=9), 1),
    ],
    ids=str,
)
async def test_everything_arrives_in_order_and_then_the_end(faults, pieces):
    assert len(await carried(bytes(range(250)) * 4, faults)) == pieces


async def test_only_what_the_server_sends_is_held_back():
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(carried(b"x", Faults(blackhole="up"), way="up"), 0.2)
    assert len(await carried(b"x" * 100_000, Faults(hold_bytes=10), way="up")) == 2
