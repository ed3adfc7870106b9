"""How often something may be done for one job."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from immortus_channels.recent import Recent


class Pace:
    """Lets one action per job through in an interval."""

    def __init__(self, remembered: int = 10_000, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin without any; later, the last `remembered` jobs are known. `clock` gives seconds."""
        self._asked: Recent[str, float] = Recent(remembered)
        self._clock = clock
        self._lock = threading.Lock()

    def is_due(self, job_id: str, interval: float) -> bool:
        """Return whether an action for the job is due, `interval` seconds after the last one; if so, count this one."""
        now = self._clock()
        with self._lock:
            if now - self._asked.get(job_id, -interval) < interval:
                return False
            self._asked[job_id] = now
        return True

    def remaining(self, job_id: str, interval: float) -> float:
        """Return the seconds until `is_due` lets the next question through; 0 or less when it would now."""
        now = self._clock()
        return self._asked.get(job_id, now - interval) + interval - now
