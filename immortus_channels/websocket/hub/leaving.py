"""Leaves the groups of a channel that nobody listens to any more."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from immortus_channels.logs import Trouble
from immortus_channels.push.calls import LayerCalls


class Leaving:
    """Sees to it that no dead member stays behind: a layer delivers to it, and may run full of what nobody takes.

    A layer that is late takes its time, and holds nobody up: its answer comes before it is asked anything else.
    """

    TIMEOUT = 1.0

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._trouble = Trouble("Leaving groups of the channel layer", "It forgets their members in its own time.")

    async def begin(self, layer: LayerCalls, channel: str, groups: Iterable[str]) -> None:
        """Begin to leave the groups, and wait for it for `TIMEOUT` seconds at most."""
        task = asyncio.create_task(self._leave(layer, channel, groups))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.wait({task}, timeout=self.TIMEOUT)

    async def _leave(self, layer: LayerCalls, channel: str, groups: Iterable[str]) -> None:
        try:
            for group in groups:
                await layer.group_discard(group, channel)
        except Exception as error:  # noqa: BLE001 - a layer may raise anything
            self._trouble.begin(error)
        else:
            self._trouble.end()
