"""Finds out whether this process still hears the channel layer: a subscription can die without any error.

A half-open connection looks healthy and delivers nothing (a firewall that forgot it, a Redis host that vanished), and
the core layer forgets its groups with Redis' data. So the hub sends itself a message through a group of its own, the
way every push comes, and expects to hear it.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from typing import Any

from immortus_channels import metrics

MESSAGE_TYPE = "immortus.probe"


class Probe:
    """Sends itself a message every `INTERVAL` seconds, and is deaf when it has not heard it within `TIMEOUT`."""

    INTERVAL = 15.0
    TIMEOUT = 5.0

    def __init__(self) -> None:
        self.group = f"immortus.probe.{uuid.uuid4().hex}"
        self.is_deaf = False
        self._answered = asyncio.Event()

    def hears(self, message: object) -> bool:
        """Whether the message is one that this probe has sent."""
        match message:
            case {"type": "immortus.probe", "group": self.group}:
                self.is_deaf = False
                self._answered.set()
                return True
        return False

    async def run(self, layer: Any, channel: str) -> None:
        """Probe until cancelled, first at once. Raises TimeoutError when deaf, or what the layer raises."""
        async with asyncio.timeout(self.TIMEOUT):
            await layer.group_add(self.group, channel)
        while True:
            await self._ask(layer)
            await asyncio.sleep(self.INTERVAL * random.uniform(0.85, 1.15))  # noqa: S311 - spreads load

    async def _ask(self, layer: Any) -> None:
        self._answered.clear()
        try:
            async with asyncio.timeout(self.TIMEOUT):
                await layer.group_send(self.group, {"type": MESSAGE_TYPE, "group": self.group})
                await self._answered.wait()
        except TimeoutError:
            self.is_deaf = True
            metrics.PROBE_TIMEOUTS.add()
            await _hang_up(layer)
            msg = f"nothing sent by this process to itself arrived within {self.TIMEOUT:g} s"
            raise TimeoutError(msg) from None


async def _hang_up(layer: Any) -> None:
    """Close the connections on which a pubsub layer of channels_redis listens; it opens new ones and subscribes again.

    The layer has no name for this. Its `flush()` closes them too, but makes every other consumer of the process deaf
    for good, and on the core layer it deletes everybody's messages. Other layers get a new channel, which is enough
    for the core layer.
    """
    shards = getattr(layer, "_shards", ())
    connections = [getattr(getattr(shard, "_pubsub", None), "connection", None) for shard in shards]
    for connection in filter(None, connections):
        await connection.disconnect(nowait=True)
    for connection in filter(None, connections):
        await _back(connection)


async def _back(connection: Any) -> None:
    """Wait until the layer has reconnected by itself, for 3 s: a second one who does leaves a socket behind."""
    for _ in range(30):
        if connection.is_connected:
            return
        await asyncio.sleep(0.1)
