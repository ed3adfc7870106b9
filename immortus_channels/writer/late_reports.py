"""Reports about a job after its end: too late to be shown, and not to be lost in silence."""

from __future__ import annotations

from typing import Any

from immortus_channels.logs import logger


def note(job: Any) -> None:
    """Log that a report about a job, or from its run, came too late; once a minute for the jobs of a task."""
    logger.warning(
        "%s said something after its end, which is not shown. Say it before: in Celery's on_success or "
        "on_failure, not in after_return; in a thread, while the task waits for it; before complete() or fail().",
        f"A job of {job.job_class!r}" if job.job_class else "A job without a task",
        extra={"job_id": job.job_id},
    )
