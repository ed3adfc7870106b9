"""A circuit breaker: what fails or hangs is left alone for a while."""

from __future__ import annotations


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
