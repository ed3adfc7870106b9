"""How to tell an RQ job that is followed from all others, and what its function is."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from types import FunctionType, MethodType
from typing import Any

from rq.exceptions import DeserializationError
from rq.job import Job, JobStatus

from immortus_channels.queues.tracked import TaskOptions, options_on, unmarked

QUEUE = "rq"
HEADER = "immortus"
"""The key of a job's `meta` under which its sending says what it knows."""
DUE = "immortus_due"
"""The attribute of a job that holds when the run that ended wants it to run again."""
AGAIN = frozenset((JobStatus.QUEUED, JobStatus.SCHEDULED))
"""The statuses of a job after a run that was not its last."""
OVER = frozenset((JobStatus.FINISHED, JobStatus.FAILED, JobStatus.STOPPED, JobStatus.CANCELED))


def header_of(job: Job) -> Mapping[str, Any] | None:
    """Return the header of a job; None where its meta has none, or could not be read."""
    header = job.meta.get(HEADER)
    return header if isinstance(header, Mapping) else None


def is_plain(job: Job) -> bool:
    """Return whether this is a job of a function that was found not to be tracked, by a look at the job alone."""
    return job._func_name in unmarked and HEADER not in job.meta  # noqa: SLF001 - as below


def is_loaded(job: Job) -> bool:
    """Return whether a job's function is known without unpacking its arguments, as RQ does just before the run."""
    return isinstance(job._func_name, str)  # noqa: SLF001 - its property unpacks them


def class_of(job: Job) -> str:
    """Return the dotted path of a job's function; empty if the job cannot be unpacked here."""
    try:
        name, instance = job.func_name or "", job.instance
    except DeserializationError:
        return ""
    if instance is None:
        return name
    kind = instance if isinstance(instance, type) else type(instance)
    return f"{kind.__module__}.{kind.__qualname__}.{name}"


def function_of(job: Job) -> Any:
    """Return the function of a job whose module has been imported here; None otherwise."""
    if job.instance is not None:
        return getattr(job.instance, job.func_name or "", None)
    return function_at(job.func_name or "")


def function_at(path: str) -> Any:
    """Return what has this dotted path in a module, or in a class of one, that has been imported; else None."""
    names = path.split(".")
    for end in range(len(names) - 1, 0, -1):
        found: Any = sys.modules.get(".".join(names[:end]))
        if found is not None:
            for name in names[end:]:
                # Of an object, only its type is read: Celery would make a lazy task.
                found = getattr(found, name, None) if isinstance(found, (type, type(sys))) else None
            return found
    return None


def options_of(job: Job, function: Any) -> TaskOptions | None:
    """Return the mark on the function of a job; without one, the next job of it is plain."""
    options = options_in(function)
    if options is None and job.instance is None:
        unmarked.add(job.func_name)
    return options


def options_in(function: Any) -> TaskOptions | None:
    """Return the mark on a function, or on that of a task of Django's; None for anything else."""
    function = function.func if is_task(function) else function
    return options_on(function) if isinstance(function, FunctionType | MethodType) else None


def called_by(function: Any) -> Any:
    """Return what takes a job's arguments: of a task of Django's its function, which may take its context before."""
    if not is_task(function):
        return function
    return partial(function.func, None) if function.takes_context else function.func


def is_task(function: Any) -> bool:
    """Return whether this is a task of Django's, as those of django-tasks-rq are; only its type is read."""
    return type(function).__module__ in ("django.tasks.base", "django_tasks.base")
