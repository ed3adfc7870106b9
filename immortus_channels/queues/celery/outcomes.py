"""What the way a Celery task ended means for its job."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from celery.exceptions import Reject, SoftTimeLimitExceeded, TimeLimitExceeded

from immortus_channels.events import Cancelled, Failed
from immortus_channels.exceptions import JobCancelled, JobFailed
from immortus_channels.lifecycle import SECOND
from immortus_channels.values import clean_error


def verdict(job_id: str, job_class: str, run_id: str, exception: BaseException) -> Failed | Cancelled:
    """What an exception means for the job. Its text stays in the log: only JobFailed speaks to end users."""
    match exception:
        case JobCancelled():
            return Cancelled(job_id=job_id, job_class=job_class, run_id=run_id)
        case JobFailed():
            said = clean_error(exception.code, exception.message, job_id)
            code, message = said.code, said.message
        case SoftTimeLimitExceeded() | TimeLimitExceeded():
            code, message = "time_limit", ""
        case Reject():
            code, message = "rejected", ""
        case _:
            code = "worker_lost" if type(exception).__name__ == "WorkerLostError" else "error"
            message = ""
    return Failed(job_id=job_id, job_class=job_class, run_id=run_id, code=code, message=message)


def due(when: datetime | float | None) -> int | None:
    """Microseconds since 1970 of a retry that is given in seconds from now or as a time."""
    if when is None:
        return None
    at = when if isinstance(when, datetime) else datetime.now(UTC) + timedelta(seconds=when)
    return int(at.timestamp() * SECOND)
