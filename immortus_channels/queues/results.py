"""Which job a queue's result, a job or an id stands for."""

from __future__ import annotations

from immortus_channels import queues
from immortus_channels.guarded import quoted
from immortus_channels.jobs.ids import is_job_id, text_of
from immortus_channels.queues import unsupported

NONE_CURE = (
    "If delay_on_commit() returned that, write base=TrackedTask (of immortus_channels.celery) at the task: "
    "its result has an id. If django-rq's enqueue() did, in a transaction, give it a job_id, and take that for the job."
)
"""What to do where a job was expected and None came."""


def identify(job: object) -> tuple[str, str | None]:
    """Return the id of a job and, as far as `job` knows it, the registered name of its task.

    A bare id gives no name, whatever this process has sent: a caller with an id may not be one who may see the job.
    Raises ConfigurationError for a group, for a task that is not tracked and for a queue that has no adapter, TypeError
    for anything that is not a job.
    """
    for queue in queues.connected:
        found = queue.job_of(job)
        if found is not None and is_job_id(found[0]):
            return found[0], found[1] or None
    unsupported.refuse(job)
    job_id = text_of(job) or text_of(getattr(job, "job_id", None))
    if not is_job_id(job_id):
        ids = "text of 1 to 255 characters, a UUID or a whole number"
        msg = f"{quoted(job)} is not a job: give what a tracked task's delay() returned, a job, or its id: {ids}."
        raise TypeError(msg + _cure(job))
    return job_id, getattr(job, "job_class", None) or None


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
