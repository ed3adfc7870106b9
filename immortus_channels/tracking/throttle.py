"""How often something may be done for one job."""

from __future__ import annotations

import threading
import time

from immortus_channels.recent import Recent


class Pace:
    """Lets one action per job through in an interval."""

    def __init__(self, remembered: int = 10_000) -> None:
        """Begin without any; later, the last `remembered` jobs are known."""
        self._asked: Recent[str, float] = Recent(remembered)
        self._lock = threading.Lock()

    def is_due(self, job_id: str, interval: float) -> bool:
        """Return whether an action for the job is due, `interval` seconds after the last one; if so, count this one."""
        now = time.monotonic()
        with self._lock:
            if now - self._asked.get(job_id, -interval) < interval:
                return False
            self._asked[job_id] = now
        return True
