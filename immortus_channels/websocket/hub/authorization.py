"""Checks regularly whether watchers may still see their jobs, and at once when a revocation arrives."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import OrderedDict
from collections.abc import Collection, Iterable

from immortus_channels import tracking
from immortus_channels.access import permissions
from immortus_channels.jobs.job import Job
from immortus_channels.jobs.owner import owner_key
from immortus_channels.keys import key_of
from immortus_channels.logs import Trouble
from immortus_channels.push.messages import EVERYBODY, Revocation
from immortus_channels.recent import Recent
from immortus_channels.websocket.hub.subscription import Subscription
from immortus_channels.websocket.hub.threads import Readers
from immortus_channels.websocket.hub.watched import Standing, Watched, Watcher, WatchTable

LOGIN_CHANGED = 4401


class Authorization:
    """Authorizes all watchers of a hub again, one after the other: every `INTERVAL` seconds and after revocations.

    A watcher that a revocation concerns receives nothing until it has been checked. The check is repeated `AGAIN`: a
    logout is announced before the session has gone, and a replica may lag behind. The same holds for a watcher that
    begins to watch shortly after the revocation.
    """

    INTERVAL = 300.0
    DEAF_INTERVAL = 30.0
    """Seconds between checks where revocations of other processes do not arrive."""
    AGAIN = (0.5, 2.0, 8.0)
    """Seconds until the first check after a revocation, and then until each next one."""
    FRESH = 2.0
    """Seconds for which a login that was read counts as valid, provided that no revocation has arrived since."""
    REST = 0.1
    """The longest pause, in seconds, between two watchers in a regular check."""
    REMEMBERED = 1_000
    """How many revocations are kept at most, to compare new watchers with."""

    def __init__(self, table: WatchTable, subscription: Subscription, readers: Readers) -> None:
        self._table = table
        self._subscription = subscription
        self._readers = readers
        self._standings: dict[Watcher, Standing] = {}
        self._doubts: OrderedDict[Watcher, None] = OrderedDict()
        self._recent: Recent[Revocation, float] = Recent(self.REMEMBERED)
        """When each revocation arrived last, by the loop's clock."""
        self._unrevoked_since = time.monotonic()
        """When the last revocation arrived, or the hub began to listen for them, by the monotonic clock."""
        self._bell = asyncio.Event()
        self._trouble = Trouble("Authorizing watchers again", "Watchers that no revocation concerns keep watching.")

    # Watchers

    def add(self, watcher: Watcher, watched: Watched) -> None:
        """Add a watch; check it soon if a recent revocation may concern it."""
        standing = self._standings.get(watcher)
        if standing is None:
            standing = self._standings[watcher] = Standing(watcher, self._readers)
        standing.watches.add(watched)
        if self._is_concerned_lately(watcher, watched):
            self._check_later(watcher, standing)

    def _is_concerned_lately(self, watcher: Watcher, watched: Watched) -> bool:
        """Return whether a recent revocation may concern the watcher or the job; a token's user may be unknown yet."""
        users = [Revocation(user=key) for key in _keys(watcher)]
        about: Iterable[Revocation] = (*users, Revocation(job_id=watched.job_id))
        if watcher.user is None:
            about = [each for each in self._recent if each.user or each.job_id == watched.job_id]
        return any(_time() - self._recent.get(each, -math.inf) < sum(self.AGAIN) for each in about)

    def remove(self, watcher: Watcher, watched: Watched) -> None:
        """Remove a watch."""
        standing = self._standings[watcher]
        standing.watches.discard(watched)
        if not standing.watches:
            del self._standings[watcher]
            self._doubts.pop(watcher, None)
            if standing.next_check is not None:
                standing.next_check.cancel()

    async def login_holds(self, watcher: Watcher) -> bool:
        """Return whether the watcher's login holds, by a read that begins after this call or is as good as one.

        The handshake has usually read the login just before; a second read for each socket would add a third to the
        cost of opening it. The watcher is registered already, so later revocations reach it as well. Raises what
        `check` raises.
        """
        standing = self._standings.get(watcher)
        certain_since = max(self._unrevoked_since, self._subscription.hearing_since, time.monotonic() - self.FRESH)
        return standing is None or watcher.login_read_at > certain_since or await standing.login.get()

    def revocations_about(self, watcher: Watcher) -> int:
        """Return how many revocations have concerned the watcher since it began to watch."""
        standing = self._standings.get(watcher)
        return 0 if standing is None else standing.revocations

    # Regular checks

    async def run(self) -> None:
        """Authorize all watchers regularly, until cancelled."""
        step = min(self.INTERVAL, self.DEAF_INTERVAL)
        last = _time()
        while True:
            await asyncio.sleep(step * random.uniform(0.85, 1.15))  # noqa: S311 - spreads load
            if self._subscription.hears_revocations and _time() - last < self.INTERVAL - step / 2:
                continue
            last = _time()
            for watcher in tuple(self._standings):
                began = _time()
                await self._try(watcher)
                # Thousands of checks without a pause would keep a core busy for ten seconds.
                await asyncio.sleep(min(3 * (_time() - began), self.REST))

    async def _try(self, watcher: Watcher) -> Collection[Watched] | None:
        """Check the watcher as `check` does, but return None where that raises."""
        try:
            left_open = await self.check(watcher)
        except Exception as error:  # noqa: BLE001 - a check that fails takes no permission away
            self._trouble.begin(error)
            return None
        return left_open

    async def check(self, watcher: Watcher) -> Collection[Watched]:
        """Authorize the watcher for all that it watches; return the jobs for which the answer stays open.

        The answer stays open for jobs whose records have gone, perhaps to come back, and for all jobs of a watcher
        whose login has ended. Raises StoreUnavailable or TimeoutError when login or records cannot be read.
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
        visible = await self._readers.run(_visible_to, watcher, reading.jobs.values())
        if watches:  # else the store was not asked
            self._trouble.end()
        for watched in watches:
            if watched.job_id in reading.jobs and watched.job_id not in visible and watcher in watched.sent:
                self._table.refuse(watcher, watched)
        return [watched for watched in watches if watched.job_id not in reading.jobs]

    # After a revocation

    def reconsider(self, revocation: Revocation) -> None:
        """Doubt all watchers that the revocation concerns, and check them soon.

        A revocation for all users puts all watchers in line for a check, staff first. They keep receiving documents
        meanwhile, as the checks may take a while.
        """
        self._unrevoked_since = time.monotonic()
        self._recent[revocation] = _time()
        for watcher, watches in self._concerned(revocation):
            standing = self._standings[watcher]
            standing.revocations += 1
            self._line_up(watcher)
            if revocation.user != EVERYBODY:
                for watched in watches:
                    watched.doubt(watcher)
                self._check_later(watcher, standing)

    def _concerned(self, revocation: Revocation) -> Iterable[tuple[Watcher, Collection[Watched]]]:
        if revocation.job_id is not None:
            watched = self._table.jobs.get(revocation.job_id)
            return [(watcher, [watched]) for watcher in watched.sent] if watched is not None else []
        found = [
            (watcher, standing.watches)
            for watcher, standing in self._standings.items()
            if revocation.user == EVERYBODY or watcher.user is None or revocation.user in _keys(watcher)
        ]
        return sorted(found, key=lambda each: not getattr(each[0].user, "is_staff", False))

    def _line_up(self, watcher: Watcher) -> None:
        self._doubts[watcher] = None
        self._bell.set()

    def _check_later(self, watcher: Watcher, standing: Standing, nth: int = 0) -> None:
        """Check the watcher after the `nth` pause, and again after each pause that follows."""

        def check() -> None:
            standing.next_check = None
            self._line_up(watcher)
            if nth + 1 < len(self.AGAIN):
                self._check_later(watcher, standing, nth + 1)

        if standing.next_check is not None:
            standing.next_check.cancel()
        standing.next_check = asyncio.get_running_loop().call_later(self.AGAIN[nth], check)

    async def run_doubts(self) -> None:
        """Check the watchers in doubt, one after the other, until cancelled."""
        while True:
            self._bell.clear()
            while self._doubts:
                await self._settle(self._doubts.popitem(last=False)[0])
            await self._bell.wait()

    async def _settle(self, watcher: Watcher) -> None:
        """Check the watcher, and send it documents again where it may see them, unless another revocation came."""
        standing = self._standings.get(watcher)
        if standing is None:
            return
        doubts = {watched for watched in standing.watches if watcher in watched.doubted}
        checked = await self._try(watcher)
        left_open = doubts if checked is None else doubts.intersection(checked)
        if (checked is None or left_open) and watcher in self._standings:
            self._check_later(watcher, standing)
        if watcher not in self._doubts:
            for watched in doubts - left_open:
                watched.doubted.discard(watcher)
                self._table.send_newest(watched)


def _visible_to(watcher: Watcher, jobs: Collection[Job]) -> frozenset[str]:
    user = watcher.user
    return frozenset(job.job_id for job in jobs if user is not None and permissions.may_see(user, job))


def _keys(watcher: Watcher) -> tuple[str, ...]:
    """Return the keys by which a revocation may name the user: in their namespace, and where all share the users."""
    key = owner_key(watcher.user)
    return () if key is None else (key_of(watcher.namespace, key), key)


def _time() -> float:
    return asyncio.get_running_loop().time()
