"""Which job a queue's result, a job or an id stands for."""

from __future__ import annotations

import re

from immortus_channels import queues
from immortus_channels.exceptions import ConfigurationError
from immortus_channels.guarded import quoted
from immortus_channels.jobs.ids import is_job_id, text_of
from immortus_channels.queues import unsupported
from immortus_channels.queues.base import Queue

NONE_CURE = (
    "Give what sending the task returned. If that was None: Celery's delay_on_commit() returns an id for tasks with "
    "base=TrackedTask (of immortus_channels.celery); django-rq's enqueue() returns None in a transaction, so give it a "
    "job_id, and take that for the job; Huey's tasks return None with results=False."
)
"""What to do where a job was expected and None came."""


def identify(job: object, queue: str | None = None) -> tuple[str, str | None]:
    """Return the id of a job and, as far as `job` knows it, the registered name of its task.

    `queue` is the name of the queue that `job` comes from: it must be given with the number that such a queue's
    sending returns. A bare id gives no name, whatever this process has sent: a caller with an id may not be one who may
    see the job.

    Raises ConfigurationError for a group, for a task that is not tracked, for a queue that has no adapter and for the
    name of one that is not in use, TypeError for anything that is not a job.
    """
    named = None if queue is None else _named(queue)
    for each in queues.connected if named is None else [named]:
        found = each.job_of(job)
        if found is not None and is_job_id(found[0]):
            return found[0], found[1] or None
    unsupported.refuse(job)
    job_id = _id_in(job, named) or text_of(getattr(job, "job_id", None))
    if not is_job_id(job_id):
        ids = "text of 1 to 255 characters, a UUID or a whole number"
        what = "a job" if named is None else f"a job of {named.name}"
        msg = f"{quoted(job)} is not {what}: give what a tracked task's delay() returned, a job, or its id: {ids}."
        raise TypeError(msg + _cure(job))
    return job_id, getattr(job, "job_class", None) or None


def _named(queue: str) -> Queue:
    found = queues.by_name(queue)
    if found is None:
        names = ", ".join(repr(each.name) for each in queues.connected) or "none"
        msg = f"queue={queue!r} is not a task queue that is in use here; these are: {names}."
        raise ConfigurationError(msg)
    return found


_NUMBER = re.compile("0|[1-9][0-9]{0,254}")


def _id_in(given: object, queue: Queue | None) -> str | None:
    """Return the id that is given, or the one that the queue gives to the number; None for anything else."""
    text = text_of(given)
    if queue is None or text is None or not _NUMBER.fullmatch(text):
        return text
    return queue.id_of(int(text))


def _cure(given: object) -> str:
    """Return what to do about a mistake that is often made; empty for others."""
    match given:
        case None:
            return f" {NONE_CURE}"
        case "":
            return " In a template, a variable that its view has not given is ''."
        case list() | tuple():
            return " Give jobs one by one."
    return ""
