"""How often something may be done for one job."""

from __future__ import annotations

import threading
import time

from immortus_channels.recent import Recent


class Pace:
    """Lets one question per job through in an interval."""

    def __init__(self, remembered: int = 10_000) -> None:
        """The `remembered` jobs asked of last."""
        self._asked: Recent[str, float] = Recent(remembered)
        self._lock = threading.Lock()

    def is_due(self, job_id: str, interval: float) -> bool:
        """Whether `interval` seconds have passed since the last question that was let through; this one is, then."""
        now = time.monotonic()
        with self._lock:
            if now - self._asked.get(job_id, -interval) < interval:
                return False
            self._asked[job_id] = now
        return True
