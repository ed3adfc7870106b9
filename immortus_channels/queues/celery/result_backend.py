"""What Celery's result backend has on record of a task.

Only an end that is of the run in question is one: a backend keeps the last word that anybody wrote under an id. And of
words Celery takes back what it calls final: `REVOKED` is written while a task waits, which may yet be run; `RETRY`
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
from immortus_channels.queues.tracked import Tracking
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
"""Celery's own words; any other is the project's, of a task that runs."""


def are_kept(app: Celery) -> bool:
    """Whether others than a task's sender, for whom alone those of rpc:// are, can read this app's results."""
    backend = str(app.backend_cls or app.conf.result_backend or "disabled")
    is_eager = app.conf.task_always_eager and not app.conf.task_store_eager_result
    return not is_eager and not backend.startswith(("disabled", "rpc"))


def job_of(app: Celery, job_id: str) -> Job | None:
    """The job as its record tells of it; None for PENDING, which backends say of every id they have never heard of."""
    told = _record(app, job_id)
    word = told.get("status")
    if not word or word == states.PENDING:
        return None
    # With Celery's `result_extended` it also says of which task it is.
    name = told.get("name") or ""
    state = _STATES.get(word, State.RUNNING)
    return Job(job_id=job_id, job_class=name, state=state, cancel_requested=word == states.REVOKED)


def end_of(
    app: Celery, job_id: str, job_class: str, *, since: int, tracking: Tracking | None
) -> Finished | Failed | Cancelled | None:
    """How a run of the job ended that began at `since`, microseconds since 1970; None where the record does not say."""
    told = _record(app, job_id, job_class)
    done = _time_of(told.get("date_done"))
    if done is None or done < since:
        return None
    match told.get("status"):
        case states.SUCCESS:
            publishes = tracking is not None and tracking.publish_result
            report = _report_of(told.get("result"), job_id) if publishes else None
            return Finished(job_id=job_id, job_class=job_class, report=report)
        case states.FAILURE:
            error = told.get("result")
            kind, fields = verdict(error if isinstance(error, BaseException) else RuntimeError(), job_id)
            return kind(job_id=job_id, job_class=job_class, **fields)
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


def _time_of(told: object) -> int | None:
    """Microseconds since 1970 of what backends give as text or as a time, in UTC where they do not say."""
    if isinstance(told, str):
        told = datetime.fromisoformat(told)
    if not isinstance(told, datetime):
        return None
    return int((told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp() * SECOND)
