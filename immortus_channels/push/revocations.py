"""Revocations: each one makes every server process check permissions again.

A revocation grants nothing and ends nothing by itself: it names a user or a job, and each hub checks the usual
permissions again. So it needs no secret, may be lost (then the regular check is the worst case) and may be forged.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time

from django.db import transaction

from immortus_channels.push import receivers
from immortus_channels.push.broadcaster import Broadcaster
from immortus_channels.push.layer import has_shared_layer, hubs_group_name
from immortus_channels.push.messages import EVERYBODY, Revocation
from immortus_channels.threads import is_in_event_loop

logger = logging.getLogger("immortus_channels")


def announce(revocation: Revocation, using: str | None = None) -> None:
    """Tell every hub once the current transaction is committed; never raises."""

    def tell() -> None:
        for receiver in receivers.current():
            receiver.reconsider(revocation)
        if has_shared_layer():
            _announcer.put(revocation)

    try:
        if is_in_event_loop():
            tell()
        else:
            transaction.on_commit(tell, using=using, robust=True)
    except Exception:
        logger.exception("Announcing a revocation failed; the regular check will find the change")


class Announcer:
    """Sends revocations through the channel layer, from a thread of its own: no store that hangs may delay them."""

    IDLE = 10.0
    PAUSES = (0.1, 0.3, 1.0)
    """Seconds between tries; the last one repeats."""
    LIFE = 60.0
    """Seconds to try. A hub cut off for longer than its probe's interval notices, and checks all users by itself."""
    PENDING = 1_000
    """Beyond that, one message announces all users."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._pending: dict[Revocation, float] = {}
        """Until when to try each, by the monotonic clock."""
        self._thread: threading.Thread | None = None
        self._ending = False

    def put(self, revocation: Revocation) -> None:
        """Add a revocation; equal ones are sent once."""
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
        """Send what is left before the process ends, within `timeout` seconds."""
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
                if broadcaster.tell(hubs_group_name(), revocation.to_message()):
                    failures = 0
                    self._sent(revocation, until)
                else:
                    self._rest(self.PAUSES[min(failures, len(self.PAUSES) - 1)])
                    failures += 1
        finally:
            broadcaster.close()

    def _next(self) -> tuple[Revocation, float] | None:
        """Return the next one to send, and until when to try; None after a while without any, which ends the thread."""
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
            if self._pending.get(revocation) == until:  # else it was put again while it was sent
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
