"""What the end of a Celery task means for its job."""

from __future__ import annotations

from collections.abc import Collection

from celery.exceptions import Reject, SoftTimeLimitExceeded, TimeLimitExceeded

from immortus_channels.jobs.events import Failed
from immortus_channels.queues import verdicts
from immortus_channels.queues.verdicts import Verdict

TIME_LIMITS = (SoftTimeLimitExceeded, TimeLimitExceeded)
"""What Celery raises when a time limit is exceeded."""


def verdict(exception: BaseException, job_id: str, *, asked: Collection[str] = ()) -> Verdict:
    """Return what an exception means for a task's job; one that steers Celery counts only if it was itself raised."""
    if isinstance(exception, Reject):
        return Verdict(Failed, {"code": "rejected"})
    if type(exception).__name__ == "WorkerLostError":
        return Verdict(Failed, {"code": "worker_lost"})
    return verdicts.verdict(exception, job_id, asked=asked, limits=TIME_LIMITS)
