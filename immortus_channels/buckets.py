"""How much is too much: token buckets, and counts of different things in a minute. Plain arithmetic, no clock."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from threading import Lock
from typing import Generic, TypeVar

Kept = TypeVar("Kept")


class Bucket:
    """Holds `burst` at most and gains `rate` a second. Times are seconds of any monotonic clock."""

    __slots__ = ("_burst", "_level", "_rate", "_seen_at")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        """It is full at `now`."""
        self._rate, self._burst = rate, float(burst)
        self._level, self._seen_at = self._burst, now

    def take(self, now: float, amount: float = 1.0) -> bool:
        """Take this much out; False when it holds less. What is refused costs nothing."""
        self._level = min(self._level + (now - self._seen_at) * self._rate, self._burst)
        self._seen_at = now
        if self._level < amount:
            return False
        self._level -= amount
        return True

    def wait(self, amount: float = 1.0) -> float:
        """Seconds from the last take until it holds this much."""
        missing = max(amount - self._level, 0.0)
        return missing / self._rate if missing and self._rate else 0.0


class Tally:
    """How many different things were counted since `began`."""

    MINUTE = 60.0
    __slots__ = ("_began", "_seen", "is_told")

    def __init__(self, now: float) -> None:
        self._began = now
        self._seen: set[int] = set()
        self.is_told = False
        """Whether somebody was told that it is full."""

    def count(self, things: Iterable[str], most: int, now: float) -> None:
        """Count what was not counted within this minute; beyond `most` nothing more need be remembered."""
        if now >= self._began + self.MINUTE:
            self._began, self.is_told = now, False
            self._seen.clear()
        for thing in things:
            if len(self._seen) <= most:
                self._seen.add(hash(thing))

    def wait(self, most: int, now: float) -> float:
        """Seconds until the minute is over; 0 while it holds `most` or fewer."""
        left = self._began + self.MINUTE - now
        return max(left, 0.0) if len(self._seen) > most else 0.0


class Recent(Generic[Kept]):
    """What is kept per key, for the keys met most recently; from any thread."""

    MOST = 10_000

    def __init__(self) -> None:
        self.lock = Lock()
        self._kept: OrderedDict[str, Kept] = OrderedDict()

    def get(self, key: str, make: Callable[[], Kept]) -> Kept:
        """What is kept for this key, made now if there is none. To be called, and its result used, with the lock."""
        if key not in self._kept:
            self._kept[key] = make()
        self._kept.move_to_end(key)
        if len(self._kept) > self.MOST:
            self._kept.popitem(last=False)
        return self._kept[key]

    def clear(self) -> None:
        """Forget everybody."""
        with self.lock:
            self._kept.clear()
