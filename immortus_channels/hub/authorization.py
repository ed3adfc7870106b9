"""Asks again whether those who watch still may: regularly, and at once when somebody's rights may have gone."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection, Iterator, Mapping
from typing import Protocol

from immortus_channels import access, tracking
from immortus_channels.hub.reading import Readers
from immortus_channels.hub.watching import Watched, Watcher
from immortus_channels.jobs import Job
from immortus_channels.revocation import EVERYBODY, Revocation
from immortus_channels.trouble import Trouble

LOGIN_CHANGED = 4401


class Authorized(Protocol):
    """What authorizing needs of the hub."""

    @property
    def jobs(self) -> Mapping[str, Watched]:
        """The watched jobs by id."""
        ...

    def hears_revocations(self) -> bool:
        """Whether what other processes revoke arrives here."""
        ...

    def refuse(self, watcher: Watcher, watched: Watched) -> None:
        """End a watch as if the job were unknown."""
        ...

    def catch_up(self, watched: Watched) -> None:
        """Tell the newest document to those who were not."""
        ...


class Authorization:
    """Authorizes every watcher of a hub again, one after the other, every `INTERVAL` seconds or when asked.

    Whoever a revocation is about is told nothing until they were asked, and is asked `AGAIN`: a logout is told of
    before the session is gone, and a replica may be behind.
    """

    INTERVAL = 300.0
    DEAF_INTERVAL = 30.0
    """Where no revocation of another process is heard."""
    AGAIN = 0.5
    REST = 0.1
    """Seconds between two whom nobody is in doubt about, at most."""

    def __init__(self, hub: Authorized, readers: Readers) -> None:
        self.revocations = 0
        """How many have been about somebody here."""
        self._hub = hub
        self._readers = readers
        self._doubts: dict[Watcher, None] = {}
        self._again: dict[Watcher, float] = {}
        self._bell = asyncio.Event()
        self._trouble = Trouble(
            "Authorizing watchers again", "Those whose rights were not revoked keep them meanwhile."
        )

    # Regularly

    async def run(self) -> None:
        """Authorize until cancelled."""
        step = min(self.INTERVAL, self.DEAF_INTERVAL)
        last = _time()
        while True:
            await asyncio.sleep(step * random.uniform(0.85, 1.15))  # noqa: S311 - spreads load
            if self._hub.hears_revocations() and _time() - last < self.INTERVAL - step / 2:
                continue
            last = _time()
            for watcher in {watcher for watched in self._hub.jobs.values() for watcher in watched.sent}:
                await self._try_in_peace(watcher)

    async def _try_in_peace(self, watcher: Watcher) -> None:
        """Ask, and rest: thousands without a rest between would keep a core busy for ten seconds."""
        began = _time()
        await self._try(watcher)
        await asyncio.sleep(min(3 * (_time() - began), self.REST))

    async def _try(self, watcher: Watcher) -> bool | None:
        """Whether the watcher's login holds; None when nobody could tell."""
        try:
            holds = await self.check(watcher)
        except Exception as error:  # noqa: BLE001 - whoever cannot be asked takes nobody's right away
            self._trouble.begin(error)
            return None
        self._trouble.end()
        return holds

    async def check(self, watcher: Watcher) -> bool:
        """Authorize one watcher for all it watches; whether its login holds at all.

        Raises StoreUnavailable or TimeoutError when nobody can tell.
        """
        if not await self._readers.run(watcher.still_logged_in):
            watcher.close(LOGIN_CHANGED)
            return False
        watches = [watched for watched in self._hub.jobs.values() if watched.sent.get(watcher) is not None]
        jobs = await self._readers.run(tracking.read, [watched.job_id for watched in watches])
        seen = await self._readers.run(_seen_by, watcher, jobs.values())
        for watched in watches:
            if watched.job_id in jobs and watched.job_id not in seen and watcher in watched.sent:
                self._hub.refuse(watcher, watched)
        return True

    # At once

    def reconsider(self, revocation: Revocation) -> None:
        """Doubt whoever it is about, and ask them soon. Everybody is only asked: that may take a while."""
        concerned = list(self._concerned(revocation))
        for watcher, watched in concerned:
            if revocation.user != EVERYBODY:
                watched.doubted.add(watcher)
            self._doubts[watcher] = None
        if concerned:
            self.revocations += 1
            self._bell.set()

    def _concerned(self, revocation: Revocation) -> Iterator[tuple[Watcher, Watched]]:
        for watched in self._hub.jobs.values():
            for watcher in watched.sent:
                key = str(getattr(watcher.user, "pk", None))
                if watched.job_id == revocation.job_id or revocation.user in (key, EVERYBODY) or watcher.user is None:
                    yield watcher, watched

    async def run_doubts(self) -> None:
        """Ask those in doubt, one after the other, until cancelled."""
        while True:
            self._bell.clear()
            watcher = self._next()
            if watcher is not None:
                await self._settle(watcher)
                continue
            soonest = next(iter(self._again.values()), None)
            try:
                async with asyncio.timeout_at(soonest):
                    await self._bell.wait()
            except TimeoutError:
                continue

    def _next(self) -> Watcher | None:
        """Whom to ask now: first those in doubt, then those to be asked again."""
        for watcher in self._doubts:
            del self._doubts[watcher]
            return watcher
        for watcher, due in self._again.items():
            if due > _time():
                break
            del self._again[watcher]
            return watcher
        return None

    async def _settle(self, watcher: Watcher) -> None:
        """Ask, and trust again whoever still may; what is revoked meanwhile counts anew."""
        doubts = [watched for watched in self._hub.jobs.values() if watcher in watched.doubted]
        holds = await self._try(watcher)
        if holds and watcher not in self._doubts:
            for watched in doubts:
                watched.doubted.discard(watcher)
                self._hub.catch_up(watched)
        # The second look leaves no doubt behind, so it is the last, unless nobody could tell.
        if holds is None or (holds and doubts):
            self._again.setdefault(watcher, _time() + self.AGAIN)


def _seen_by(watcher: Watcher, jobs: Collection[Job]) -> frozenset[str]:
    user = watcher.user
    return frozenset(job.job_id for job in jobs if user is not None and access.may_see(user, job))


def _time() -> float:
    return asyncio.get_running_loop().time()
