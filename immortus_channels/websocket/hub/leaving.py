"""Leaves the groups of a channel that has lost its listener."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from immortus_channels.logs import Trouble
from immortus_channels.push.calls import LayerCalls


class Leaving:
    """Removes dead members from groups: a layer delivers to them, and may run full of messages without a reader.

    A slow layer may take its time without delaying other callers; the next call to it follows its answer.
    """

    TIMEOUT = 1.0

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._trouble = Trouble("Leaving groups of the channel layer", "It forgets their members in its own time.")

    async def begin(self, layer: LayerCalls, channel: str, groups: Iterable[str]) -> None:
        """Begin to leave the groups, and wait `TIMEOUT` seconds at most until that is done."""
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
