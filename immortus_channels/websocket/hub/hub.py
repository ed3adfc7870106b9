"""The hub: it hears of every watched job once per server process and sends each change to all watchers of the job.

One hub serves all sockets of an event loop. It owns the process's one channel in the channel layer (`subscription`),
re-checks the store (`recheck`), checks permissions again (`authorization`) and keeps all watches (`watched`).

The hub answers a watch in this order. It registers the watcher, reads the login and the job, authorizes the user, and
sends the newer of two documents: the one it read, or one that was pushed meanwhile. From then on it sends newer
versions only. Where the watcher holds a newer version than the store, the hub first raises the store's version above
it, because pages drop what is older than what they hold. The hub joins the job's group beside all that; the re-check
that follows every join finds a change that falls between read and join. So neither a slow layer nor the id of another
user's job costs more than the read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from weakref import WeakKeyDictionary

from immortus_channels import metrics, tracking
from immortus_channels.logs import logger
from immortus_channels.push import receivers
from immortus_channels.push.layer import has_shared_layer
from immortus_channels.push.messages import Push, Revocation
from immortus_channels.websocket import frames
from immortus_channels.websocket.hub.authorization import Authorization
from immortus_channels.websocket.hub.ends import Ends
from immortus_channels.websocket.hub.lifetime import Lifetime
from immortus_channels.websocket.hub.reads import AuthorizedReads
from immortus_channels.websocket.hub.recheck import Recheck
from immortus_channels.websocket.hub.subscription import Subscription
from immortus_channels.websocket.hub.threads import Readers, Shared
from immortus_channels.websocket.hub.watched import Watched, Watcher, WatchTable, is_authenticated

_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def get_hub() -> Hub:
    """Return the hub of the running event loop, and start one if there is none.

    Starting awaits nothing, so two sockets that connect at once get the same hub.
    """
    loop = asyncio.get_running_loop()
    hub = _hubs.get(loop)
    if hub is None:
        hub = _hubs[loop] = Hub(loop)
    hub.lifetime.renew()
    return hub


def layer_state() -> str:
    """Return how the channel layer serves the hubs of this process.

    `none`: there is no shared layer; `idle`: nothing is watched here, so no hub listens; `ok`: the hubs hear messages;
    `failing`: some hub does not. In a thread without an event loop this waits a moment for the first message of a hub
    that has just begun.
    """
    try:
        if not has_shared_layer():
            return "none"
    except Exception:  # noqa: BLE001 - the layer's class finds out about wrong settings when it is made
        return "failing"
    states = {hub.subscription.is_hearing() for hub in tuple(_hubs.values())}
    return "failing" if False in states else "ok" if states else "idle"


class Hub:
    """Answers all watches on one event loop. Only `receive` and `reconsider` may be called from other threads."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._readers, self._asker = Readers(), Readers(threads=1)
        self.table = WatchTable(self._left, self._answer_again)
        self.lifetime = Lifetime(loop, self.table, self._release)
        self.subscription = Subscription(self.hear, self.hear_revocation)
        self.recheck = Recheck(self.table, self.subscription, self._readers, self._asker)
        self.authorization = Authorization(self.table, self.subscription, self._readers)
        self._ends = Ends(self.table, self._readers)
        self._reads = AuthorizedReads(self.table, self.authorization, self.recheck, self._readers)
        for part in (self.subscription.run(), self._ends.run(), self.recheck.run(), self.authorization.run()):
            self.lifetime.run(part)
        self.lifetime.run(self.authorization.run_doubts())
        receivers.add(self)

    def _release(self) -> None:
        receivers.remove(self)
        if _hubs.get(self._loop) is self:
            del _hubs[self._loop]
        self._readers.close()
        self._asker.close()

    # Watches

    async def watch(self, watcher: Watcher, job_id: str, have: int = 0) -> None:
        """Answer the watcher, which has version `have` of the job, and send it every newer version from then on."""
        watched = self._register(watcher, job_id)
        try:
            job = await self._reads.read_above(watcher, watched, have)
        except Exception:
            if watcher not in watched.sent:
                return
            logger.exception("The state of %r is not available", job_id, extra={"job_id": job_id})
            frame = frames.strategy_error(job_id, authenticated=is_authenticated(watcher))
            self.table.end(watcher, watched, frame)
            return
        if watcher not in watched.sent:
            return
        if job is None:
            self.table.refuse(watcher, watched)
            return
        self._send_snapshot(watcher, watched, have)

    def unwatch(self, watcher: Watcher, job_id: str) -> None:
        """Send the watcher nothing more about the job."""
        self.table.remove(watcher, job_id)

    def _register(self, watcher: Watcher, job_id: str) -> Watched:
        watched = self.table.jobs.get(job_id)
        if watched is None:
            record = Shared(lambda: self._readers.run(tracking.on_record, [job_id]))
            watched = self.table.jobs[job_id] = Watched(job_id, record)
            self.lifetime.renew()
        if watcher not in watched.sent:
            watched.sent[watcher] = None
            metrics.WATCHES.add()
            self.authorization.add(watcher, watched)
        return watched

    def _left(self, watcher: Watcher, watched: Watched) -> None:
        metrics.WATCHES.add(-1)
        self.authorization.remove(watcher, watched)
        if not watched.is_answered():
            self.subscription.leave(watched.job_id)
        if not self.table.jobs:
            self.lifetime.renew()

    def _answer_again(self, watcher: Watcher, watched: Watched) -> None:
        async def answer() -> None:
            if watcher in watched.sent:
                await self.watch(watcher, watched.job_id)

        self.lifetime.run(answer())

    def _send_snapshot(self, watcher: Watcher, watched: Watched, have: int) -> None:
        """Send the newest document, or that the client has it already."""
        document = watched.newest
        assert document is not None  # noqa: S101 - the table took what was read just before
        watched.sent[watcher] = document.version
        self.subscription.join(watched.job_id)  # only now: the layer never hears of an id that was guessed
        answer = frames.current(watched.job_id, have) if have == document.version else document.snapshot
        watcher.tell(watched.job_id, answer)
        if document.is_last:
            self.table.end(watcher, watched)

    # Pushes

    def receive(self, push: Push) -> None:
        """Take a push from any thread of this process."""
        if push.job_id in self.table.jobs:
            self._call_from_thread(self.table.deliver, push)

    def reconsider(self, revocation: Revocation) -> None:
        """Take a revocation from any thread of this process."""
        self._call_from_thread(self.authorization.reconsider, revocation)

    def _call_from_thread(self, call: Callable[..., None], message: Push | Revocation) -> None:
        try:
            self._loop.call_soon_threadsafe(call, message)
        except RuntimeError:  # the loop was closed without stopping us
            receivers.remove(self)

    def hear(self, push: Push) -> None:
        """Take a push that came through the layer; before an end is delivered, the store must confirm it."""
        if push.is_over:
            self._ends.confirm(push)
        else:
            self.table.deliver(push)

    def hear_revocation(self, revocation: Revocation) -> None:
        """Take a revocation that came through the layer."""
        self.authorization.reconsider(revocation)
