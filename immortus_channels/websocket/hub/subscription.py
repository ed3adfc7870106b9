"""The hub's channel in the channel layer, and the groups that it has joined."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from immortus_channels import metrics
from immortus_channels.logs import Trouble
from immortus_channels.push.calls import LayerCalls
from immortus_channels.push.layer import group_name, hubs_group_name, shared_layer
from immortus_channels.push.messages import EVERYBODY, Push, Revocation
from immortus_channels.websocket.hub.hearing import Hearing
from immortus_channels.websocket.hub.leaving import Leaving
from immortus_channels.websocket.hub.probe import Probe


class Subscription:
    """Keeps one layer channel in the groups of all wanted jobs, and hands on the messages that arrive there.

    One task joins and leaves, so that a join and a leave of the same group cannot overtake each other. The task looks
    at the jobs that came or went, and at times at all jobs. A layer that fails costs speed alone: the hub re-checks
    jobs often until their groups are joined.
    """

    TIMEOUT = 1.0
    BACKOFF = (0.1, 2.0)
    REJOIN = 3600.0
    """Seconds until a group is joined again; the layer drops members after its `group_expiry`, a day by default."""

    def __init__(self, arrived: Callable[[Push], None], revoked: Callable[[Revocation], None]) -> None:
        """Call `arrived` with each push and `revoked` with each revocation."""
        self._arrived = arrived
        self._revoked = revoked
        self._wanted: set[str] = set()
        self._joined: dict[str, float] = {}
        self._entered: set[str] = set()
        """Jobs whose group the layer was asked to join; a slow layer may have done so before it answers."""
        self._due: set[str] = set()
        """Jobs whose group may have to be joined or left; each is wanted or entered, so the set stays small."""
        self._hears_since: float | None = None
        self._missed = False
        """Whether revocations may have been sent while no message arrived."""
        self._changed = asyncio.Event()
        self._probe = Probe()
        self._healthy = False
        self._hearing = Hearing()
        self._outside = Trouble("Joining groups of the channel layer", "Until it works, jobs are re-checked often.")
        self._leaving = Leaving()

    def join(self, job_id: str) -> None:
        """Join the job's group soon."""
        if job_id not in self._wanted:
            self._wanted.add(job_id)
            self._look_at(job_id)

    def leave(self, job_id: str) -> None:
        """Leave the job's group soon."""
        self._wanted.discard(job_id)
        if job_id in self._entered:
            self._look_at(job_id)
        else:
            self._due.discard(job_id)

    def _look_at(self, job_id: str) -> None:
        self._due.add(job_id)
        self._changed.set()

    @property
    def joined(self) -> Mapping[str, float]:
        """When the groups of jobs were joined, by the loop's clock; empty while no push can arrive."""
        return {} if self._is_deaf else self._joined

    @property
    def _is_deaf(self) -> bool:
        return self._hearing.is_deaf or self._probe.is_deaf

    @property
    def is_failing(self) -> bool:
        """Whether pushes for some job cannot arrive, or the last push did not."""
        return self._is_deaf or self._hearing.is_failing or self._outside.is_on

    def is_hearing(self) -> bool:
        """Return whether messages arrive and no failure is known; in a thread, wait a moment for the first message."""
        return not self.is_failing and self._hearing.has_heard()

    @property
    def hears_revocations(self) -> bool:
        """Whether the channel is in the group that revocations are sent to."""
        return self._hears_since is not None

    @property
    def hearing_since(self) -> float:
        """Since when revocations of other processes arrive, by the monotonic clock; infinite while they do not."""
        try:
            if shared_layer() is None:
                return -math.inf
        except Exception:  # noqa: BLE001 - its settings may be wrong
            return math.inf
        return math.inf if self._hears_since is None or self._is_deaf else self._hears_since

    def rejoin(self, job_id: str) -> None:
        """Join the job's group again, because a push was lost: the layer may have dropped its member.

        The core layer keeps members in a Redis key, which may expire, be evicted or flushed.
        """
        self._hearing.missed()
        if self._joined.pop(job_id, None) is not None:
            self._hears_since = None
            self._look_at(job_id)

    async def run(self) -> None:
        """Listen until cancelled, and begin again after each failure."""
        first, last = self.BACKOFF
        delay = first
        while True:
            self._healthy = False
            try:
                await self._listen()
            except Exception as error:  # noqa: BLE001 - a layer may raise anything, and listening continues
                metrics.LAYER_ERRORS.add(of="receive")
                self._hearing.failed(error)
                self._missed = True
            finally:
                self._joined.clear()
                self._entered.clear()
                self._hears_since = None
            delay = first if self._healthy else min(delay * 2, last)
            await asyncio.sleep(delay)

    async def _listen(self) -> None:
        shared = shared_layer()
        if shared is None:
            await asyncio.Event().wait()
        layer = LayerCalls(shared)
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
                if task.cancelled():
                    msg = "The channel layer cancelled what listens to it"
                    raise RuntimeError(msg)
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait({asyncio.gather(*tasks, return_exceptions=True)}, timeout=self.TIMEOUT)
            groups = (self._probe.group, hubs_group_name(), *map(group_name, tuple(self._entered)))
            await self._leaving.begin(layer, channel, groups)

    async def _hear(self, layer: LayerCalls, channel: str) -> None:
        """Hand on the messages that arrive, until the layer fails."""
        while True:
            message = await layer.receive(channel)
            self._healthy = True
            is_own = self._probe.hears(message)
            push = None if is_own else Push.from_message(message)
            self._hearing.heard(push=push is not None)
            if push is not None:
                self._arrived(push)
            elif not is_own and (revocation := Revocation.from_message(message)) is not None:
                self._revoked(revocation)

    async def _keep(self, layer: LayerCalls, channel: str) -> None:
        """Join and leave groups as jobs come and go; retry what failed."""
        now = asyncio.get_running_loop().time
        compared_at = float("-inf")
        while True:
            self._changed.clear()
            try:
                if now() - compared_at > self.REJOIN / 10:
                    compared_at = now()
                    self._compare(compared_at)
                asked = await self._hear_revocations(layer, channel)
                asked = await self._reconcile(layer, channel) or asked
            except Exception as error:  # noqa: BLE001
                metrics.LAYER_ERRORS.add(of="group_add")
                self._outside.begin(error)
                compared_at = float("-inf")
                await asyncio.sleep(self.TIMEOUT)
                continue
            if asked:
                self._outside.end()
            with suppress(TimeoutError):
                async with asyncio.timeout(self.REJOIN / 10):
                    await self._changed.wait()

    def _compare(self, now: float) -> None:
        """Find, among all jobs, the groups to join, to join again and to leave."""
        self._due.update(self._wanted - self._joined.keys(), self._entered - self._wanted)
        self._due.update(job_id for job_id, at in self._joined.items() if now - at > self.REJOIN)

    async def _hear_revocations(self, layer: LayerCalls, channel: str) -> bool:
        """Join the group of revocations if it is due, or to test whether joining works; return whether it tried."""
        now = time.monotonic()
        if self._hears_since is not None and now - self._hears_since <= self.REJOIN and not self._outside.is_on:
            return False
        async with asyncio.timeout(self.TIMEOUT):
            await layer.group_add(hubs_group_name(), channel)
        self._hears_since = now
        if self._missed:
            self._missed = False
            self._revoked(Revocation(user=EVERYBODY))
        return True

    async def _reconcile(self, layer: LayerCalls, channel: str) -> bool:
        """Join and leave the groups that are due; return whether any join was tried."""
        asked = False
        while self._due:
            job_id = self._due.pop()
            async with asyncio.timeout(self.TIMEOUT):
                if job_id in self._wanted:
                    asked = True
                    self._entered.add(job_id)
                    await layer.group_add(group_name(job_id), channel)
                    self._joined[job_id] = asyncio.get_running_loop().time()
                    if job_id not in self._wanted:  # it was left meanwhile
                        self._due.add(job_id)
                elif job_id in self._entered:
                    self._joined.pop(job_id, None)
                    await layer.group_discard(group_name(job_id), channel)
                    self._entered.discard(job_id)
        return asked
