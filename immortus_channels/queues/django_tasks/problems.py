"""What the framework makes silently wrong, found without connecting to anything."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning  # noqa: A004 - Django's name

from immortus_channels.queues.django_tasks.names import task_at
from immortus_channels.queues.django_tasks.records import backends


def runs_at_once(backend: Any) -> bool:
    """Return whether a backend runs jobs where they are sent, or not at all."""
    return _is(backend, "ImmediateBackend") or _is(backend, "DummyBackend")


def problems(tracked: Collection[str]) -> Iterator[CheckMessage]:
    """Yield what keeps jobs of these tracked tasks from being followed."""
    if settings.DEBUG:
        yield from _reloads(tracked)
    else:
        yield from _run_in_requests(tracked)


def _reloads(tracked: Collection[str]) -> Iterator[CheckMessage]:
    if tracked and any(_is(backend, "DatabaseBackend") for backend in backends()):
        yield Warning(
            "With DEBUG, `db_worker` begins anew whenever a file changes or it is asked to stop, and the job that it "
            "runs then is lost: its row says RUNNING for ever.",
            hint="Start it by `manage.py db_worker --no-reload`; silence this if you do, or do not mind.",
            id="immortus_channels.W040",
        )


def _run_in_requests(tracked: Collection[str]) -> Iterator[CheckMessage]:
    for name in sorted(tracked):
        task = task_at(name)
        if task is not None and runs_at_once(task.get_backend()):
            what = "never runs it" if _is(task.get_backend(), "DummyBackend") else "runs it before enqueue() returns"
            yield Warning(
                f"The backend {task.backend!r} of the task {name!r} is for development and tests: it {what}, so no "
                "page sees its jobs at work.",
                hint="Name a backend with a worker in TASKS, as `django_tasks_db.DatabaseBackend`.",
                id="immortus_channels.W041",
            )


def _is(backend: Any, name: str) -> bool:
    return any(kind.__name__ == name for kind in type(backend).__mro__)
