"""Asks again and again whether those who watch still may: logins end and rights go while sockets stay open."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection, Mapping
from typing import Protocol

from immortus_channels import access, tracking
from immortus_channels.hub.reading import Readers
from immortus_channels.hub.watching import Watched, Watcher
from immortus_channels.jobs import Job
from immortus_channels.trouble import Trouble

LOGIN_CHANGED = 4401


class Watches(Protocol):
    """What authorizing needs of the hub."""

    @property
    def jobs(self) -> Mapping[str, Watched]:
        """The watched jobs by id."""
        ...

    def refuse(self, watcher: Watcher, watched: Watched) -> None:
        """End a watch as if the job were unknown."""
        ...


class Authorization:
    """Authorizes every watcher of a hub again, one after the other, every `INTERVAL` seconds or when asked."""

    INTERVAL = 300.0

    def __init__(self, hub: Watches, readers: Readers) -> None:
        self._hub = hub
        self._readers = readers
        self._trouble = Trouble("Authorizing watchers again", "They keep what they were allowed until it works.")

    async def run(self) -> None:
        """Authorize until cancelled."""
        while True:
            await asyncio.sleep(self.INTERVAL * random.uniform(0.85, 1.15))  # noqa: S311 - spreads load
            for watcher in {watcher for watched in self._hub.jobs.values() for watcher in watched.sent}:
                try:
                    await self.check(watcher)
                except Exception as error:  # noqa: BLE001 - whoever cannot be asked takes nobody's right away
                    self._trouble.begin(error)
                else:
                    self._trouble.end()

    async def check(self, watcher: Watcher) -> None:
        """Authorize one watcher for all it watches. Raises StoreUnavailable or TimeoutError when nobody can tell."""
        if not await self._readers.run(watcher.still_logged_in):
            watcher.close(LOGIN_CHANGED)
            return
        watches = [watched for watched in self._hub.jobs.values() if watched.sent.get(watcher) is not None]
        jobs = await self._readers.run(tracking.read, [watched.job_id for watched in watches])
        seen = await self._readers.run(_seen_by, watcher, jobs.values())
        for watched in watches:
            if watched.job_id in jobs and watched.job_id not in seen and watcher in watched.sent:
                self._hub.refuse(watcher, watched)


def _seen_by(watcher: Watcher, jobs: Collection[Job]) -> frozenset[str]:
    return frozenset(job.job_id for job in jobs if access.may_see(watcher.user, job))
