"""Asks again whether those who watch still may: regularly, and at once when somebody's rights may have gone."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

from immortus_channels import tracking
from immortus_channels.access import permissions
from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.jobs.job import Job
from immortus_channels.jobs.owner import owner_key
from immortus_channels.logs import Trouble
from immortus_channels.push.messages import EVERYBODY, Revocation
from immortus_channels.websocket.hub.threads import Readers, Shared
from immortus_channels.websocket.hub.watched import Watched, Watcher

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

    def hearing_since(self) -> float:
        """Since when all that can be heard of revocations is, by the monotonic clock."""
        ...

    def refuse(self, watcher: Watcher, watched: Watched) -> None:
        """End a watch as if the job were unknown."""
        ...

    def catch_up(self, watched: Watched) -> None:
        """Tell the newest document to those who were not."""
        ...


class Standing:
    """How one watcher stands here."""

    def __init__(self, login: Shared[bool]) -> None:
        """`login` reads whether its login holds."""
        self.login = login
        self.watches: set[Watched] = set()
        self.told = 0
        """How many revocations have been about it."""
        self.look: asyncio.TimerHandle | None = None
        """When it is asked the next time because of the last one."""


class Authorization:
    """Authorizes every watcher of a hub again, one after the other, every `INTERVAL` seconds or when asked.

    Whoever a revocation is about is told nothing until they were asked, and is asked `AGAIN`: a logout is told of
    before the session is gone, and a replica may be behind. That holds for who begins to watch shortly after it too.
    """

    INTERVAL = 300.0
    DEAF_INTERVAL = 30.0
    """Where no revocation of another process is heard."""
    AGAIN = (0.5, 2.0, 8.0)
    """Seconds until the next look, after each."""
    FRESH = 2.0
    """Seconds for which a login is believed that was read while nothing was heard of any revocation."""
    REST = 0.1
    """Seconds between two whom nobody is in doubt about, at most."""
    REMEMBERED = 1_000
    """Revocations that whoever begins to watch is compared with, at most."""

    def __init__(self, hub: Authorized, readers: Readers) -> None:
        self._hub = hub
        self._readers = readers
        self._standings: dict[Watcher, Standing] = {}
        self._doubts: OrderedDict[Watcher, None] = OrderedDict()
        self._lately: dict[Revocation, float] = {}
        """When each was heard of the last time, the oldest first."""
        self._heard_at = -math.inf
        """When a revocation was heard of, whoever it was about, by the monotonic clock."""
        self._bell = asyncio.Event()
        self._trouble = Trouble(
            "Authorizing watchers again", "Those whose rights were not revoked keep them meanwhile."
        )

    # Who is here

    def enter(self, watcher: Watcher, watched: Watched) -> None:
        """The watcher begins to watch the job."""
        standing = self._standings.get(watcher)
        if standing is None:
            login = Shared(lambda: self._readers.run(_login_holds, watcher))
            standing = self._standings[watcher] = Standing(login)
        standing.watches.add(watched)
        if self._was_lately_about(watcher, watched):
            self._look_again(watcher, standing)

    def _was_lately_about(self, watcher: Watcher, watched: Watched) -> bool:
        """Whether the watcher's rights, or those to the job, may have gone; whose a token is may not be known yet."""
        about: Iterable[Revocation] = (Revocation(user=_key(watcher)), Revocation(job_id=watched.job_id))
        if watcher.user is None:
            about = [each for each in self._lately if each.user or each.job_id == watched.job_id]
        return any(_time() - self._lately.get(each, -math.inf) < sum(self.AGAIN) for each in about)

    def leave(self, watcher: Watcher, watched: Watched) -> None:
        """The watcher watches the job no more."""
        standing = self._standings[watcher]
        standing.watches.discard(watched)
        if not standing.watches:
            del self._standings[watcher]
            self._doubts.pop(watcher, None)
            if standing.look is not None:
                standing.look.cancel()

    async def login_holds(self, watcher: Watcher) -> bool:
        """Whether the watcher's login holds, by a read that begins after this call, or as good. Raises as `check`.

        A handshake has read the login, mostly just before: a second read for each socket would cost a third of opening
        it. The watcher is registered already, so what is revoked from now on is heard of as well.
        """
        standing = self._standings.get(watcher)
        unheard_since = max(self._heard_at, self._hub.hearing_since(), time.monotonic() - self.FRESH)
        return standing is None or watcher.login_read_at > unheard_since or await standing.login.get()

    def told_of(self, watcher: Watcher) -> int:
        """How many revocations have been about the watcher while it watches."""
        standing = self._standings.get(watcher)
        return 0 if standing is None else standing.told

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
            for watcher in tuple(self._standings):
                await self._try_in_peace(watcher)

    async def _try_in_peace(self, watcher: Watcher) -> None:
        """Ask, and rest: thousands without a rest between would keep a core busy for ten seconds."""
        began = _time()
        await self._try(watcher)
        await asyncio.sleep(min(3 * (_time() - began), self.REST))

    async def _try(self, watcher: Watcher) -> Collection[Watched] | None:
        """As `check`; None when nobody could tell."""
        try:
            left_open = await self.check(watcher)
        except Exception as error:  # noqa: BLE001 - whoever cannot be asked takes nobody's right away
            self._trouble.begin(error)
            return None
        return left_open

    async def check(self, watcher: Watcher) -> Collection[Watched]:
        """Authorize one watcher for all it watches; of which jobs it stays open whether it may see them.

        Those are the jobs whose records are gone, perhaps to come back, and all of a watcher whose login has ended.
        Raises StoreUnavailable or TimeoutError when nobody can tell.
        """
        standing = self._standings.get(watcher)
        if standing is None:
            return ()
        if not await standing.login.get():
            left = tuple(standing.watches)
            watcher.close(LOGIN_CHANGED)
            return left
        watches = [watched for watched in standing.watches if watched.sent.get(watcher) is not None]
        reading = await self._readers.run(tracking.on_record, [watched.job_id for watched in watches])
        seen = await self._readers.run(_seen_by, watcher, reading.jobs.values())
        if watches:  # else the store had nothing to answer
            self._trouble.end()
        for watched in watches:
            if watched.job_id in reading.jobs and watched.job_id not in seen and watcher in watched.sent:
                self._hub.refuse(watcher, watched)
        return [watched for watched in watches if watched.job_id not in reading.jobs]

    # At once

    def reconsider(self, revocation: Revocation) -> None:
        """Doubt whoever it is about, and ask them soon. Everybody is only asked, staff first: that may take a while."""
        self._remember(revocation)
        for watcher, watches in self._concerned(revocation):
            standing = self._standings[watcher]
            standing.told += 1
            self._doubt(watcher)
            if revocation.user != EVERYBODY:
                for watched in watches:
                    watched.doubt(watcher)
                self._look_again(watcher, standing)

    def _remember(self, revocation: Revocation) -> None:
        self._heard_at = time.monotonic()
        self._lately.pop(revocation, None)
        self._lately[revocation] = _time()
        if len(self._lately) > self.REMEMBERED:
            del self._lately[next(iter(self._lately))]

    def _concerned(self, revocation: Revocation) -> Iterable[tuple[Watcher, Collection[Watched]]]:
        if revocation.job_id is not None:
            watched = self._hub.jobs.get(revocation.job_id)
            return [(watcher, [watched]) for watcher in watched.sent] if watched is not None else []
        found = [
            (watcher, standing.watches)
            for watcher, standing in self._standings.items()
            if revocation.user == EVERYBODY or watcher.user is None or _key(watcher) == revocation.user
        ]
        return sorted(found, key=lambda each: not getattr(each[0].user, "is_staff", False))

    def _doubt(self, watcher: Watcher) -> None:
        self._doubts[watcher] = None
        self._bell.set()

    def _look_again(self, watcher: Watcher, standing: Standing, nth: int = 0) -> None:
        """Ask when the `nth` pause after the last revocation is over, and then after those that follow."""

        def look() -> None:
            standing.look = None
            self._doubt(watcher)
            if nth + 1 < len(self.AGAIN):
                self._look_again(watcher, standing, nth + 1)

        if standing.look is not None:
            standing.look.cancel()
        standing.look = asyncio.get_running_loop().call_later(self.AGAIN[nth], look)

    async def run_doubts(self) -> None:
        """Ask those in doubt, one after the other, until cancelled."""
        while True:
            self._bell.clear()
            while self._doubts:
                await self._settle(self._doubts.popitem(last=False)[0])
            await self._bell.wait()

    async def _settle(self, watcher: Watcher) -> None:
        """Ask, and trust again whoever still may; what is revoked meanwhile counts anew."""
        standing = self._standings.get(watcher)
        if standing is None:
            return
        doubts = {watched for watched in standing.watches if watcher in watched.doubted}
        asked = await self._try(watcher)
        left_open = doubts if asked is None else doubts.intersection(asked)
        if (asked is None or left_open) and watcher in self._standings:
            self._look_again(watcher, standing)
        if watcher not in self._doubts:
            for watched in doubts - left_open:
                watched.doubted.discard(watcher)
                self._hub.catch_up(watched)


def _login_holds(watcher: Watcher) -> bool:
    """In a thread: whether the login holds. Whatever keeps a session from being read is no reason to end a watch."""
    try:
        return watcher.still_logged_in()
    except Exception as error:
        msg = f"Nobody can tell whether a login holds: {type(error).__name__}"
        raise StoreUnavailable(msg) from error


def _seen_by(watcher: Watcher, jobs: Collection[Job]) -> frozenset[str]:
    user = watcher.user
    return frozenset(job.job_id for job in jobs if user is not None and permissions.may_see(user, job))


def _key(watcher: Watcher) -> str | None:
    return owner_key(watcher.user)


def _time() -> float:
    return asyncio.get_running_loop().time()
