"""The suite's worker of arq: Django is set up before the tasks are imported."""

from __future__ import annotations

import os

import django
from arq.connections import RedisSettings

django.setup()

from immortus_channels.testing.queues.project import tasks  # noqa: E402


class WorkerSettings:
    """What arq's command reads."""

    functions = tasks.DRIVER.functions
    cron_jobs = tasks.DRIVER.schedule
    redis_settings = RedisSettings.from_dsn(os.environ["SUITE_BROKER"])
    max_jobs = int(os.environ.get("SUITE_JOBS", "2"))
    poll_delay = 0.05
    allow_abort_jobs = True
    job_completion_wait = 10
    job_timeout = 30
