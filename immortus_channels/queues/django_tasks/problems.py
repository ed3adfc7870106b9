"""What the framework makes silently wrong, found without connecting to anything."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning  # noqa: A004 - Django's name

from immortus_channels.queues.django_tasks.names import task_at
from immortus_channels.queues.unsupported import HINT

_SILENT = ("chancy", "dj_queue", "django_vtasks")
"""The packages of backends that send none of the framework's signals, but for what runs jobs at once."""


def runs_at_once(backend: Any) -> bool:
    """Return whether a backend runs jobs where they are sent, or not at all."""
    return _is(backend, "ImmediateBackend") or _is(backend, "DummyBackend")


def is_silent(backend: Any) -> bool:
    """Return whether a backend is known to send none of the framework's signals: its jobs cannot be followed."""
    return type(backend).__module__.partition(".")[0] in _SILENT and not _is(backend, "ImmediateBackend")


def problems(tracked: Collection[str]) -> Iterator[CheckMessage]:
    """Yield what keeps jobs of these tracked tasks from being followed."""
    if tracked and _reloads(sys.argv[1:]):
        yield Warning(
            "This worker begins anew whenever a file changes or it is asked to stop, and the job that it runs then is "
            "lost: its row says RUNNING for ever.",
            hint="Start it by `manage.py db_worker --no-reload`; silence this if you do not mind.",
            id="immortus_channels.W040",
        )
    for name in sorted(tracked):
        yield from _of_backend(name, task_at(name).get_backend())


def _reloads(arguments: Sequence[str]) -> bool:
    """Return whether this process is a worker of django-tasks-db that reloads, which is its default with DEBUG."""
    if arguments[:1] != ["db_worker"] or {"--no-reload", "--batch"} & {*arguments}:
        return False
    return settings.DEBUG or "--reload" in arguments


def _of_backend(name: str, backend: Any) -> Iterator[CheckMessage]:
    if not settings.DEBUG and runs_at_once(backend):
        what = "never runs it" if _is(backend, "DummyBackend") else "runs it before enqueue() returns"
        yield Warning(
            f"The backend {backend.alias!r} of the task {name!r} is for development and tests: it {what}, so no page "
            "sees its jobs at work.",
            hint="Name a backend with workers in TASKS, as 'django_tasks_db.DatabaseBackend'.",
            id="immortus_channels.W041",
        )
    if is_silent(backend):
        yield Warning(
            f"The backend {backend.alias!r} of the task {name!r} sends none of the signals of django.tasks, so its "
            "jobs are not followed.",
            hint=HINT,
            id="immortus_channels.W042",
        )


def _is(backend: Any, name: str) -> bool:
    return any(kind.__name__ == name for kind in type(backend).__mro__)
