"""When a socket is pinged, held back and given up: plain arithmetic on the time it is told.

A server may buffer without limit (Daphne took 40 MB for a client that never reads) or block (Uvicorn), so what counts
is what the client has acknowledged: after `window` bytes without a pong nothing but a ping is sent.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

MAX_AGE, TOO_SLOW, NO_PONG, TOO_MANY = 4010, 4008, 4012, 4429


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How patient a socket is: seconds, bytes and frames."""

    ping: float = 20.0
    silence: float = 30.0
    slow: float = 40.0
    age: float = 4 * 3600.0
    window: int = 64 * 1024
    burst: int = 400
    per_second: float = 20.0


class Flow:
    """One socket's accounts. Times are seconds of any monotonic clock."""

    def __init__(self, limits: Limits, now: float, age: float) -> None:
        """The socket opened at `now` and is to be closed after `age` seconds."""
        self._limits = limits
        self._until = now + age
        self._heard_at = self._pinged_at = self._refilled_at = now
        self._sent = self._acknowledged = 0
        self._pings: deque[int] = deque()
        self._choked_at: float | None = None
        self._allowance = float(limits.burst)

    def heard(self, now: float) -> bool:
        """The client sent a frame; False when it sends too many."""
        earned = (now - self._refilled_at) * self._limits.per_second
        self._heard_at = self._refilled_at = now
        self._allowance = min(self._allowance + earned, self._limits.burst) - 1
        return self._allowance >= 0

    def sent(self, size: int, now: float) -> None:
        """A frame of `size` bytes went out."""
        self._sent += size
        if self._choked_at is None and self._unread >= self._limits.window:
            self._choked_at = now

    def pinged(self, now: float) -> None:
        """A ping went out: its pong will acknowledge everything sent until now."""
        self._pinged_at = now
        self._pings.append(self._sent)

    def ponged(self) -> None:
        """The client answered the oldest ping; a pong nobody asked for means nothing."""
        if self._pings:
            self._acknowledged = self._pings.popleft()
        if self._unread < self._limits.window:
            self._choked_at = None

    @property
    def is_choked(self) -> bool:
        """Whether documents wait until the client has read what it was sent."""
        return self._choked_at is not None

    @property
    def _unread(self) -> int:
        return self._sent - self._acknowledged

    @property
    def _awaits_pong(self) -> bool:
        """Whether a ping was sent after the frame that filled the window."""
        return bool(self._pings) and self._pings[-1] - self._acknowledged >= self._limits.window

    def needs_ping(self, now: float) -> bool:
        """Whether to ping now."""
        if self.is_choked:
            return not self._awaits_pong
        return now >= self._pinged_at + self._limits.ping

    def verdict(self, now: float) -> int | None:
        """The code to close with now, or None."""
        if self._choked_at is not None:
            if now >= self._choked_at + self._limits.slow:
                return TOO_SLOW
        elif now >= self._heard_at + self._limits.silence:
            return NO_PONG
        return MAX_AGE if now >= self._until else None

    def next_at(self) -> float:
        """When to ask again, if nothing is sent or heard before."""
        if self._choked_at is not None:
            return min(self._until, self._choked_at + self._limits.slow)
        return min(self._until, self._heard_at + self._limits.silence, self._pinged_at + self._limits.ping)
