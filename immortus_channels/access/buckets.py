"""How much is too much: token buckets, and counts of refusals within a minute. Plain arithmetic, without a clock."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from threading import Lock


class Bucket:
    """Holds at most `burst` and gains `rate` a second. Times are seconds of any monotonic clock."""

    __slots__ = ("_burst", "_level", "_rate", "_seen_at")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        """Begin full at `now`."""
        self._rate, self._burst = rate, float(burst)
        self._level, self._seen_at = self._burst, now

    def take(self, now: float, amount: float = 1.0) -> bool:
        """Take this much out; return False if it holds less. A refused take costs nothing."""
        self._level = min(self._level + (now - self._seen_at) * self._rate, self._burst)
        self._seen_at = now
        if self._level < amount:
            return False
        self._level -= amount
        return True

    def wait(self, amount: float = 1.0) -> float:
        """Return the seconds from the last take until it holds this much."""
        missing = max(amount - self._level, 0.0)
        return missing / self._rate if missing and self._rate else 0.0


class Refusals:
    """How many different things each key was refused within a minute of its first refusal.

    It remembers a limited number of keys and things: beyond that, it forgets those refused longest ago. Each call
    forgets the keys whose minute is over. Times are seconds of any monotonic clock.
    """

    MINUTE = 60.0
    KEYS = 10_000
    THINGS = 100_000
    """About 10 MB; a key that is full holds none."""

    def __init__(self) -> None:
        self._counted: OrderedDict[str, tuple[float, set[int]]] = OrderedDict()
        """When the minute of each key ends, and what it was refused, ordered by that end."""
        self._full: OrderedDict[str, float] = OrderedDict()
        self._things = 0
        self._lock = Lock()

    def count(self, key: str, things: Iterable[str], most: int, now: float) -> bool:
        """Count the things not yet counted in the key's minute; return whether that has just made it full."""
        with self._lock:
            self._forget(now)
            if key in self._full:
                return False
            ends, seen = self._counted.setdefault(key, (now + self.MINUTE, set()))
            before = len(seen)
            for thing in things:
                seen.add(hash(thing))
                if len(seen) > most:
                    break
            self._things += len(seen) - before
            is_full = len(seen) > most
            if is_full:
                self._forgive(key)
                self._full[key] = ends
            self._keep_within_bounds()
            return is_full

    def wait(self, key: str, now: float) -> float:
        """Return the seconds until the minute of a full key is over; 0 for any other."""
        with self._lock:
            self._forget(now)
            return max(self._full.get(key, now) - now, 0.0)

    def _forget(self, now: float) -> None:
        while self._counted and next(iter(self._counted.values()))[0] <= now:
            self._forgive(next(iter(self._counted)))
        while self._full and next(iter(self._full.values())) <= now:
            self._full.popitem(last=False)

    def _forgive(self, key: str) -> None:
        _, seen = self._counted.pop(key)
        self._things -= len(seen)

    def _keep_within_bounds(self) -> None:
        while self._things > self.THINGS or len(self._counted) > self.KEYS:
            self._forgive(next(iter(self._counted)))
        if len(self._full) > self.KEYS:
            self._full.popitem(last=False)
