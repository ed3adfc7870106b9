"""When to ping a socket, hold back documents and close it: plain arithmetic on the times that are passed in.

A server may buffer without limit (Daphne took 40 MB for a client that never reads) or block (Uvicorn), so what counts
is what the client has acknowledged: after `window` bytes without a pong nothing but a ping is sent.
"""

from __future__ import annotations

from immortus_channels.access.buckets import Bucket
from immortus_channels.access.limits import Limits

MAX_AGE, TOO_SLOW, NO_PONG, TOO_MANY = 4010, 4008, 4012, 4429


class Flow:
    """What one socket has sent and received. Times are seconds of any monotonic clock."""

    def __init__(self, limits: Limits, now: float, age: float) -> None:
        """Begin at `now` with a socket that is to be closed after `age` seconds."""
        self._limits = limits
        self._until = now + age
        self._heard_at = self._pinged_at = now
        self._sent = self._acknowledged = 0
        self._pings: list[int] = []
        self._choked_at: float | None = None
        self._frames = Bucket(limits.frames_per_second, limits.frames_at_once, now)
        self._bytes = Bucket(limits.bytes_per_second, limits.bytes_at_once, now)

    def heard(self, now: float, size: int = 0) -> bool:
        """Count a frame of `size` bytes from the client; return False when the client sends too much."""
        self._heard_at = now
        return self._frames.take(now) and self._bytes.take(now, size)

    def sent(self, size: int, now: float) -> None:
        """Count a frame of `size` bytes to the client."""
        self._sent += size
        if self._choked_at is None and self._unread >= self._limits.window:
            self._choked_at = now

    def pinged(self, now: float) -> None:
        """Note that a ping was sent; its pong will acknowledge everything sent until now."""
        self._pinged_at = now
        self._pings.append(self._sent)

    def ponged(self) -> None:
        """Note that the client answered the oldest ping; ignore a pong without a ping."""
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
        """Return whether a ping is due."""
        if self.is_choked:
            return not self._awaits_pong
        return now >= self._pinged_at + self._limits.ping

    def verdict(self, now: float) -> int | None:
        """Return the code to close the socket with now; None if it may stay open."""
        if self._choked_at is not None:
            if now >= self._choked_at + self._limits.slow:
                return TOO_SLOW
        elif now >= self._heard_at + self._limits.silence:
            return NO_PONG
        return MAX_AGE if now >= self._until else None

    def next_at(self) -> float:
        """Return when a verdict or a ping is due next, if no frame comes or goes before."""
        if self._choked_at is not None:
            return min(self._until, self._choked_at + self._limits.slow)
        return min(self._until, self._heard_at + self._limits.silence, self._pinged_at + self._limits.ping)
