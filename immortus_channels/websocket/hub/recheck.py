"""Compares the watched jobs with the store at regular intervals: this makes up for every lost push."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection, Mapping, Sequence

from immortus_channels import metrics, tracking
from immortus_channels.conf import settings
from immortus_channels.logs import Trouble, logger
from immortus_channels.push.messages import Push
from immortus_channels.websocket.hub.subscription import Subscription
from immortus_channels.websocket.hub.threads import Readers
from immortus_channels.websocket.hub.watched import Watched, WatchTable


class Recheck:
    """Reads the versions of watched jobs every `RECHECK_INTERVAL`, or every `SHORT` seconds if pushes may be lost."""

    SHORT = 0.25
    PAUSE = 1.0
    """Seconds between a check that failed and the next."""
    MISSING = 30.0
    """Seconds after which a job whose record has gone is treated as unknown."""
    BATCH = 1000

    def __init__(self, table: WatchTable, subscription: Subscription, readers: Readers, asker: Readers) -> None:
        """`readers` read the store; `asker` asks strategies, which may take as long as they like."""
        self._table = table
        self._subscription = subscription
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
            except Exception as error:  # noqa: BLE001 - a store may raise anything, and checking continues
                self._trouble.begin(error)
                await asyncio.sleep(self.PAUSE)
            else:
                if due:  # else the store was not asked
                    self._trouble.end()

    def _due(self) -> Sequence[Watched]:
        now = _time()
        jobs = self._table.jobs.values()
        if now < self._all_due_at:
            joined = self._subscription.joined
            return [job for job in jobs if self._is_doubtful(job, joined) and job.is_answered()]
        self._all_due_at = now + settings.RECHECK_INTERVAL * random.uniform(0.85, 1.15)  # noqa: S311 - spreads load
        return [job for job in jobs if job.is_answered()]

    def _is_doubtful(self, job: Watched, joined: Mapping[str, float]) -> bool:
        """Return whether a push may have been lost since the last check.

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
            self._give_up_missing(job, is_known=job.job_id in versions, now=_time())
        behind = {job_id: known[job_id] for job_id, version in versions.items() if version < known[job_id]}
        ahead = {job.job_id for job in jobs if versions.get(job.job_id, 0) > job.version}
        await self._heal(ahead, behind)
        for job in jobs:
            job.checked_at = began

    def _ask(self, watched: Mapping[str, str]) -> None:
        """Ask the strategies in a thread of their own, so that a slow one delays no page but those of its own jobs."""
        if watched and (self._asking is None or self._asking.done()):
            self._asking = asyncio.create_task(self._asker.run(tracking.ask_strategies, watched))
            self._asking.add_done_callback(self._note_answer)

    def _note_answer(self, asking: asyncio.Task[None]) -> None:
        if asking.cancelled():
            return
        if (error := asking.exception()) is not None:
            self._unasked.begin(error)
        else:
            self._unasked.end()

    def _give_up_missing(self, job: Watched, *, is_known: bool, now: float) -> None:
        if is_known:
            job.missing_since = None
        elif job.missing_since is None:
            job.missing_since = now
        elif now - job.missing_since >= self.MISSING:
            self._table.give_up(job)

    async def _heal(self, ahead: set[str], behind: Mapping[str, int]) -> None:
        """Read and deliver the jobs that differ; lift those that are still older than what the hub sent."""
        if not ahead and not behind:
            return
        lost = [job_id for job_id in ahead if job_id in self._subscription.joined]
        metrics.PUSHES_HEALED.add(len(lost))
        found = (await self._readers.run(tracking.on_record, [*ahead, *behind])).jobs
        for job in found.values():
            self._table.deliver(Push.of(job))
        for job_id in lost:
            self._subscription.rejoin(job_id)
        for job_id, sent in behind.items():
            if job_id in found and found[job_id].version < sent:
                await self.lift(job_id, sent)

    async def lift(self, job_id: str, sent: int) -> None:
        """Make the job newer than what browsers hold: the store went back in time (failover, restored backup)."""
        metrics.ROLLBACKS.add()
        context = {"job_id": job_id, "version": sent}
        logger.warning("The store is older than what was sent of %r; lifting it", job_id, extra=context)
        await self._readers.run(tracking.touch, job_id, sent)


def _time() -> float:
    return asyncio.get_running_loop().time()
