"""Dramatiq, on Redis."""

from __future__ import annotations

from typing import Any, ClassVar

from queues.base import Queue, Service


class Dramatiq(Queue):
    """One process with two threads, and one that watches over it."""

    name = "dramatiq"
    title = "Dramatiq"
    service = Service("REDIS_URL", "a Redis", "redis://127.0.0.1:6379/0")
    worker = ("-m", "dramatiq", "--processes", "1", "--threads", "2", "queues.dramatiq.worker")
    scenes: ClassVar = {
        "time-limit": {"text": "Dramatiq's time limit ends it after four seconds."},
        "worker-killed": {
            "text": "Nobody is left to report. Stalled, until after half a minute the next worker gets its message.",
            "ending": "finished",
        },
    }
    cannot: ClassVar = {"child-killed": "when the process that runs jobs dies, Dramatiq ends the whole worker"}

    def send(self, task: Any, photo: str) -> Any:
        """Return a Message."""
        return task.send(photo)


queue = Dramatiq()
