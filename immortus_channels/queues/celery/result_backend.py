"""What Celery's result backend has on record about a task.

An end counts only if it is the end of the run in question: a backend keeps the last state that was written under an id.
And Celery takes back states that it calls final: `REVOKED` is written while a task waits, which may yet run; `RETRY`
stays where a worker was shut down, and `STARTED` where a task was ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from celery import Celery, states

from immortus_channels.exceptions import InvalidValue
from immortus_channels.jobs.events import Cancelled, Failed, Finished, Report
from immortus_channels.jobs.job import Job, State
from immortus_channels.jobs.lifecycle import SECOND
from immortus_channels.queues.celery.outcomes import verdict
from immortus_channels.queues.tracked import TaskOptions
from immortus_channels.writer.values import clean_result

_STATES = {
    states.RECEIVED: State.ENQUEUED,
    states.REJECTED: State.ENQUEUED,
    states.REVOKED: State.ENQUEUED,
    states.STARTED: State.RUNNING,
    states.RETRY: State.RETRYING,
    states.SUCCESS: State.FINISHED,
    states.IGNORED: State.FINISHED,
    states.FAILURE: State.FAILED,
}
"""Celery's own states; any other is one of the project's, for a task that runs."""


def are_kept(app: Celery) -> bool:
    """Return whether other processes than a task's sender can read this app's results, unlike those of rpc://."""
    backend = str(app.backend_cls or app.conf.result_backend or "disabled")
    is_eager = app.conf.task_always_eager and not app.conf.task_store_eager_result
    return not is_eager and not backend.startswith(("disabled", "rpc"))


def job_of(app: Celery, job_id: str) -> Job | None:
    """Return the job as its record shows it; None for PENDING, which backends report for every unknown id."""
    meta = _record(app, job_id)
    status = meta.get("status")
    if not status or status == states.PENDING:
        return None
    # With Celery's `result_extended` the record also names the task.
    name = meta.get("name") or ""
    state = _STATES.get(status, State.RUNNING)
    return Job(job_id=job_id, job_class=name, state=state, cancel_requested=status == states.REVOKED)


def end_of(
    app: Celery, job_id: str, job_class: str, *, since: int, options: TaskOptions | None
) -> Finished | Failed | Cancelled | None:
    """Return how the job's run that began at `since`, microseconds since 1970, ended; None if unrecorded."""
    meta = _record(app, job_id, job_class)
    done = _time_of(meta.get("date_done"))
    if done is None or done < since:
        return None
    match meta.get("status"):
        case states.SUCCESS:
            publishes = options is not None and options.publish_result
            report = _report_of(meta.get("result"), job_id) if publishes else None
            return Finished(job_id=job_id, job_class=job_class, report=report)
        case states.FAILURE:
            error = meta.get("result")
            event_type, fields = verdict(error if isinstance(error, BaseException) else RuntimeError(), job_id)
            return event_type(job_id=job_id, job_class=job_class, **fields)
        case _:
            return None


def _report_of(result: object, job_id: str) -> Report | None:
    with suppress(InvalidValue):
        return Report(result=clean_result(result, job_id, by_caller=False))
    return None


def _record(app: Celery, job_id: str, job_class: str = "") -> Mapping[str, Any]:
    task = app.tasks.get(job_class)
    backend = app.backend if task is None else task.backend
    record: Mapping[str, Any] = backend.get_task_meta(job_id, cache=False)
    return record


def _time_of(moment: object) -> int | None:
    """Return the microseconds since 1970 of a time that a backend gives, maybe as text, in UTC if it names no zone."""
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    if not isinstance(moment, datetime):
        return None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * SECOND)
