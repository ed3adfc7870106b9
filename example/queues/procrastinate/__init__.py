"""Procrastinate: its messages are rows of a PostgreSQL, which is the project's database."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl, unquote, urlsplit

from queues.base import Queue, Service


class Procrastinate(Queue):
    """One process, which runs two jobs at once in threads."""

    name = "procrastinate"
    title = "Procrastinate"
    service = Service("DATABASE_URL", "a PostgreSQL", "postgresql://postgres@127.0.0.1/demo")
    apps = ("procrastinate.contrib.django",)
    wants_login = (
        "Procrastinate counts its jobs, and anybody can guess a number. So only the user who started a job may see it."
    )
    worker = ("manage.py", "procrastinate", "worker", "--concurrency=2", "--fetch-job-polling-interval=1")
    scenes: ClassVar = {
        "worker-killed": {
            "text": "Nobody is left to report: its row stays 'doing'. Stalled after 15 seconds, lost after a minute."
        },
    }
    cannot: ClassVar = {
        "time-limit": "Procrastinate has none",
        "child-killed": "all jobs run in the worker's one process",
    }

    def settings(self, var: Path) -> Mapping[str, Any]:
        """The database."""
        address = urlsplit(os.environ["DATABASE_URL"])
        database = {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": unquote(address.path[1:]),
            "USER": unquote(address.username or ""),
            "PASSWORD": unquote(address.password or ""),
            "HOST": address.hostname or "",
            "PORT": address.port or "",
            "OPTIONS": dict(parse_qsl(address.query)),
        }
        return {"DATABASES": {"default": database}}

    def send(self, task: Any, photo: str) -> Any:
        """Return the number of the job."""
        return task.defer(photo=photo)


queue = Procrastinate()
