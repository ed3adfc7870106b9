"""The hub: hears of every watched job once per server process, and tells all its watchers.

One hub serves all sockets of an event loop. It owns the one channel in the channel layer (`membership`), re-checks
the store (`recheck`) and keeps, per job, the newest document and what each watcher was sent (`watching`).

How a watch is answered: the watcher is registered, then its login and the job are read, then the user is authorized,
then the newer of what was read and what was pushed meanwhile is sent; from then on only newer versions are. If the
watcher has a newer version than the store, the store is lifted above it first: pages drop what is older than what they
hold. The group is joined beside all that, and a change that falls between read and join is found by the re-check that
follows every join: so neither a slow layer nor the id of a stranger's job costs more than the read.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from weakref import WeakKeyDictionary

from immortus_channels import metrics, tracking
from immortus_channels.access import permissions
from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.jobs.job import Job
from immortus_channels.jobs.versions import is_believable
from immortus_channels.logs import Trouble
from immortus_channels.push import receivers
from immortus_channels.push.layer import has_shared_layer
from immortus_channels.push.messages import Push, Revocation
from immortus_channels.stores.base import Reading
from immortus_channels.websocket import frames
from immortus_channels.websocket.hub.authorization import LOGIN_CHANGED, Authorization
from immortus_channels.websocket.hub.ends import Ends
from immortus_channels.websocket.hub.recheck import Recheck
from immortus_channels.websocket.hub.subscription import Membership
from immortus_channels.websocket.hub.threads import Readers, Shared
from immortus_channels.websocket.hub.watched import Watched, Watcher

logger = logging.getLogger("immortus_channels")

_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def get_hub() -> Hub:
    """The hub of the running event loop, started if need be.

    Starting awaits nothing, so two sockets that connect at once get the same one.
    """
    loop = asyncio.get_running_loop()
    hub = _hubs.get(loop)
    if hub is None:
        hub = _hubs[loop] = Hub(loop)
    hub.stay()
    return hub


def layer_state() -> str:
    """How the channel layer serves the hubs of this process.

    `none`: there is no shared one; `idle`: nobody watches here, so nobody listens; else `ok`, once something was heard,
    or `failing`. Waits a moment for the first message of a hub that has just begun, in a thread without an event loop.
    """
    try:
        if not has_shared_layer():
            return "none"
    except Exception:  # noqa: BLE001 - a layer's settings may be no good, which its class finds out when it is made
        return "failing"
    states = {hub.is_hearing for hub in tuple(_hubs.values())}
    return "failing" if False in states else "ok" if states else "idle"


class Hub:
    """Who watches what on one event loop. Everything but `receive` is called on that loop."""

    IDLE = 30.0
    """Seconds without a watch after which the hub stops."""
    BACKOFF = (0.25, 4.0)
    """Seconds between tries to answer a watch while the store is silent."""
    LIFT_AGAIN = 5.0
    """Seconds until the same job is lifted again on a client's word, which costs a write."""
    LIFTED = 10_000
    DOUBT = 0.02
    """Seconds until a watch is looked at again whose watcher is in doubt."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.jobs: dict[str, Watched] = {}
        self._loop = loop
        self._began = time.monotonic()
        self._readers, self._asker = Readers(), Readers(threads=1)
        self.recheck = Recheck(self, self._readers, self._asker)
        self.authorization = Authorization(self, self._readers)
        self._ends = Ends(self, self._readers)
        self._membership = Membership(self.hear, self.authorization.reconsider)
        self._trouble = Trouble("Answering watches", "They are answered as soon as the store answers.")
        self._idle: asyncio.TimerHandle | None = None
        self._lifted: OrderedDict[str, float] = OrderedDict()
        """When jobs were lifted on a client's word, by the loop's clock."""
        self._answering: set[asyncio.Task[None]] = set()
        self._tasks = [
            loop.create_task(self._membership.run()),
            loop.create_task(self._ends.run()),
            loop.create_task(self.recheck.run()),
            loop.create_task(self.authorization.run()),
            loop.create_task(self.authorization.run_doubts()),
        ]
        receivers.add(self)
        self._rest_if_idle()

    # Watching

    async def watch(self, watcher: Watcher, job_id: str, have: int = 0) -> None:
        """Answer the watcher, who has version `have` of the job, and tell it of every newer one from then on."""
        watched = self._register(watcher, job_id)
        try:
            job = await self._believed(watcher, watched, have)
        except Exception:
            if watcher not in watched.sent:
                return
            logger.exception("The state of %r cannot be told", job_id, extra={"job_id": job_id})
            self._dismiss(watcher, watched, frames.strategy_error(job_id, authenticated=_is_authenticated(watcher)))
            return
        if watcher not in watched.sent:
            return
        if job is None:
            self.refuse(watcher, watched)
            return
        self._answer(watcher, watched, have)

    def unwatch(self, watcher: Watcher, job_id: str) -> None:
        """Tell the watcher no more of the job."""
        watched = self.jobs.get(job_id)
        if watched is None:
            return
        if watcher in watched.sent:
            metrics.WATCHES.add(-1)
            self.authorization.leave(watcher, watched)
        watched.forget(watcher)
        if not watched.is_answered():
            self._membership.leave(job_id)
        if not watched.sent:
            del self.jobs[job_id]
            self._rest_if_idle()

    def _register(self, watcher: Watcher, job_id: str) -> Watched:
        self._stop_resting()
        watched = self.jobs.get(job_id)
        if watched is None:
            watched = self.jobs[job_id] = Watched(
                job_id, Shared(lambda: self._readers.run(tracking.on_record, [job_id]))
            )
        if watcher not in watched.sent:
            watched.sent[watcher] = None
            metrics.WATCHES.add()
            self.authorization.enter(watcher, watched)
        return watched

    async def _believed(self, watcher: Watcher, watched: Watched, have: int) -> Job | None:
        """The job, if the watcher may see it, made newer than what the client has where that can be believed.

        A push of another attempt may be of somebody else's job: then what is on record must reach that attempt first.
        """
        while (job := await self._allowed(watcher, watched)) is not None:
            watched.job_class = job.job_class
            self.take(Push.of(job))
            ahead = have if have > watched.version else watched.version + 1 if watched.attempt > job.attempt else 0
            if not ahead or not is_believable(ahead):
                return job
            await self._believe(watched, ahead)
        return None

    async def _allowed(self, watcher: Watcher, watched: Watched) -> Job | None:
        """The job from a read that begins after this call, if the watcher may see it; waits for a silent store.

        None also when the watcher has left meanwhile.
        """
        delay, longest = self.BACKOFF
        while watcher in watched.sent:
            told = self.authorization.told_of(watcher)
            try:
                job = await self._shown(watcher, watched)
            except (StoreUnavailable, TimeoutError) as error:
                self._trouble.begin(error)
                await asyncio.sleep(delay * random.uniform(0.5, 1.5))  # noqa: S311 - spreads load
                delay = min(delay * 2, longest)
                continue
            if watcher not in watched.doubted and told == self.authorization.told_of(watcher):
                return job
            await asyncio.sleep(self.DOUBT)
        return None

    async def _shown(self, watcher: Watcher, watched: Watched) -> Job | None:
        """The job, if the watcher may see it, by what is on record from now on of it and of the watcher's login."""
        if not await self.authorization.login_holds(watcher):
            watcher.close(LOGIN_CHANGED)
            return None
        shown = await self._readers.run(_shown_to, watcher, watched.job_id, await watched.record.get())
        self._trouble.end()
        return shown

    def _answer(self, watcher: Watcher, watched: Watched, have: int) -> None:
        document = watched.newest
        assert document is not None  # noqa: S101 - what was read was taken just before
        watched.sent[watcher] = document.version
        self._membership.join(watched.job_id)  # now that somebody may see it: the layer hears of no id that was guessed
        answer = frames.current(watched.job_id, have) if have == document.version else document.snapshot
        watcher.tell(watched.job_id, answer)
        if document.is_last:
            self._end(watcher, watched)

    def refuse(self, watcher: Watcher, watched: Watched) -> None:
        """Tell the watcher that the job is unknown, which also means that it may not see it."""
        watcher.denied(watched.job_id)
        metrics.WATCHES_DENIED.add()
        self._dismiss(watcher, watched, frames.unknown_job(watched.job_id, authenticated=_is_authenticated(watcher)))

    def _dismiss(self, watcher: Watcher, watched: Watched, frame: str) -> None:
        watcher.tell(watched.job_id, frame)
        self._end(watcher, watched)

    def _end(self, watcher: Watcher, watched: Watched) -> None:
        self.unwatch(watcher, watched.job_id)
        watcher.ended(watched.job_id)

    async def _believe(self, watched: Watched, have: int) -> None:
        """There is a newer version than the store's, which may have gone back in time: then lift it above that."""
        try:
            job = (await watched.record.get()).jobs.get(watched.job_id)
            while job is not None and job.version < have and watched.sent:
                await self._lift(watched.job_id, have)
                job = (await watched.record.get()).jobs.get(watched.job_id)
        except (StoreUnavailable, TimeoutError) as error:
            self._trouble.begin(error)
        else:
            if job is not None:
                self.take(Push.of(job))

    async def _lift(self, job_id: str, have: int) -> None:
        """Lift the job, or wait until it may be lifted on a client's word again."""
        rest = self._lifted.get(job_id, -self.LIFT_AGAIN) + self.LIFT_AGAIN - self._loop.time()
        if rest > 0:
            await asyncio.sleep(rest)
            return
        self._lifted[job_id] = self._loop.time()
        self._lifted.move_to_end(job_id)
        if len(self._lifted) > self.LIFTED:
            self._lifted.popitem(last=False)
        await self.recheck.lift(job_id, have)

    # Telling

    def receive(self, push: Push) -> None:
        """Take a push from any thread of this process."""
        if push.job_id in self.jobs:
            self._from_thread(self.take, push)

    def reconsider(self, revocation: Revocation) -> None:
        """Take a revocation from any thread of this process."""
        self._from_thread(self.authorization.reconsider, revocation)

    def _from_thread(self, call: Callable[..., None], *told: Push | Revocation) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *told)
        except RuntimeError:  # the loop was closed without stopping us
            receivers.remove(self)

    def hear(self, push: Push) -> None:
        """Take a push that came through the layer; of an end the store is asked first."""
        if push.is_over:
            self._ends.confirm(push)
        else:
            self.take(push)

    def take(self, push: Push) -> None:
        """Hand a document to all who watch the job, if it is the newest."""
        watched = self.jobs.get(push.job_id)
        before = watched.newest if watched is not None else None
        if watched is None or not watched.take(push):
            return
        if before is not None and watched.begins_anew(before):
            self._ask_again(watched)
        self.catch_up(watched)

    def catch_up(self, watched: Watched) -> None:
        """Hand the newest document to those who watch the job and have an older one."""
        document = watched.newest
        if document is None:
            return
        for watcher in watched.behind():
            watched.sent[watcher] = document.version
            watcher.tell(watched.job_id, document.frame)
            if document.is_last:
                self._end(watcher, watched)

    def _ask_again(self, watched: Watched) -> None:
        """A job that was lost goes on, or one waits that did not; it may be somebody else's now who sent it anew.

        So everybody is told by a new answer to their watch, which looks at their right first.
        """
        for watcher in watched.behind():
            watched.sent[watcher] = None
            answering = self._loop.create_task(self._answer_again(watcher, watched))
            self._answering.add(answering)
            answering.add_done_callback(self._answering.discard)

    async def _answer_again(self, watcher: Watcher, watched: Watched) -> None:
        if watcher in watched.sent:
            await self.watch(watcher, watched.job_id)

    def give_up(self, job_id: str) -> None:
        """Tell all who watch the job that it is unknown: its record has gone."""
        watched = self.jobs.get(job_id)
        for watcher in tuple(watched.sent) if watched is not None else ():
            self.refuse(watcher, self.jobs[job_id])

    @property
    def joined(self) -> Mapping[str, float]:
        """When the groups of jobs were joined, by the loop's clock; without those whose pushes cannot be heard now."""
        return self._membership.joined

    def hears_revocations(self) -> bool:
        """Whether what other processes revoke arrives here."""
        return self._membership.hears_revocations

    def hearing_since(self) -> float:
        """Since when all that can be heard of revocations is, by the monotonic clock."""
        return max(self._began, self._membership.hearing_since)

    @property
    def is_hearing(self) -> bool:
        """Whether nothing is known to keep pushes from arriving here, and something has arrived."""
        return not self._membership.is_failing and self._membership.has_heard()

    def rejoin(self, job_id: str) -> None:
        """A push for the job was lost, although its group had been joined."""
        self._membership.rejoin(job_id)

    # Life

    def stay(self) -> None:
        """Somebody is about to watch: rest only after another while."""
        self._stop_resting()
        self._rest_if_idle()

    def _stop_resting(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _rest_if_idle(self) -> None:
        if not self.jobs and self._idle is None:
            self._idle = self._loop.call_later(self.IDLE, self.stop)

    def stop(self) -> None:
        """End everything at once; the next watch starts a new hub."""
        receivers.remove(self)
        if _hubs.get(self._loop) is self:
            del _hubs[self._loop]
        self._stop_resting()
        for task in (*self._tasks, *self._answering):
            task.cancel()
        self._readers.close()
        self._asker.close()

    async def stopped(self) -> None:
        """Stop, and wait until everything has ended, for two seconds at most."""
        self.stop()
        await asyncio.wait(self._tasks, timeout=2)


def _shown_to(watcher: Watcher, job_id: str, reading: Reading) -> Job | None:
    """In a thread: the job as it stands, if the watcher may see it; `Recheck` asks its strategy, which may be slow.

    About a job that nobody knows the same is asked, so that it takes as long as one that is refused.
    """
    job, user = reading.jobs.get(job_id), watcher.user
    if user is None:
        return None
    if job is None:
        permissions.would_see(user, Job(job_id=job_id, staff_only=True))
        return None
    return tracking.as_it_stands(job, reading.now) if permissions.may_see(user, job) else None


def _is_authenticated(watcher: Watcher) -> bool:
    return watcher.user is not None and watcher.user.is_authenticated
