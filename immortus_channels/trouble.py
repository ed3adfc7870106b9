"""For what may fail again and again: one log line when it begins and one when it ends, and a circuit breaker."""

from __future__ import annotations

import logging
import time

logger = logging.getLogger("immortus_channels")


_told: dict[str, float] = {}
_SILENCE = 60.0
_REMEMBERED = 1_000


def is_news(what: str) -> bool:
    """Whether `what` was not said in this process within the last minute: for errors that repeat with every job."""
    now = time.monotonic()
    if now - _told.get(what, -_SILENCE) < _SILENCE:
        return False
    if len(_told) >= _REMEMBERED:
        _told.clear()
    _told[what] = now
    return True


class Trouble:
    """Whether one particular thing fails at the moment; for one thread, or for one event loop."""

    def __init__(self, what: str, cure: str) -> None:
        """`what` is the subject of "… fails"; `cure` says what happens meanwhile, or what to do."""
        self._what = what
        self._cure = cure
        self.is_on = False

    def begin(self, error: BaseException) -> None:
        """It failed: log the first time."""
        if not self.is_on:
            logger.warning("%s fails (%s: %s). %s", self._what, type(error).__name__, error, self._cure)
        self.is_on = True

    def end(self) -> None:
        """It worked: log if it failed before."""
        if self.is_on:
            logger.warning("%s works again.", self._what)
        self.is_on = False


class Breaker:
    """Keeps what fails or hangs from being tried every time.

    Closed until a timeout or the third failure in a row; then open for `REST` seconds, after which one send is tried.
    """

    FAILURES = 3
    REST = 2.0

    def __init__(self) -> None:
        self._failures = 0
        self._open_until = 0.0

    def allows(self, now: float) -> bool:
        """Whether to try at `now` (seconds, monotonic)."""
        return now >= self._open_until

    def failed(self, now: float, *, slowly: bool) -> None:
        """A try failed; one that took all its time opens the circuit by itself."""
        self._failures = self.FAILURES if slowly else self._failures + 1
        if self._failures >= self.FAILURES:
            self._open_until = now + self.REST

    def succeeded(self) -> None:
        """A try succeeded."""
        self._failures = 0
