"""Taking away what somebody sees: has every server process ask again who may see what, at once.

A revocation grants nothing and ends nothing by itself: it names a user or a job, and whoever hears it asks the usual
questions again. So it needs no secret, may be lost (then the regular check is the worst case) and may be forged.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from dataclasses import dataclass
from typing import Self

from django.db import transaction
from django.utils.crypto import salted_hmac

from immortus_channels import queues
from immortus_channels.guarded import quoted
from immortus_channels.jobs.ids import is_job_id, text_of
from immortus_channels.jobs.owner import owner_key
from immortus_channels.push import broadcaster
from immortus_channels.push.broadcaster import Broadcaster

logger = logging.getLogger("immortus_channels")

MESSAGE_TYPE = "immortus.access"
EVERYBODY = ""
"""In place of a user's key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """Whose rights, or rights to which job, may have gone."""

    user: str | None = None
    job_id: str | None = None

    def to_message(self) -> dict[str, object]:
        """The channel layer message."""
        named = {"user": self.user, "job_id": self.job_id}
        return {"type": MESSAGE_TYPE, **{key: value for key, value in named.items() if value is not None}}

    @classmethod
    def from_message(cls, message: object) -> Self | None:
        """The revocation in a channel layer message; None when it is not one of ours."""
        match message:
            case {"type": "immortus.access", "job_id": job_id} if is_job_id(job_id):
                return cls(job_id=job_id)
            case {"type": "immortus.access", "user": str(user)} if len(user) <= _LONGEST_KEY:
                return cls(user=user)
        return None


_LONGEST_KEY = 255


def group_name() -> str:
    """The one group of the channel layer that every hub is in: a keyed hash, as those of the jobs."""
    return f"immortus.access.{salted_hmac('immortus.access', 'hubs', algorithm='sha256').hexdigest()}"


def revoke_access(subject: object) -> None:
    """Have every open socket of `subject` asked again whether it still may see what it sees; takes under a second.

    `subject` is a user, of whom all sockets are asked, or a job (a job, what its queue returned, or its id), of which
    all watchers are. Whoever may still see keeps seeing; so it is safe to call when in doubt. It is called by
    itself when somebody logs out, is disabled, or loses a permission or a group. Inside a transaction it waits for the
    commit. Never raises for a layer that is down. Raises TypeError for what is neither a user nor a job.
    """
    announce(_revocation_of(subject))


def _revocation_of(subject: object) -> Revocation:
    if hasattr(subject, "is_authenticated"):
        key = owner_key(subject)
        if key is not None:
            return Revocation(user=key)
    job_id = _job_id_of(subject)
    if not is_job_id(job_id) or hasattr(subject, "is_authenticated"):
        msg = f"{quoted(subject)} is neither a user who is stored nor a job: give request.user, a job, or a job's id."
        raise TypeError(msg)
    return Revocation(job_id=job_id)


def _job_id_of(subject: object) -> str | None:
    """The id of a job, or the job's id; that of a queue's result. A model's number is not taken for one."""
    job_id = text_of(subject) or text_of(getattr(subject, "job_id", None))
    if job_id is not None:
        return job_id
    results = (queue.job_of(subject) for queue in queues.connected)
    found = next((result[0] for result in results if result is not None), getattr(subject, "id", None))
    return found if isinstance(found, str) else None


def announce(revocation: Revocation, using: str | None = None) -> None:
    """Tell every hub once what is being written is committed; never raises."""

    def tell() -> None:
        for receiver in broadcaster.receivers():
            receiver.reconsider(revocation)
        if broadcaster.has_shared_layer():
            _announcer.put(revocation)

    try:
        if broadcaster.is_in_event_loop():
            tell()
        else:
            transaction.on_commit(tell, using=using, robust=True)
    except Exception:
        logger.exception("A revocation could not be announced; the regular check will find what it was about")


class Announcer:
    """Sends revocations through the channel layer, from a thread of its own: no store that hangs may hold one up."""

    IDLE = 10.0
    PAUSES = (0.1, 0.3, 1.0)
    """Seconds between tries; the last holds on."""
    LIFE = 60.0
    """Seconds to try. A hub that was cut off longer than its probe's interval knows, and asks everybody by itself."""
    PENDING = 1_000
    """Beyond that everybody is asked, which is one message."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._pending: dict[Revocation, float] = {}
        """Until when to try each, by the monotonic clock."""
        self._thread: threading.Thread | None = None
        self._ending = False

    def put(self, revocation: Revocation) -> None:
        """Hand one over; the same one is sent once."""
        with self._condition:
            if len(self._pending) >= self.PENDING:
                self._pending.clear()
                revocation = Revocation(user=EVERYBODY)
            self._pending[revocation] = time.monotonic() + self.LIFE
            if self._thread is None:
                thread = threading.Thread(target=self._work, name="immortus-revocations", daemon=True)
                thread.start()
                self._thread = thread
            self._condition.notify()

    def drain(self, timeout: float = 1.0) -> None:
        """Send what is left before the process ends, for so many seconds at most."""
        with self._condition:
            thread, self._ending = self._thread, True
            self._condition.notify()
        if thread is not None:
            thread.join(timeout)
        self._ending = False

    def _work(self) -> None:
        broadcaster = Broadcaster()
        failures = 0
        try:
            while (due := self._next()) is not None:
                revocation, until = due
                if broadcaster.tell(group_name(), revocation.to_message()):
                    failures = 0
                    self._sent(revocation, until)
                else:
                    self._rest(self.PAUSES[min(failures, len(self.PAUSES) - 1)])
                    failures += 1
        finally:
            broadcaster.close()

    def _next(self) -> tuple[Revocation, float] | None:
        """The next one to send, and until when to try; None when there was none for a while, which ends the thread."""
        with self._condition:
            self._forget_old()
            if not self._pending and not self._ending:
                self._condition.wait(self.IDLE)
            if not self._pending:
                self._thread = None
                return None
            return next(iter(self._pending.items()))

    def _forget_old(self) -> None:
        now = time.monotonic()
        for revocation in [revocation for revocation, until in self._pending.items() if until < now]:
            del self._pending[revocation]

    def _sent(self, revocation: Revocation, until: float) -> None:
        with self._condition:
            if self._pending.get(revocation) == until:  # else it was handed over again while it was sent
                del self._pending[revocation]

    def _rest(self, seconds: float) -> None:
        with self._condition:
            self._condition.wait_for(lambda: self._ending, timeout=0.05 if self._ending else seconds)


_announcer = Announcer()


def drain() -> None:
    """Send what is left before the process ends."""
    _announcer.drain()


def _after_fork() -> None:
    global _announcer  # noqa: PLW0603 - the child has neither the thread nor a right to its connections
    _announcer = Announcer()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(drain)
