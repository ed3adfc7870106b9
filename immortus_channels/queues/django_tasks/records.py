"""What backends have on record of a job. Their word counts, except for RUNNING: that outlives a killed worker."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from immortus_channels.exceptions import InvalidValue, JobCancelled
from immortus_channels.jobs.events import Failed, Finished, Report
from immortus_channels.jobs.job import Job, State
from immortus_channels.loading import name_of
from immortus_channels.queues.django_tasks.names import packages
from immortus_channels.queues.moments import due
from immortus_channels.queues.tracked import TaskOptions, options_on
from immortus_channels.writer.values import clean_result

_STATES = {
    "READY": State.ENQUEUED,
    "RUNNING": State.RUNNING,
    "SUCCESSFUL": State.FINISHED,
    "FAILED": State.FAILED,
}


def backends() -> Iterator[Any]:
    """Yield the backends of the project's settings, except those that cannot be made."""
    for package in packages():
        handler = sys.modules[package].task_backends
        for alias in handler:
            with suppress(ImproperlyConfigured):
                yield handler[alias]


def keepers() -> Iterator[Any]:
    """Yield those that any process can ask for a result."""
    yield from (backend for backend in backends() if backend.supports_get_result)


def find(job_id: str) -> Any:
    """Return the result of a tracked task's job; None if no backend has it. Raises what a backend raises."""
    for backend in keepers():
        try:
            result = backend.get_result(job_id)
        except Exception as error:
            if type(error).__name__ != "TaskResultDoesNotExist":
                raise
        else:
            if result.task is not None and options_on(result.task.func) is not None:
                return result
    return None


def job_of(job_id: str) -> Job | None:
    """Return the job as its record shows it."""
    result = find(job_id)
    if result is None:
        return None
    return Job(job_id=job_id, job_class=result.task.module_path, state=_STATES[result.status])


def end_of(job_id: str, *, since: int) -> Finished | Failed | None:
    """Return how the job's run that began at `since`, microseconds since 1970, ended; None if unrecorded."""
    result = find(job_id)
    if result is None or not result.is_finished or (due(result.finished_at) or 0) < since:
        return None
    about: dict[str, Any] = {"job_id": job_id, "job_class": result.task.module_path}
    if result.status == "FAILED":
        return Failed(stopped=_was_stopped(result), **about)
    return Finished(report=_report_of(result, options_on(result.task.func)), **about)


def _was_stopped(result: Any) -> bool:
    return any(error.exception_class_path == name_of(JobCancelled) for error in result.errors[-1:])


def _report_of(result: Any, options: TaskOptions | None) -> Report | None:
    if options is not None and options.publish_result:
        with suppress(InvalidValue):
            return Report(result=clean_result(result.return_value, result.id, by_caller=False))
    return None
