"""Leaving groups: nobody waits for a layer that is late, and nothing is left out."""

from __future__ import annotations

import asyncio
import time

from immortus_channels.push.calls import LayerCalls
from immortus_channels.websocket.hub.leaving import Leaving
from tests.pages import until


class Slow:
    """A layer that lets somebody leave once it is open."""

    def __init__(self):
        self.open = asyncio.Event()
        self.left = []
        self.error = None

    async def group_discard(self, group, channel):
        await self.open.wait()
        if self.error is not None:
            raise self.error
        self.left.append((group, channel))


async def test_a_late_layer_is_left_all_the_same_and_holds_nobody_up(monkeypatch):
    monkeypatch.setattr(Leaving, "TIMEOUT", 0.05)
    layer, leaving = Slow(), Leaving()
    began = time.monotonic()
    await leaving.begin(LayerCalls(layer), "channel", ["a", "b"])
    assert time.monotonic() - began < 0.5
    assert not layer.left
    layer.open.set()
    await until(lambda: layer.left == [("a", "channel"), ("b", "channel")])


async def test_a_layer_that_fails_is_told_once(caplog):
    layer, leaving = Slow(), Leaving()
    layer.open.set()
    layer.error = ConnectionError("refused")
    for _ in range(3):
        await leaving.begin(LayerCalls(layer), "channel", ["a"])
    assert [record.getMessage().split(" (")[0] for record in caplog.records] == [
        "Leaving groups of the channel layer fails"
    ]
