"""The hub's channel of the channel layer, and the groups it is in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Any

from immortus_channels import metrics, revocation
from immortus_channels.broadcast import Push, group_name, shared_layer
from immortus_channels.hub.probe import Probe
from immortus_channels.revocation import EVERYBODY, Revocation
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

    def __init__(
        self,
        wanted: Callable[[], Collection[str]],
        arrived: Callable[[Push], None],
        revoked: Callable[[Revocation], None],
    ) -> None:
        """`wanted` are the ids of the jobs to hear of; the others are called with each push and each revocation."""
        self._wanted = wanted
        self._arrived = arrived
        self._revoked = revoked
        self._joined: dict[str, float] = {}
        self._hears_since: float | None = None
        self._missed = False
        """Whether revocations may have been told while nothing was heard."""
        self._changed = asyncio.Event()
        self._probe = Probe()
        self._healthy = False
        self._deaf = Trouble("Listening to the channel layer", _CURE)
        self._outside = Trouble("Joining groups of the channel layer", _CURE)

    def changed(self) -> None:
        """What is wanted has changed."""
        self._changed.set()

    @property
    def joined(self) -> Mapping[str, float]:
        """The loop's times at which the groups of jobs were joined; none while nothing can be heard."""
        return {} if self._is_deaf else self._joined

    @property
    def _is_deaf(self) -> bool:
        return self._deaf.is_on or self._probe.is_deaf

    @property
    def is_failing(self) -> bool:
        """Whether pushes for some job cannot be heard."""
        return self._is_deaf or self._outside.is_on

    @property
    def hears_revocations(self) -> bool:
        """Whether the channel is in the group that revocations are told to."""
        return self._hears_since is not None

    def rejoin(self, job_id: str) -> None:
        """A push for the job was lost: perhaps the layer has forgotten that we are in its group, so join it again.

        Members of the core layer go with their Redis key: when it expires, is evicted or flushed.
        """
        if self._joined.pop(job_id, None) is not None:
            self._hears_since = None
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
                metrics.LAYER_ERRORS.add(of="receive")
                self._deaf.begin(error)
                self._missed = True
            finally:
                self._joined.clear()
                self._hears_since = None
            delay = first if self._healthy else min(delay * 2, last)
            await asyncio.sleep(delay)

    async def _listen(self) -> None:
        layer = shared_layer()
        if layer is None:
            await asyncio.Event().wait()
        async with asyncio.timeout(self.TIMEOUT):
            channel = await layer.new_channel()
        tasks = [
            asyncio.create_task(self._hear(layer, channel)),
            asyncio.create_task(self._keep(layer, channel)),
            asyncio.create_task(self._probe.run(layer, channel)),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait({asyncio.gather(*tasks, return_exceptions=True)}, timeout=self.TIMEOUT)
            await self._leave(layer, channel)

    async def _hear(self, layer: Any, channel: str) -> None:
        """Hand on what arrives, until the layer fails."""
        while True:
            message = await layer.receive(channel)
            self._healthy = True
            self._deaf.end()
            if not self._probe.hears(message):
                self._hand_on(message)

    def _hand_on(self, message: object) -> None:
        if (push := Push.from_message(message)) is not None:
            self._arrived(push)
        elif (told := Revocation.from_message(message)) is not None:
            self._revoked(told)

    async def _keep(self, layer: Any, channel: str) -> None:
        """Join and leave groups as jobs come and go; try again what failed."""
        while True:
            self._changed.clear()
            try:
                await self._hear_revocations(layer, channel)
                await self._reconcile(layer, channel)
            except Exception as error:  # noqa: BLE001
                metrics.LAYER_ERRORS.add(of="group_add")
                self._outside.begin(error)
                await asyncio.sleep(self.TIMEOUT)
                continue
            self._outside.end()
            try:
                async with asyncio.timeout(self.REJOIN / 10):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _hear_revocations(self, layer: Any, channel: str) -> None:
        now = asyncio.get_running_loop().time()
        if self._hears_since is None or now - self._hears_since > self.REJOIN:
            async with asyncio.timeout(self.TIMEOUT):
                await layer.group_add(revocation.group_name(), channel)
            self._hears_since = now
            if self._missed:
                self._missed = False
                self._revoked(Revocation(user=EVERYBODY))

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
                for group in (self._probe.group, revocation.group_name(), *map(group_name, tuple(self._joined))):
                    await layer.group_discard(group, channel)
        except Exception as error:  # noqa: BLE001
            self._outside.begin(error)
