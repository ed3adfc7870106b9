"""What Django-Q2's own records say: a row for each task that has been run, and kept.

A success stays on record; a failure may be followed by another delivery of the message, of which the row says nothing.
"""

from __future__ import annotations

from typing import Any

from django_q.conf import Conf
from django_q.models import Task
from django_q.tasks import fetch_cached

from immortus_channels.exceptions import InvalidValue
from immortus_channels.jobs.events import Failed, Finished, Report
from immortus_channels.jobs.job import Job, State
from immortus_channels.jobs.lifecycle import SECOND
from immortus_channels.keys import name_in
from immortus_channels.queues.django_q import functions
from immortus_channels.queues.django_q.messages import keeps_messages
from immortus_channels.queues.tracked import TaskOptions
from immortus_channels.writer.values import clean_result


def job_of(job_id: str) -> Job | None:
    """Return the job as its row shows it; None where the row does not tell whether it is over."""
    row = _row_of(job_id)
    if row is None or not _is_final(row):
        return None
    state = State.FINISHED if row.success else State.FAILED
    return Job(job_id=job_id, job_class=functions.name_of(row.func), state=state)


def end_of(job_id: str, job_class: str, *, since: int, options: TaskOptions | None) -> Finished | Failed | None:
    """Return how the run ended that began at `since`, microseconds since 1970; None if the row does not tell."""
    row = _row_of(name_in(job_id))
    if row is None or row.stopped.timestamp() * SECOND < since or not _is_final(row):
        return None
    if not row.success:
        return Failed(job_id=job_id, job_class=job_class)
    report = _report_of(row.result, job_id) if options is not None and options.publish_result else None
    return Finished(job_id=job_id, job_class=job_class, report=report)


def _row_of(job_id: str) -> Any:
    """Return the row of a task, or what the cache has of it."""
    row = Task.objects.filter(id=job_id).first()
    return row or (fetch_cached(job_id) if Conf.CACHED else None)


def _is_final(row: Task) -> bool:
    """Return whether the message does not come back, as far as the settings say; a task may have said otherwise."""
    is_last = 0 < Conf.MAX_ATTEMPTS <= row.attempt_count
    return row.success or Conf.ACK_FAILURES or is_last or not keeps_messages()


def _report_of(result: object, job_id: str) -> Report | None:
    try:
        return Report(result=clean_result(result, job_id, by_caller=False))
    except InvalidValue:
        return None
