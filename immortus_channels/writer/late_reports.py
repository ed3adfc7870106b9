"""Reports about a job after its end: too late to be shown, and not to be lost in silence."""

from __future__ import annotations

from immortus_channels.logs import logger



def note(job_id: str, job_class: str) -> None:
    """Log that a report came too late; once a minute for the jobs of a task."""
    logger.warning(
        "%s said something after its end, which is not shown. Say it before: in Celery's on_success or "
        "on_failure, not in after_return; in a thread, while the task waits for it; before complete() or fail().",
        f"A job of {job_class!r}" if job_class else "A job without a task",
        extra={"job_id": job_id},
    )
