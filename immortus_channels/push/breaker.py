"""A circuit breaker: it leaves alone for a while what fails or hangs."""

from __future__ import annotations


class Breaker:
    """Keeps callers from trying again, each time, what fails or hangs.

    Closed until a timeout or the third failure in a row; then open for `REST` seconds, after which it allows one try.
    """

    FAILURES = 3
    REST = 2.0

    def __init__(self) -> None:
        self._failures = 0
        self._open_until = 0.0

    def allows(self, now: float) -> bool:
        """Return whether to try at `now` (seconds, monotonic)."""
        return now >= self._open_until

    def note_failure(self, now: float, *, slowly: bool) -> None:
        """Note a failure; one that took all its time opens the circuit at once."""
        self._failures = self.FAILURES if slowly else self._failures + 1
        if self._failures >= self.FAILURES:
            self._open_until = now + self.REST

    def note_success(self) -> None:
        """Note a success."""
        self._failures = 0
