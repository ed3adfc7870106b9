"""What is wrong with how a project has set up RQ, found without connecting to anything."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning  # noqa: A004 - Django's name
from django.utils.module_loading import import_string
from rq import worker


def are_all_eager() -> bool:
    """Return whether all queues of django-rq run their jobs where they are sent."""
    queues = _queues().values()
    return bool(queues) and not any(queue.get("ASYNC", True) for queue in queues)


def problems() -> Iterator[CheckMessage]:
    """Yield what keeps the jobs of django-rq from being followed, or from having an owner."""
    yield from _spawned()
    yield from _sent_late()
    yield from _of_wrong_class()


def _spawned() -> Iterator[CheckMessage]:
    kind = _named(_rq().get("WORKER_CLASS"))
    spawning = getattr(worker, "SpawnWorker", None)  # since RQ 2.2
    if isinstance(kind, type) and spawning is not None and issubclass(kind, spawning):
        yield Warning(
            f"RQ['WORKER_CLASS'] is {kind.__name__!r}, which runs each job in a process that has not set Django up: "
            "its jobs are not followed while they run.",
            hint="Use 'rq.worker.Worker', or 'rq.worker.SimpleWorker' where no process can be forked.",
            id="immortus_channels.W050",
        )


def _sent_late() -> Iterator[CheckMessage]:
    rq = _rq()
    mode = rq.get("COMMIT_MODE") or {True: "auto", False: "request_finished"}.get(rq.get("AUTOCOMMIT", True))
    if mode == "request_finished":
        yield Warning(
            "django-rq sends jobs when the request is finished, which is too late to know its user: such jobs have no "
            "owner.",
            hint="Set RQ['COMMIT_MODE'] to 'on_db_commit', its default, or to 'auto'.",
            id="immortus_channels.W051",
        )


def _of_wrong_class() -> Iterator[CheckMessage]:
    backends = getattr(settings, "TASKS", {})
    is_used = isinstance(backends, Mapping) and any(
        str(backend.get("BACKEND", "")).startswith("django_tasks_rq.") for backend in backends.values()
    )
    if is_used and not _rq().get("JOB_CLASS"):
        yield Warning(
            "TASKS has a backend of django-tasks-rq, and RQ['JOB_CLASS'] is not set: a `rqworker` that is not told "
            "`--job-class django_tasks_rq.Job` fails each of its tasks.",
            hint="Set RQ['JOB_CLASS'] to 'django_tasks_rq.Job'; silence this if your workers are told.",
            id="immortus_channels.W052",
        )


def _rq() -> Mapping[str, Any]:
    found = getattr(settings, "RQ", {})
    return found if isinstance(found, Mapping) else {}


def _queues() -> Mapping[str, Any]:
    found = getattr(settings, "RQ_QUEUES", {}) if "django_rq" in sys.modules else {}
    return found if isinstance(found, Mapping) else {}


def _named(kind: Any) -> Any:
    """Return the class that a setting names; None if it cannot be imported, which django-rq says itself."""
    try:
        return import_string(kind) if isinstance(kind, str) else kind
    except ImportError:
        return None
