"""The rows of django-tasks-db, each a message and the record of its result: their signals know more than the queue's.

A row is told before it is inserted, so that no worker is faster. And a worker that cannot find a task sends no signal
of the framework.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db import models
from django.db.models.signals import post_save, pre_save
from django.utils import timezone

from immortus_channels.exceptions import JobCancelled
from immortus_channels.loading import Later, name_of
from immortus_channels.queues.django_tasks.names import sent
from immortus_channels.queues.hooks import guard
from immortus_channels.queues.port import Port
from immortus_channels.queues.tracked import TaskOptions

if TYPE_CHECKING:
    from immortus_channels.jobs import events
    from immortus_channels.queues.sendings import Sending
else:
    events = Later("immortus_channels.jobs.events")

_SENDING = "_immortus_sending"
"""Set on the row of a job that is being sent."""


def model() -> type[models.Model] | None:
    """Return the model of the rows, if its app is installed."""
    app = next((app for app in apps.get_app_configs() if app.name == "django_tasks_db"), None)
    return None if app is None else app.get_model("DBTaskResult")


def is_told(task_result: Any) -> bool:
    """Return whether this is the result of a row whose sending was told before it was inserted."""
    row = getattr(task_result, "db_result", None)
    return row is not None and _SENDING in vars(row)


def database_of(task_result: Any) -> str | None:
    """Return the database in which the row of this result is; None for the result of another backend."""
    row = getattr(task_result, "db_result", None)
    return row._state.db if isinstance(row, models.Model) else None  # noqa: SLF001 - Django documents it


def drop(job_id: str) -> None:
    """Keep workers from a job that waits: its row says then what it says of a job that stopped itself."""
    rows: Any = model()
    with suppress(ValueError):  # another backend's id
        waiting = rows and rows.objects.filter(id=uuid.UUID(job_id), status="READY")
        if waiting is not None:
            error = name_of(JobCancelled)
            waiting.update(status="FAILED", finished_at=timezone.now(), exception_class_path=error)


class Rows:
    """Receives the signals of the model."""

    def __init__(self, port: Port, options_of: Callable[[str], TaskOptions | None]) -> None:
        self._port, self._options_of = port, options_of

    def connect(self) -> None:
        """Receive from now on what the model sends, if its app is installed."""
        sender = model()
        if sender is not None:
            pre_save.connect(self.saving, sender=sender, weak=False, dispatch_uid="immortus")
            post_save.connect(self.saved, sender=sender, weak=False, dispatch_uid="immortus")

    @guard
    def saving(self, instance: Any, *, raw: bool, **_: object) -> None:
        """Tell that a job is about to be inserted. An id that the database is to make is known later."""
        if not instance._state.adding or raw:  # noqa: SLF001 - likewise
            return
        options = self._options_of(instance.task_path)
        if options is not None and isinstance(instance.pk, uuid.UUID | str):
            about = sent(instance.task, **instance.args_kwargs)
            setattr(instance, _SENDING, self._port.sent(instance.pk, instance.task_path, options, **about))

    @guard
    def saved(self, instance: Any, *, created: bool, using: str, **_: object) -> None:
        """Confirm an insert; and tell of a row that failed because no worker has its task."""
        sending: Sending | None = vars(instance).get(_SENDING)
        if created and sending is not None:
            sending.confirm(using=using)
        elif instance.status == "FAILED" and not _has_task(instance):
            self._port.ended(events.Failed, instance.pk, "", code="unknown_task", unstarted=True)


def _has_task(row: Any) -> bool:
    """Return whether the task of this row can be found here, and belongs into the row's queue."""
    try:
        return row.task is not None
    except Exception:  # noqa: BLE001 - whatever it is, a worker of this code cannot run the job
        return False
