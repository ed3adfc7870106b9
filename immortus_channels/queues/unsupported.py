"""The task queues that have no adapter here: what comes from them is refused with the cure, never followed in vain.

They are known by the modules of their types; none of them is imported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import FunctionType

from immortus_channels.exceptions import ConfigurationError

WITHOUT_ADAPTER: Mapping[str, str] = {
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
"""What these queues are called, by the package that their tasks, messages and results are defined in."""

CURE = (
    "Let the task run a job of its own: make it with JobRepository().create(), give its id to the task, which runs "
    "with JobRepository().find(job_id).running(), and use that job."
)


def queue_of(thing: object) -> str | None:
    """What the queue is called that a task, message or result comes from; None unless it is one without an adapter.

    Only types are looked at: Celery's lazy tasks stay unmade.
    """
    for module in _modules_of(thing):
        parts = module.split(".")
        for end in range(1, len(parts) + 1):
            name = WITHOUT_ADAPTER.get(".".join(parts[:end]))
            if name is not None:
                return name
    return None


def _modules_of(thing: object) -> Iterator[str]:
    """Where the type and its bases are defined; RQ's decorator leaves the function, with a `delay` from there."""
    yield from (kind.__module__ for kind in type(thing).__mro__)
    delay = vars(thing).get("delay") if type(thing) is FunctionType else None
    if type(delay) is FunctionType:
        yield delay.__globals__.get("__name__", "")


def refuse(thing: object) -> None:
    """Raise ConfigurationError, with the queue's name and the cure, for what comes from one without an adapter."""
    queue = queue_of(thing)
    if queue is None:
        return
    what = thing.__name__ if type(thing) is FunctionType else f"{type(thing).__module__}.{type(thing).__qualname__}"
    msg = f"{what!r} is of {queue}, which has no adapter here, so nothing would ever be known of its jobs. {CURE}"
    raise ConfigurationError(msg)
