"""Ends of Celery tasks that have no signal of their own: only `task_postrun` reports them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from celery import Task, states
from celery.exceptions import Reject

from immortus_channels.jobs.events import Cancelled, Event, Failed, Finished, Reported, Requeued, Retrying
from immortus_channels.logs import logger
from immortus_channels.queues.celery import pools, written
from immortus_channels.queues.celery.canvas import REPLACED
from immortus_channels.queues.celery.outcomes import verdict
from immortus_channels.queues.moments import due


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsignalled:
    """How a run ended: the type of event, its fields, and whether the tasks that were to follow will never run."""

    kind: type[Event]
    fields: Mapping[str, Any] = field(default_factory=dict)
    ends_chain: bool = False


def end_of(task: Task, state: str | None, retval: object, worker: Any) -> Unsignalled | None:
    """Return the end that `task_postrun` reports with this state and value, in the process that ran the task.

    None if another signal reports it. Called while the exception that the task left with, if any, passes through.
    """
    passing = sys.exception()
    match state:
        case "IGNORED":
            return _end_of_ignored(task.request)
        case "REJECTED":
            return _end_of_rejected(task, retval)
        case "SUCCESS" if passing is not None and written.state_of(task.request) == states.SUCCESS:
            return Unsignalled(kind=Finished)  # it was raised after the success was stored, and changes nothing
        case None:
            return _end_without_outcome(task, passing, worker)
    return None


def _end_without_outcome(task: Task, passing: BaseException | None, worker: Any) -> Unsignalled:
    """Return the end of a run without an outcome: its process is ending, or it raised what is not an Exception."""
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
    event_type, fields = verdict(passing, job_id)
    fallback = {"code": code} if event_type is Failed else {}
    return Unsignalled(kind=event_type, fields={**fallback, **fields}, ends_chain=True)


def _end_of_ignored(request: Any) -> Unsignalled:
    """Return the end of a task that raised `Ignore`: it sent others in its place, or its recorded state decides."""
    if getattr(request, REPLACED, False):
        return Unsignalled(kind=Requeued)
    match written.state_of(request):
        case states.RETRY:
            return _retry(written.retry_of(request))
        case states.FAILURE:
            return Unsignalled(kind=Failed, ends_chain=True)
        case states.REVOKED:
            return Unsignalled(kind=Cancelled, ends_chain=True)
        case _:
            return Unsignalled(kind=Finished, ends_chain=True)


def _retry(eta: str | None) -> Unsignalled:
    """Return the end of a task that runs again: by the retry that it sent, or sent by other code, unknown here."""
    if eta is None:
        return Unsignalled(kind=Retrying, fields={"is_sent": False})
    return Unsignalled(kind=Retrying, fields={"eta": due(datetime.fromisoformat(eta)) if eta else None})


def _end_of_rejected(task: Task, reason: object) -> Unsignalled:
    """Return the end of a task that raised `Reject`: its message goes back to the broker, or nowhere.

    Without `acks_late` the worker acknowledged the message before it ran the task, so none goes back.
    """
    goes_back = task.acks_late and not task.request.is_eager
    if isinstance(reason, Reject) and reason.requeue and goes_back:
        return Unsignalled(kind=Requeued)
    return Unsignalled(kind=Failed, fields={"code": "rejected"}, ends_chain=True)
