"""The hub's channel of the channel layer, and the groups it is in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Any

from immortus_channels.broadcast import Push, group_name, shared_layer
from immortus_channels.trouble import Trouble

_CURE = "Until it works, jobs are re-checked often."


class Membership:
    """Keeps one layer channel in the groups of all wanted jobs, and hands on what arrives there.

    One task compares what is wanted with what is joined, so that leaving and joining one group cannot overtake each
    other. A layer that fails costs nothing but speed: jobs not joined are re-checked often.
    """

    TIMEOUT = 1.0
    BACKOFF = (0.1, 2.0)
    REJOIN = 3600.0
    """Seconds; the layer forgets members after its `group_expiry`, a day by default."""

    def __init__(self, wanted: Callable[[], Collection[str]], arrived: Callable[[Push], None]) -> None:
        """`wanted` are the ids of the jobs to hear of; `arrived` is called with each push."""
        self._wanted = wanted
        self._arrived = arrived
        self._joined: dict[str, float] = {}
        self._changed = asyncio.Event()
        self._healthy = False
        self._deaf = Trouble("Listening to the channel layer", _CURE)
        self._outside = Trouble("Joining groups of the channel layer", _CURE)

    def changed(self) -> None:
        """What is wanted has changed."""
        self._changed.set()

    def joined_at(self, job_id: str) -> float | None:
        """The loop's time at which the job's group was joined; None while it is not."""
        return self._joined.get(job_id)

    def rejoin(self, job_id: str) -> None:
        """A push for the job was lost: perhaps the layer has forgotten that we are in its group, so join it again.

        Members of the core layer go with their Redis key: when it expires, is evicted or flushed.
        """
        if self._joined.pop(job_id, None) is not None:
            self._changed.set()

    async def run(self) -> None:
        """Stay a member until cancelled."""
        first, last = self.BACKOFF
        delay = first
        while True:
            self._healthy = False
            try:
                await self._listen()
            except Exception as error:  # noqa: BLE001 - a layer may raise anything, and listening goes on
                self._deaf.begin(error)
            finally:
                self._joined.clear()
            delay = first if self._healthy else min(delay * 2, last)
            await asyncio.sleep(delay)

    async def _listen(self) -> None:
        layer = shared_layer()
        if layer is None:
            await asyncio.Event().wait()
        async with asyncio.timeout(self.TIMEOUT):
            channel = await layer.new_channel()
        keeping = asyncio.create_task(self._keep(layer, channel))
        try:
            while True:
                message = await layer.receive(channel)
                self._healthy = True
                self._deaf.end()
                push = Push.from_message(message)
                if push is not None:
                    self._arrived(push)
        finally:
            keeping.cancel()
            await self._leave(layer, channel)

    async def _keep(self, layer: Any, channel: str) -> None:
        """Join and leave groups as jobs come and go; try again what failed."""
        while True:
            self._changed.clear()
            try:
                await self._reconcile(layer, channel)
            except Exception as error:  # noqa: BLE001
                self._outside.begin(error)
                await asyncio.sleep(self.TIMEOUT)
                continue
            self._outside.end()
            try:
                async with asyncio.timeout(self.REJOIN / 10):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _reconcile(self, layer: Any, channel: str) -> None:
        wanted = frozenset(self._wanted())
        now = asyncio.get_running_loop().time
        for job_id in self._joined.keys() - wanted:
            del self._joined[job_id]
            async with asyncio.timeout(self.TIMEOUT):
                await layer.group_discard(group_name(job_id), channel)
        for job_id in wanted:
            joined_at = self._joined.get(job_id)
            if joined_at is None or now() - joined_at > self.REJOIN:
                async with asyncio.timeout(self.TIMEOUT):
                    await layer.group_add(group_name(job_id), channel)
                self._joined[job_id] = now()

    async def _leave(self, layer: Any, channel: str) -> None:
        """Leave every group, so that no dead member stays behind; as far as the layer lets us."""
        try:
            async with asyncio.timeout(self.TIMEOUT):
                for job_id in tuple(self._joined):
                    await layer.group_discard(group_name(job_id), channel)
        except Exception as error:  # noqa: BLE001
            self._outside.begin(error)
