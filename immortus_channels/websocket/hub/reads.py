"""Reads for watches: a job is read together with the permission to see it, and again until both are certain."""

from __future__ import annotations

import asyncio
import random

from immortus_channels import tracking
from immortus_channels.access import permissions
from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.jobs.job import Job
from immortus_channels.jobs.versions import is_believable
from immortus_channels.logs import Trouble
from immortus_channels.push.messages import Push
from immortus_channels.stores.base import Reading
from immortus_channels.tracking.throttle import Pace
from immortus_channels.websocket.hub.authorization import LOGIN_CHANGED, Authorization
from immortus_channels.websocket.hub.recheck import Recheck
from immortus_channels.websocket.hub.threads import Readers
from immortus_channels.websocket.hub.watched import Watched, Watcher, WatchTable


class AuthorizedReads:
    """Reads a job for a watcher that may see it."""

    BACKOFF = (0.25, 4.0)
    """Seconds between tries to answer a watch while the store is silent."""
    LIFT_AGAIN = 5.0
    """Seconds until a client may make the hub raise the same job's version again, which costs a write."""
    DOUBT = 0.02
    """Seconds until the hub tries again to answer a watcher whose permission is in doubt."""

    def __init__(self, table: WatchTable, authorization: Authorization, recheck: Recheck, readers: Readers) -> None:
        self._table = table
        self._authorization = authorization
        self._readers = readers
        self._recheck = recheck
        self._lifts = Pace(clock=asyncio.get_running_loop().time)
        self._trouble = Trouble("Answering watches", "They are answered as soon as the store answers.")

    async def read_above(self, watcher: Watcher, watched: Watched, have: int) -> Job | None:
        """Read the job for the watcher, and make it newer than what the client has, where the client is believable.

        A pushed document of a newer attempt may belong to another user's job; then the record must reach that attempt
        before the hub decides who may see it. Return None as `_read_authorized` does.
        """
        while (job := await self._read_authorized(watcher, watched)) is not None:
            watched.job_class = job.job_class
            self._table.deliver(Push.of(job))
            ahead = have if have > watched.version else watched.version + 1 if watched.attempt > job.attempt else 0
            if not ahead or not is_believable(ahead):
                return job
            await self._raise_store_above(watched, ahead)
        return None

    async def _read_authorized(self, watcher: Watcher, watched: Watched) -> Job | None:
        """Read the job for the watcher, and wait for a silent store and until the watcher's permission is certain.

        Return None if the watcher may not see the job, or has left meanwhile.
        """
        delay, longest = self.BACKOFF
        while watcher in watched.sent:
            revocations = self._authorization.revocations_about(watcher)
            try:
                job = await self._read_once(watcher, watched)
            except (StoreUnavailable, TimeoutError) as error:
                self._trouble.begin(error)
                await asyncio.sleep(delay * random.uniform(0.5, 1.5))  # noqa: S311 - spreads load
                delay = min(delay * 2, longest)
                continue
            if watcher not in watched.doubted and revocations == self._authorization.revocations_about(watcher):
                return job
            await asyncio.sleep(self.DOUBT)
        return None

    async def _read_once(self, watcher: Watcher, watched: Watched) -> Job | None:
        """Return the job if the watcher may see it, by reads of login and record that begin after this call."""
        if not await self._authorization.login_holds(watcher):
            watcher.close(LOGIN_CHANGED)
            return None
        job = await self._readers.run(_authorize, watcher, watched.job_id, await watched.record.get())
        self._trouble.end()
        return job

    async def _raise_store_above(self, watched: Watched, version: int) -> None:
        """Make the store's version of the job higher than this one: the store may have gone back in time."""
        try:
            job = (await watched.record.get()).jobs.get(watched.job_id)
            while job is not None and job.version < version and watched.sent:
                if self._lifts.is_due(watched.job_id, self.LIFT_AGAIN):
                    await self._recheck.lift(watched.job_id, version)
                else:
                    await asyncio.sleep(self._lifts.remaining(watched.job_id, self.LIFT_AGAIN))
                job = (await watched.record.get()).jobs.get(watched.job_id)
        except (StoreUnavailable, TimeoutError) as error:
            self._trouble.begin(error)
        else:
            if job is not None:
                self._table.deliver(Push.of(job))


def _authorize(watcher: Watcher, job_id: str, reading: Reading) -> Job | None:
    """Return the job as it stands if the watcher may see it. Called in a thread.

    Strategies are not asked here: they may be slow, and the re-check asks them. For an unknown job the permission rule
    runs too, so that the answer takes as long as a refusal.
    """
    job, user = reading.jobs.get(job_id), watcher.user
    if user is None:
        return None
    if job is None:
        permissions.would_see(user, job_id)
        return None
    return tracking.present_state(job, reading.now) if permissions.may_see(user, job) else None
