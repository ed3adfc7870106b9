"""When a socket is pinged, held back and given up: plain arithmetic on the time it is told.

A server may buffer without limit (Daphne took 40 MB for a client that never reads) or block (Uvicorn), so what counts
is what the client has acknowledged: after `window` bytes without a pong nothing but a ping is sent.
"""

from __future__ import annotations

from immortus_channels.access.buckets import Bucket
from immortus_channels.access.limits import Limits

__all__ = ["MAX_AGE", "NO_PONG", "TOO_MANY", "TOO_SLOW", "Flow", "Limits"]

MAX_AGE, TOO_SLOW, NO_PONG, TOO_MANY = 4010, 4008, 4012, 4429


class Flow:
    """One socket's accounts. Times are seconds of any monotonic clock."""

    def __init__(self, limits: Limits, now: float, age: float) -> None:
        """The socket opened at `now` and is to be closed after `age` seconds."""
        self._limits = limits
        self._until = now + age
        self._heard_at = self._pinged_at = now
        self._sent = self._acknowledged = 0
        self._pings: list[int] = []
        self._choked_at: float | None = None
        self._frames = Bucket(limits.frames_per_second, limits.frames_at_once, now)
        self._bytes = Bucket(limits.bytes_per_second, limits.bytes_at_once, now)

    def heard(self, now: float, size: int = 0) -> bool:
        """The client sent a frame of `size` bytes; False when it sends too much."""
        self._heard_at = now
        return self._frames.take(now) and self._bytes.take(now, size)

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
            self._acknowledged = self._pings.pop(0)
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
