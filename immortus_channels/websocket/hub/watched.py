"""One watched job: its newest document, and which version each watcher was sent of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from immortus_channels.push.messages import Push
from immortus_channels.stores.base import Reading
from immortus_channels.websocket.frames import Document
from immortus_channels.websocket.hub.threads import Shared

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser
    from django.contrib.auth.models import AnonymousUser


class Watcher(Protocol):
    """A socket as the hub sees it. All but `still_logged_in` is called on the event loop: never block, never raise."""

    @property
    def user(self) -> AbstractBaseUser | AnonymousUser | None:
        """Who is looking; None until `still_logged_in` has read it."""
        ...

    @property
    def login_read_at(self) -> float:
        """When the login was read the last time, at the earliest, by the monotonic clock."""
        ...

    def tell(self, job_id: str, frame: str) -> None:
        """Send this frame about the job, in place of any other about it that was not sent yet."""
        ...

    def withdraw(self, job_id: str) -> bool:
        """Send nothing about the job that was not sent yet; whether there was anything."""
        ...

    def ended(self, job_id: str) -> None:
        """The watch is over; nothing more will be told of the job."""
        ...

    def denied(self, job_id: str) -> None:
        """The job is unknown, or not for this watcher to see."""
        ...

    def still_logged_in(self) -> bool:
        """Whether the login the socket was opened with holds; reads it again, so it is called in a thread."""
        ...

    def close(self, code: int) -> None:
        """Close the socket with this code."""
        ...


class Watched:
    """A job while somebody watches it."""

    def __init__(self, job_id: str, record: Shared[Reading]) -> None:
        """`record` reads what is on record of it."""
        self.job_id = job_id
        self.record = record
        self.job_class = ""
        self.newest: Document | None = None
        self.sent: dict[Watcher, int | None] = {}
        """The version last handed to each watcher; None until its watch is answered, which also authorizes it."""
        self.doubted: set[Watcher] = set()
        """Those who are told nothing until somebody has asked again whether they may see the job."""
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
        """Whether anybody was told anything of the job yet."""
        return any(sent is not None for sent in self.sent.values())

    def take(self, push: Push) -> bool:
        """Keep the document if it is the newest; whether it is."""
        if push.version <= self.version:
            return False
        self.newest = Document(push)
        return True

    def begins_anew(self, before: Document) -> bool:
        """Whether what is told now may be another's job: it was over, or is another attempt, or waits and did not."""
        now = self.newest
        assert now is not None  # noqa: S101 - it was just taken
        return before.is_over or now.attempt != before.attempt or (now.is_queued and not before.is_queued)

    def forget(self, watcher: Watcher) -> None:
        """The watcher watches it no more."""
        self.sent.pop(watcher, None)
        self.doubted.discard(watcher)

    def doubt(self, watcher: Watcher) -> None:
        """Tell the watcher nothing until it was asked again, not even what it was told and has not been sent."""
        self.doubted.add(watcher)
        if watcher.withdraw(self.job_id) and self.sent[watcher] is not None:
            self.sent[watcher] = 0

    def behind(self) -> Iterator[Watcher]:
        """The watchers who were answered, but not with the newest document; the doubted left out."""
        for watcher, sent in tuple(self.sent.items()):
            if sent is not None and sent < self.version and watcher not in self.doubted:
                yield watcher
