"""What RQ's own record says of a job: the hash in Redis, which it keeps for a while after the job's end."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from rq.job import Job as RQJob
from rq.job import JobStatus

from immortus_channels.exceptions import InvalidValue
from immortus_channels.jobs.events import Cancelled, Failed, Finished, Report
from immortus_channels.jobs.job import Job, State
from immortus_channels.jobs.lifecycle import SECOND
from immortus_channels.queues.messages import from_header, key_in
from immortus_channels.queues.rq.marks import QUEUE, header_of
from immortus_channels.queues.tracked import TaskOptions
from immortus_channels.writer.values import clean_result

_STATES: Mapping[str, State] = {
    JobStatus.STARTED: State.RUNNING,
    JobStatus.FINISHED: State.FINISHED,
    JobStatus.FAILED: State.FAILED,
    JobStatus.STOPPED: State.CANCELLED,
}
"""Of any other status, a job waits."""
WAITING = frozenset((*JobStatus,)) - {*_STATES, JobStatus.CANCELED}


def is_of(record: RQJob, key: str) -> bool:
    """Return whether the record is of the job with this key: that of a namespace says so in its header."""
    return bool(key_in((header_of(record) or {}).get("namespace", ""), record.id) == key)


def job_of(record: RQJob, key: str) -> Job | None:
    """Return a tracked job as its record shows it; None for others.

    RQ calls a job that runs canceled, too, and then changes its mind.
    """
    header = header_of(record)
    if header is None or not is_of(record, key):
        return None
    origin, status = from_header(header), record.get_status(refresh=False)
    is_cancelled = status == JobStatus.CANCELED
    state = State.CANCELLED if is_cancelled and record.started_at is None else _STATES.get(status, State.ENQUEUED)
    about: dict[str, Any] = {"owner": origin.owner, "staff_only": origin.staff_only, "queue": QUEUE}
    return Job(job_id=key, state=state, cancel_requested=is_cancelled, **about)


def end_of(
    record: RQJob, key: str, job_class: str, *, since: int, options: TaskOptions | None
) -> Finished | Failed | Cancelled | None:
    """Return how a run ended that began at `since`, microseconds since 1970; None if that is not on record."""
    if not is_of(record, key) or record.ended_at is None or _time_of(record.ended_at) < since:
        return None
    match record.get_status(refresh=False):
        case JobStatus.FINISHED:
            publishes = options is not None and options.publish_result
            return Finished(job_id=key, job_class=job_class, report=_report_of(record, key) if publishes else None)
        case JobStatus.FAILED:
            return Failed(job_id=key, job_class=job_class)
        case JobStatus.STOPPED:
            return Cancelled(job_id=key, job_class=job_class)
    return None


def _report_of(record: RQJob, key: str) -> Report | None:
    with suppress(InvalidValue):
        return Report(result=clean_result(record.return_value(), key, by_caller=False))
    return None


def _time_of(moment: datetime) -> int:
    """Return the microseconds since 1970 of a time of RQ's, which is in UTC if it names no zone."""
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * SECOND)
