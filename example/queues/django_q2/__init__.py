"""Django-Q2: its messages are rows of the project's database."""

from __future__ import annotations

import os
from collections.abc import Mapping
from math import ceil
from pathlib import Path
from typing import Any, ClassVar

from queues.base import Queue

PACE = float(os.environ.get("DEMO_PACE", "6"))
TIMEOUT = ceil(3 * PACE) + 6
"""Seconds that a job may take: the slowest one here takes three times the pace."""
RETRY = 2 * TIMEOUT + 2
"""Seconds after which a message that nobody has acknowledged is delivered again: no job waits and runs longer."""


class DjangoQ2(Queue):
    """Two processes, and some that watch over them."""

    name = "django-q2"
    title = "Django-Q2"
    apps = ("django_q",)
    worker = ("manage.py", "qcluster")
    scenes: ClassVar = {
        "retries": {"text": f"Fails, and succeeds when Django-Q2 delivers it again, {RETRY} seconds after the start."},
        "slow": {"text": f"A job of {3 * PACE:.0f} seconds. Press Cancel on its card and it stops."},
        "time-limit": {"text": "Django-Q2's timeout ends it after four seconds."},
        "child-killed": {
            "text": "The process that runs it is killed, as when memory runs out. Stalled, until Django-Q2 delivers it "
            f"again after {RETRY} seconds.",
            "ending": "finished",
        },
        "worker-killed": {
            "text": f"Nobody is left to report. Stalled, until Django-Q2 delivers it again after {RETRY} seconds.",
            "ending": "finished",
        },
    }

    def settings(self, var: Path) -> Mapping[str, Any]:
        """The cluster: how long and how often its jobs may run, and how many messages it fetches ahead."""
        return {
            "Q_CLUSTER": {
                "name": "example",
                "orm": "default",
                "workers": 2,
                "queue_limit": 1,
                "timeout": TIMEOUT,
                "retry": RETRY,
                "max_attempts": 3,
                "log_level": "WARNING",
            },
        }

    def send(self, task: Any, photo: str) -> Any:
        """Return the id of the job. A failure is the end, unless the task says otherwise."""
        from django_q.tasks import async_task  # noqa: PLC0415 - it needs Django

        options = self.tasks.OPTIONS.get(task.__name__, {"ack_failure": True})
        return async_task(task, photo, **options)


queue = DjangoQ2()
