"""What is watched in this process: per job its newest document, and which version each watcher was sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Protocol

from immortus_channels import metrics
from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.push.messages import Push
from immortus_channels.stores.base import Reading
from immortus_channels.tracking.rules import User
from immortus_channels.websocket import frames
from immortus_channels.websocket.frames import Document
from immortus_channels.websocket.hub.threads import Readers, Shared


class Watcher(Protocol):
    """A socket as the hub sees it.

    The hub calls `still_logged_in` in a thread and everything else on the event loop, where a watcher must neither
    block nor raise.
    """

    @property
    def user(self) -> User | None:
        """The user who watches; None until `still_logged_in` has read it."""
        ...

    @property
    def login_read_at(self) -> float:
        """The earliest time at which the login may have been read last, by the monotonic clock."""
        ...

    def tell(self, job_id: str, frame: str) -> None:
        """Send this frame about the job, in place of any earlier one about it that is still unsent."""
        ...

    def withdraw(self, job_id: str) -> bool:
        """Drop the unsent frame about the job; return whether there was one."""
        ...

    def ended(self, job_id: str) -> None:
        """Note that the hub has ended the watch and will send nothing more about the job."""
        ...

    def denied(self, job_id: str) -> None:
        """Note that the job is unknown, or that this watcher may not see it."""
        ...

    def still_logged_in(self) -> bool:
        """Read again, in a thread, whether the login that the socket was opened with holds."""
        ...

    def close(self, code: int) -> None:
        """Close the socket with this code."""
        ...


class Watched:
    """A job for as long as it has watchers."""

    def __init__(self, job_id: str, record: Shared[Reading]) -> None:
        """`record` reads the job from the store."""
        self.job_id = job_id
        self.record = record
        self.job_class = ""
        self.newest: Document | None = None
        self.sent: dict[Watcher, int | None] = {}
        """The version last handed to each watcher; None until the hub has authorized and answered its watch."""
        self.doubted: set[Watcher] = set()
        """The watchers that receive nothing until the hub has checked again whether they may see the job."""
        self.checked_at = float("-inf")
        """The loop's time at which the last successful re-check of this job began."""
        self.missing_since: float | None = None

    @property
    def version(self) -> int:
        """The newest version known here; 0 for none."""
        return 0 if self.newest is None else self.newest.version

    @property
    def attempt(self) -> int:
        """The attempt of the newest document known here; 0 for none."""
        return 0 if self.newest is None else self.newest.attempt

    def is_answered(self) -> bool:
        """Return whether the hub has answered any watch of the job."""
        return any(sent is not None for sent in self.sent.values())

    def take(self, push: Push) -> bool:
        """Keep the document if it is the newest; return whether it is."""
        if push.version <= self.version:
            return False
        self.newest = Document(push)
        return True

    def may_have_a_new_owner(self, before: Document) -> bool:
        """Return whether a new life or attempt may have begun since `before`: another user may have sent the job."""
        now = self.newest
        assert now is not None  # noqa: S101 - it was just taken
        return before.is_over or now.attempt != before.attempt or (now.is_queued and not before.is_queued)

    def forget(self, watcher: Watcher) -> None:
        """Remove the watcher."""
        self.sent.pop(watcher, None)
        self.doubted.discard(watcher)

    def doubt(self, watcher: Watcher) -> None:
        """Send the watcher nothing, not even what waits to be sent, until its permission has been checked again."""
        self.doubted.add(watcher)
        if watcher.withdraw(self.job_id) and self.sent[watcher] is not None:
            self.sent[watcher] = 0

    def behind(self) -> Iterator[Watcher]:
        """Yield the watchers that were answered, but not with the newest document; leave out the doubted ones."""
        version, doubted = self.version, self.doubted
        for watcher, sent in tuple(self.sent.items()):
            if sent is not None and sent < version and watcher not in doubted:
                yield watcher


class Standing:
    """A watcher for as long as it watches: its jobs, and when its permissions are checked next."""

    def __init__(self, watcher: Watcher, readers: Readers) -> None:
        self.login = Shared(lambda: readers.run(_login_holds, watcher))
        """Reads whether the watcher's login holds."""
        self.watches: set[Watched] = set()
        self.revocations = 0
        """How many revocations have concerned the watcher."""
        self.next_check: asyncio.TimerHandle | None = None
        """The next check that the last revocation calls for."""


def _login_holds(watcher: Watcher) -> bool:
    """Return whether the login holds. Called in a thread; a session that cannot be read does not end a watch."""
    try:
        return watcher.still_logged_in()
    except Exception as error:
        msg = f"It is unknown whether a login still holds: {type(error).__name__}"
        raise StoreUnavailable(msg) from error


class WatchTable:
    """All watches of one hub. It delivers documents to the watchers and ends watches; it reads nothing itself."""

    def __init__(
        self, left: Callable[[Watcher, Watched], None], answer_again: Callable[[Watcher, Watched], None]
    ) -> None:
        """`left` is called after each end of a watch, `answer_again` where a watcher needs a new authorized answer."""
        self.jobs: dict[str, Watched] = {}
        self._left = left
        self._answer_again = answer_again

    def remove(self, watcher: Watcher, job_id: str) -> None:
        """End the watch, if there is one, without a word to the watcher."""
        watched = self.jobs.get(job_id)
        if watched is None or watcher not in watched.sent:
            return
        watched.forget(watcher)
        if not watched.sent:
            del self.jobs[job_id]
        self._left(watcher, watched)

    def end(self, watcher: Watcher, watched: Watched, frame: str | None = None) -> None:
        """End the watch, with this frame as its last, and let the watcher know that it has ended."""
        if frame is not None:
            watcher.tell(watched.job_id, frame)
        self.remove(watcher, watched.job_id)
        watcher.ended(watched.job_id)

    def refuse(self, watcher: Watcher, watched: Watched) -> None:
        """End the watch as if the job were unknown; a watcher that may not see the job gets the same answer."""
        watcher.denied(watched.job_id)
        metrics.WATCHES_DENIED.add()
        self.end(watcher, watched, frames.unknown_job(watched.job_id, authenticated=is_authenticated(watcher)))

    def give_up(self, watched: Watched) -> None:
        """End all watches of the job, whose record has gone, as if it were unknown."""
        for watcher in tuple(watched.sent):
            self.refuse(watcher, watched)

    def deliver(self, push: Push) -> None:
        """Send a document to all watchers of the job, if it is the newest.

        Where the job may have a new owner (a lost job that was revived, a job that was sent again), each watcher gets a
        new answer to its watch instead, which checks its permission first.
        """
        watched = self.jobs.get(push.job_id)
        before = watched.newest if watched is not None else None
        if watched is None or not watched.take(push):
            return
        if before is not None and watched.may_have_a_new_owner(before):
            for watcher in watched.behind():
                watched.sent[watcher] = None
                self._answer_again(watcher, watched)
        self.send_newest(watched)

    def send_newest(self, watched: Watched) -> None:
        """Send the newest document to the watchers of the job that have an older one."""
        document = watched.newest
        if document is None:
            return
        for watcher in watched.behind():
            watched.sent[watcher] = document.version
            watcher.tell(watched.job_id, document.frame)
            if document.is_last:
                self.end(watcher, watched)


def is_authenticated(watcher: Watcher) -> bool:
    """Return whether a user is logged in on the watcher's side."""
    return watcher.user is not None and watcher.user.is_authenticated
