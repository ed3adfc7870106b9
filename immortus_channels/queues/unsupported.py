"""The task queues that have no adapter: their tasks are refused with a hint, never silently left untracked.

Their types' modules identify them; none of them is imported. An adapter in the table takes its queue off this list.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from immortus_channels.exceptions import ConfigurationError
from immortus_channels.loading import ADAPTERS

QUEUES: Mapping[str, str] = {
    "django.tasks": "django.tasks",
    "django_tasks": "django.tasks",
    "rq": "RQ",
    "dramatiq": "Dramatiq",
    "huey": "Huey",
    "procrastinate": "Procrastinate",
    "arq": "arq",
    "taskiq": "taskiq",
    "saq": "SAQ",
    "django_q": "Django-Q2",
    "apscheduler": "APScheduler",
}
"""The names of these queues, by the package that defines their tasks, messages and results."""

HINT = (
    "Let the task run a job of its own: create one with JobRepository().create() and pass its id to the task; the "
    "task works inside `with JobRepository().find(job_id).running() as job:`."
)


def queue_of(thing: object) -> str | None:
    """Return the name of the queue that a task, message or result comes from; None unless it has no adapter.

    Only types are read: Celery's lazy tasks stay unmade.
    """
    for module in _modules_of(thing):
        parts = module.split(".")
        for end in range(1, len(parts) + 1):
            package = ".".join(parts[:end])
            if package in QUEUES:
                return None if has_adapter(package) else QUEUES[package]
    return None


def has_adapter(package: str) -> bool:
    """Return whether this package, or a module of it, brings an adapter along."""
    return any(f"{module}.".startswith(f"{package}.") for module in ADAPTERS)


def _modules_of(thing: object) -> Iterator[str]:
    """Yield where the type and its bases are defined."""
    yield from (kind.__module__ for kind in type(thing).__mro__)


def refuse(thing: object) -> None:
    """Raise ConfigurationError, with the queue's name and the hint, for a task of a queue without an adapter."""
    queue = queue_of(thing)
    if queue is None:
        return
    what = f"{type(thing).__module__}.{type(thing).__qualname__}"
    msg = f"{what!r} belongs to {queue}, which has no adapter here, so its jobs cannot be tracked. {HINT}"
    raise ConfigurationError(msg)
