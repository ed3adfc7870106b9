"""Compares what is watched with the store, again and again: this heals every lost push."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from immortus_channels import metrics, tracking
from immortus_channels.conf import settings
from immortus_channels.logs import Trouble
from immortus_channels.push.messages import Push
from immortus_channels.websocket.hub.threads import Readers
from immortus_channels.websocket.hub.watched import Watched

logger = logging.getLogger("immortus_channels")


class Rechecked(Protocol):
    """What the re-check needs of the hub."""

    @property
    def jobs(self) -> Mapping[str, Watched]:
        """The watched jobs by id."""
        ...

    @property
    def joined(self) -> Mapping[str, float]:
        """When the groups of jobs were joined, by the loop's clock; without those whose pushes cannot be heard now."""
        ...

    def rejoin(self, job_id: str) -> None:
        """A push for the job was lost, although its group had been joined."""
        ...

    def take(self, push: Push) -> None:
        """Hand a document to all who watch the job, if it is the newest."""
        ...

    def give_up(self, job_id: str) -> None:
        """Tell all who watch the job that it is unknown."""
        ...


class Recheck:
    """Reads the versions of watched jobs every `RECHECK_INTERVAL`, or every `SHORT` seconds where no push is heard."""

    SHORT = 0.25
    PAUSE = 1.0
    """Seconds to leave a store alone that could not answer."""
    MISSING = 30.0
    BATCH = 1000

    def __init__(self, hub: Rechecked, readers: Readers, asker: Readers) -> None:
        """`readers` read the store, `asker` asks strategies, which may take as long as they like."""
        self._hub = hub
        self._readers = readers
        self._asker = asker
        self._all_due_at = 0.0
        self._asking: asyncio.Task[None] | None = None
        self._trouble = Trouble("Re-checking watched jobs", "Their pages show the last known state until then.")
        self._unasked = Trouble("Asking the strategies of watched jobs", "What they know is not shown until then.")

    async def run(self) -> None:
        """Re-check until cancelled."""
        while True:
            await asyncio.sleep(self.SHORT)
            try:
                due = self._due()
                await self._check(due)
            except Exception as error:  # noqa: BLE001 - whatever a store raises, checking goes on
                self._trouble.begin(error)
                await asyncio.sleep(self.PAUSE)
            else:
                if due:  # else the store was not asked
                    self._trouble.end()

    def _due(self) -> Sequence[Watched]:
        now = _time()
        jobs = self._hub.jobs.values()
        if now < self._all_due_at:
            joined = self._hub.joined
            return [job for job in jobs if self._is_doubtful(job, joined) and job.is_answered()]
        self._all_due_at = now + settings.RECHECK_INTERVAL * random.uniform(0.85, 1.15)  # noqa: S311 - spreads load
        return [job for job in jobs if job.is_answered()]

    def _is_doubtful(self, job: Watched, joined: Mapping[str, float]) -> bool:
        """Whether a push may have been missed since the last check.

        The pubsub layer does not wait until Redis has confirmed a subscription, so a check counts only when it began
        a moment after the join.
        """
        joined_at = joined.get(job.job_id)
        return joined_at is None or job.checked_at < joined_at + self.SHORT

    async def _check(self, jobs: Sequence[Watched]) -> None:
        self._ask({job.job_id: job.job_class for job in jobs})
        for start in range(0, len(jobs), self.BATCH):
            await self._check_batch(jobs[start : start + self.BATCH])

    async def _check_batch(self, jobs: Collection[Watched]) -> None:
        began = _time()
        known = {job.job_id: job.version for job in jobs}
        watched = {job.job_id: job.job_class for job in jobs}
        versions = await self._readers.run(tracking.recheck, watched)
        for job in jobs:
            self._note_presence(job, is_known=job.job_id in versions, now=_time())
        behind = {job_id for job_id, version in versions.items() if version < known[job_id]}
        ahead = {job.job_id for job in jobs if versions.get(job.job_id, 0) > job.version}
        await self._heal(ahead, known, {job_id: known[job_id] for job_id in behind})
        for job in jobs:
            job.checked_at = began

    def _ask(self, watched: Mapping[str, str]) -> None:
        """Let strategies speak beside the checks, in a thread of their own: a slow one holds up no page but theirs."""
        if watched and (self._asking is None or self._asking.done()):
            self._asking = asyncio.create_task(self._asker.run(tracking.ask_strategies, watched))
            self._asking.add_done_callback(self._asked)

    def _asked(self, asking: asyncio.Task[None]) -> None:
        if asking.cancelled():
            return
        if (error := asking.exception()) is not None:
            self._unasked.begin(error)
        else:
            self._unasked.end()

    def _note_presence(self, job: Watched, *, is_known: bool, now: float) -> None:
        if is_known:
            job.missing_since = None
        elif job.missing_since is None:
            job.missing_since = now
        elif now - job.missing_since >= self.MISSING:
            self._hub.give_up(job.job_id)

    async def _heal(self, ahead: set[str], known: Mapping[str, int], behind: Mapping[str, int]) -> None:
        """Read what differs; what is still older than what was sent is lifted above it."""
        if not ahead and not behind:
            return
        lost = [job_id for job_id in ahead if job_id in self._hub.joined]
        metrics.PUSHES_HEALED.add(len(lost))
        found = (await self._readers.run(tracking.on_record, [*ahead, *behind])).jobs
        for job in found.values():
            self._hub.take(Push.of(job))
        for job_id in lost:
            self._hub.rejoin(job_id)
        for job_id, sent in behind.items():
            if job_id in found and found[job_id].version < sent:
                await self.lift(job_id, sent)

    async def lift(self, job_id: str, sent: int) -> None:
        """The store went back in time (failover, restored backup): make the job newer than what browsers hold."""
        metrics.ROLLBACKS.add()
        told = {"job_id": job_id, "version": sent}
        logger.warning("The store is older than what was sent of %r; lifting it", job_id, extra=told)
        await self._readers.run(tracking.touch, job_id, sent)


def _time() -> float:
    return asyncio.get_running_loop().time()
