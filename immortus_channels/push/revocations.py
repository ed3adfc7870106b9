"""Revocations: each one makes every server process check permissions again.

A revocation grants nothing and ends nothing by itself: it names a user or a job, and each hub checks the usual
permissions again. So it needs no secret, may be lost (then the regular check is the worst case) and may be forged.
"""

from __future__ import annotations

import atexit
import time

from django.db import transaction

from immortus_channels.errands import Errands
from immortus_channels.logs import logger
from immortus_channels.push import receivers
from immortus_channels.push.broadcaster import Broadcaster
from immortus_channels.push.layer import has_shared_layer, hubs_group_name
from immortus_channels.push.messages import EVERYBODY, Revocation
from immortus_channels.threads import is_in_event_loop


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


class Announcer(Errands[Revocation, float]):
    """Sends revocations through the channel layer, from a thread of its own: no store that hangs may hold one up.

    Each is tried until its time by the monotonic clock.
    """

    NAME = "immortus-revocations"
    IDLE = 10.0
    PAUSES = (0.1, 0.3, 1.0)
    """Seconds between tries; the last one repeats."""
    LIFE = 60.0
    """Seconds to try. A hub cut off for longer than its probe's interval notices, and checks all users by itself."""
    PENDING = 1_000
    """Beyond that, one message announces all users."""

    def put(self, revocation: Revocation) -> None:
        """Add a revocation; equal ones are sent once."""
        with self._condition:
            if len(self._pending) >= self.PENDING:
                self._pending.clear()
                revocation = Revocation(user=EVERYBODY)
            self._put(revocation, time.monotonic() + self.LIFE)

    def drain(self, timeout: float = 1.0) -> None:
        """Send what is left before the process ends, within `timeout` seconds."""
        with self._condition:
            thread, self._is_ending = self._thread, True
            self._condition.notify_all()
        if thread is not None:
            thread.join(timeout)
        self._is_ending = False

    def _work(self) -> None:
        broadcaster = Broadcaster()
        failures = 0
        try:
            while (due := self._next()) is not None:
                revocation, until = due
                if broadcaster.send_to_group(hubs_group_name(), revocation.to_message()):
                    failures = 0
                    self._note_sent(revocation, until)
                else:
                    self._rest(self.PAUSES[min(failures, len(self.PAUSES) - 1)])
                    failures += 1
        finally:
            broadcaster.close()

    def _next(self) -> tuple[Revocation, float] | None:
        with self._condition:
            self._forget_old()
            return super()._next()

    def _forget_old(self) -> None:
        now = time.monotonic()
        for revocation in [revocation for revocation, until in self._pending.items() if until < now]:
            del self._pending[revocation]

    def _note_sent(self, revocation: Revocation, until: float) -> None:
        with self._condition:
            if self._pending.get(revocation) == until:  # else it was put again while it was sent
                del self._pending[revocation]

    def _rest(self, seconds: float) -> None:
        with self._condition:
            self._condition.wait_for(lambda: self._is_ending, timeout=0.05 if self._is_ending else seconds)


_announcer = Announcer()


atexit.register(_announcer.drain)
