"""RQ, by django-rq; on Redis."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from queues.base import Queue, Service


class RQ(Queue):
    """A worker that forks a process for each job, and its scheduler, which sends the retries."""

    name = "rq"
    title = "RQ"
    service = Service("REDIS_URL", "a Redis", "redis://127.0.0.1:6379/0")
    apps = ("django_rq",)
    worker = ("manage.py", "rqworker", "default", "--with-scheduler", "--verbosity", "0")
    scenes: ClassVar = {
        "time-limit": {"text": "RQ's timeout ends it after four seconds."},
        "child-killed": {
            "text": "The process that runs it is killed, as when memory runs out. RQ's worker notices at once."
        },
    }

    def settings(self, var: Path) -> Mapping[str, Any]:
        """The queue."""
        return {"RQ_QUEUES": {"default": {"URL": os.environ["REDIS_URL"]}}}

    def send(self, task: Any, photo: str) -> Any:
        """Return an RQ job."""
        return task.delay(photo)


queue = RQ()
