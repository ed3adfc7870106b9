"""What Procrastinate's own tables say of a job, in the database of its Django app."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.apps import apps
from django.db import connections

from immortus_channels.jobs.events import Cancelled, Failed, Finished
from immortus_channels.jobs.job import Job, State

APP = "procrastinate.contrib.django"
_STATES = {
    "todo": State.ENQUEUED,
    "doing": State.RUNNING,
    "succeeded": State.FINISHED,
    "failed": State.FAILED,
    "cancelled": State.CANCELLED,
    "aborted": State.CANCELLED,
}


def are_kept() -> bool:
    """Return whether the project has Procrastinate's Django app, which knows where the tables are."""
    return apps.is_installed(APP)


def job_of(number: int, job_id: str) -> Job | None:
    """Return the job as its row shows it."""
    with _row(number) as row:
        if row is None:
            return None
        asked = row.abort_requested
        return Job(job_id=job_id, job_class=row.task_name, state=_state_of(row), cancel_requested=asked)


def end_of(number: int, job_id: str, job_class: str) -> Finished | Failed | Cancelled | None:
    """Return the end that is in the job's row: as long as a run is not over, none of an earlier one is."""
    with _row(number) as row:
        match row and _state_of(row):
            case State.FINISHED:
                return Finished(job_id=job_id, job_class=job_class)
            case State.FAILED:
                code = "error" if row.status == "failed" else "worker_lost"
                return Failed(job_id=job_id, job_class=job_class, code=code)
            case State.CANCELLED:
                return Cancelled(job_id=job_id, job_class=job_class)
        return None


def _state_of(row: Any) -> State:
    """Return what the row means.

    An aborted job that would be retried is called failed, and one that its worker's end aborted is called aborted.
    """
    match row.status:
        case "todo" if row.attempts:
            return State.RETRYING
        case "failed" if row.abort_requested:
            return State.CANCELLED
        case "aborted" if not row.procrastinateevent_set.filter(type="abort_requested").exists():
            return State.FAILED
    return _STATES.get(row.status, State.RUNNING)


def cancel(number: int, *, abort: bool) -> None:
    """Cancel the job if it waits, and ask it to abort if it runs.

    In a worker the app's own connector belongs to the event loop.
    """
    from procrastinate.contrib.django.django_connector import DjangoConnector  # noqa: PLC0415 - for Django alone
    from procrastinate.manager import JobManager  # noqa: PLC0415 - likewise

    with _own_connection(_alias()):
        JobManager(DjangoConnector(alias=_alias())).cancel_job_by_id(number, abort=abort)


@contextmanager
def _row(number: int) -> Iterator[Any]:
    """Yield the row of `ProcrastinateJob`; None if there is none."""
    from procrastinate.contrib.django.models import ProcrastinateJob  # noqa: PLC0415 - for Django alone

    with _own_connection(_alias()):
        yield ProcrastinateJob.objects.using(_alias()).filter(pk=number).first()


def _alias() -> str:
    from procrastinate.contrib.django.settings import settings  # noqa: PLC0415 - for Django alone

    alias: str = settings.DATABASE_ALIAS
    return alias


@contextmanager
def _own_connection(alias: str) -> Iterator[None]:
    """Close the connection afterwards if it was opened meanwhile: the threads that ask do not last."""
    connection = connections[alias]
    is_open = connection.connection is not None
    try:
        yield
    finally:
        if not is_open:
            connection.close()
