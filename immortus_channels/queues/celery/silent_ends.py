"""Ends of Celery tasks that have no signal of their own: what `task_postrun` alone can tell."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from celery import Task, states
from celery.exceptions import Reject

from immortus_channels.jobs.events import Cancelled, Event, Failed, Finished, Reported, Requeued, Retrying
from immortus_channels.queues.celery import pools, written
from immortus_channels.queues.celery.canvas import REPLACED
from immortus_channels.queues.celery.outcomes import due, verdict

logger = logging.getLogger("immortus_channels")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsignalled:
    """How a run ended: the kind of event, what that says, and whether what was to come after the task never will."""

    kind: type[Event]
    fields: Mapping[str, Any] = field(default_factory=dict)
    ends_chain: bool = False


def end_of(task: Task, state: str | None, retval: object, worker: Any) -> Unsignalled | None:
    """The end that `task_postrun` tells with this state and value, in the process that ran the task.

    None where there is another signal. Asked while whatever the task left with passes through.
    """
    passing = sys.exception()
    match state:
        case "IGNORED":
            return _ignored(task.request)
        case "REJECTED":
            return _rejected(retval)
        case "SUCCESS" if passing is not None and written.state_of(task.request) == states.SUCCESS:
            return Unsignalled(kind=Finished)  # what raises comes after, and changes nothing
        case None:
            return _left(task, passing, worker)
    return None


def _left(task: Task, passing: BaseException | None, worker: Any) -> Unsignalled:
    """A run without an outcome: its process is being ended, or its task raised what is not an Exception."""
    if passing is None or isinstance(passing, Exception):  # Celery's own error has a signal
        return Unsignalled(kind=Reported)
    code = pools.code_of(passing, task, worker)
    if code is None:
        return Unsignalled(kind=Reported)
    job_id = task.request.id
    logger.error(
        "The task %s of %r raised %r, which is not an Exception",
        task.name,
        job_id,
        passing,
        exc_info=passing,
        extra={"job_id": job_id},
    )
    kind, fields = verdict(passing, job_id)
    fallback = {"code": code} if kind is Failed else {}
    return Unsignalled(kind=kind, fields={**fallback, **fields}, ends_chain=True)


def _ignored(request: Any) -> Unsignalled:
    """The task raised `Ignore`: it has sent others in its place, or what it wrote into the result backend decides."""
    if getattr(request, REPLACED, False):
        return Unsignalled(kind=Requeued)
    match written.state_of(request):
        case states.RETRY:
            return _retried(written.retry_of(request))
        case states.FAILURE:
            return Unsignalled(kind=Failed, ends_chain=True)
        case states.REVOKED:
            return Unsignalled(kind=Cancelled, ends_chain=True)
        case _:
            return Unsignalled(kind=Finished, ends_chain=True)


def _retried(eta: str | None) -> Unsignalled:
    """It is to be run again: by the retry that it sent, or by somebody of whom nothing is known here."""
    if eta is None:
        return Unsignalled(kind=Retrying, fields={"is_sent": False})
    return Unsignalled(kind=Retrying, fields={"eta": due(datetime.fromisoformat(eta)) if eta else None})


def _rejected(reason: object) -> Unsignalled:
    """The task raised `Reject`: its message goes back, or nowhere."""
    if isinstance(reason, Reject) and reason.requeue:
        return Unsignalled(kind=Requeued)
    return Unsignalled(kind=Failed, fields={"code": "rejected"})
