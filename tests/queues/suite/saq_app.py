"""The suite's worker of SAQ: Django is set up before the tasks are imported."""

from __future__ import annotations

import os

import django
from saq import Queue

django.setup()

from immortus_channels.testing.queues.project import tasks  # noqa: E402

queue = Queue.from_url(os.environ["SUITE_BROKER"])
settings = {
    "queue": queue,
    "functions": tasks.DRIVER.functions,
    "cron_jobs": tasks.DRIVER.schedule,
    "concurrency": 2,
    "timers": {"schedule": 1, "sweep": 1, "abort": 0.2},
    "shutdown_grace_period_s": 10,
}
