"""Django's own tasks, by django-tasks-db: their messages are rows of the project's database."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from queues.base import Queue


class DjangoTasks(Queue):
    """One process that runs one job after the other. Before Django 6 the tasks are those of the backport."""

    name = "django.tasks"
    title = "Django Tasks"
    apps = ("django_tasks_db",) if find_spec("django.tasks") else ("django_tasks", "django_tasks_db")
    # It reloads with DEBUG unless it is told not to, and loses the job that it then runs.
    worker = ("manage.py", "db_worker", "--no-reload", "--no-startup-delay", "--interval", "0.2", "--verbosity", "0")
    scenes: ClassVar = {
        "worker-killed": {
            "text": "Nobody is left to report: its row stays RUNNING. Stalled after 15 seconds, lost after a minute."
        },
    }
    cannot: ClassVar = {
        "retries": "the framework has none",
        "time-limit": "the framework has none",
        "child-killed": "all jobs run in the worker's one process",
    }

    def settings(self, var: Path) -> Mapping[str, Any]:
        """The backend."""
        return {"TASKS": {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}}

    def send(self, task: Any, photo: str) -> Any:
        """Return a TaskResult."""
        return task.enqueue(photo)


queue = DjangoTasks()
