"""Finds out whether messages still arrive through the channel layer: a subscription can die without any error.

A half-open connection looks healthy and delivers nothing (a firewall that dropped it, a Redis host that vanished), and
the core layer loses its groups with Redis' data. So the hub sends itself a message through a group of its own, the way
every push comes, and expects it to arrive.
"""

from __future__ import annotations

import asyncio
import random
import uuid

from immortus_channels import metrics
from immortus_channels.push.calls import LayerCalls

MESSAGE_TYPE = "immortus.probe"


class Deaf(TimeoutError):
    """The layer accepts messages but delivers none."""


class Probe:
    """Sends itself a message every `INTERVAL` seconds, and is deaf when none arrives within `TIMEOUT` seconds."""

    INTERVAL = 15.0
    TIMEOUT = 5.0

    def __init__(self) -> None:
        self.group = f"immortus.probe.{uuid.uuid4().hex}"
        self.is_deaf = False
        self._answered = asyncio.Event()

    def hears(self, message: object) -> bool:
        """Return whether this probe has sent the message, and note its arrival."""
        match message:
            case {"type": "immortus.probe", "group": self.group}:
                self.is_deaf = False
                self._answered.set()
                return True
        return False

    async def run(self, layer: LayerCalls, channel: str) -> None:
        """Probe until cancelled, first at once. Raises TimeoutError when no probe arrives, or the layer's error."""
        async with asyncio.timeout(self.TIMEOUT):
            await layer.group_add(self.group, channel)
        while True:
            await self._ask(layer)
            await asyncio.sleep(self.INTERVAL * random.uniform(0.85, 1.15))  # noqa: S311 - spreads load

    async def _ask(self, layer: LayerCalls) -> None:
        self._answered.clear()
        is_sent = False
        try:
            async with asyncio.timeout(self.TIMEOUT):
                await layer.group_send(self.group, {"type": MESSAGE_TYPE, "group": self.group})
                is_sent = True
                await self._answered.wait()
        except TimeoutError:
            self.is_deaf = True
            metrics.PROBE_TIMEOUTS.add()
            await layer.hang_up()
            msg = f"nothing sent by this process to itself arrived within {self.TIMEOUT:g} s"
            raise (Deaf(msg) if is_sent else TimeoutError(msg)) from None
