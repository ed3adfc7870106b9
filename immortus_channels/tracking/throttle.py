"""How often something may be done for one job."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable


class Pace:
    """Lets one question per job through in an interval."""

    def __init__(self, remembered: int = 10_000, clock: Callable[[], float] = time.monotonic) -> None:
        """Remember so many jobs, those asked about last; `clock` gives seconds."""
        self._asked: OrderedDict[str, float] = OrderedDict()
        self._remembered = remembered
        self._clock = clock
        self._lock = threading.Lock()

    def is_due(self, job_id: str, interval: float) -> bool:
        """Let a question through if `interval` seconds have passed since the last one; return whether they have."""
        now = self._clock()
        with self._lock:
            if now - self._asked.get(job_id, -interval) < interval:
                return False
            self._asked[job_id] = now
            self._asked.move_to_end(job_id)
            if len(self._asked) > self._remembered:
                self._asked.popitem(last=False)
        return True

    def remaining(self, job_id: str, interval: float) -> float:
        """Return the seconds until `is_due` lets the next question through; 0 or less when it would now."""
        now = self._clock()
        return self._asked.get(job_id, now - interval) + interval - now
