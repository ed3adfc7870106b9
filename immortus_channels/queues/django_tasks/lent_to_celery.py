"""django-tasks-celery: its jobs are Celery's, whose adapter follows them once it finds their mark on Celery's tasks."""

from __future__ import annotations

import inspect
from collections.abc import Generator
from functools import partial
from typing import Any

from celery import current_app
from django.utils.module_loading import import_string

from immortus_channels.queues.django_tasks.names import function_of
from immortus_channels.queues.hooks import around, guard
from immortus_channels.queues.tracked import MARK, options_on


def connect(kind: type) -> None:
    """Lend Celery the marks of the tasks of this class of backends."""
    around(kind, validate_task=_lend)


def _lend(backend: Any, task: Any) -> Generator[None, None, None] | None:
    """Be around the method that registers each task with Celery, as a function of the backend's own."""
    return None if options_on(task.func) is None else _lend_mark(backend, task)


def _lend_mark(backend: Any, task: Any) -> Generator[None, None, None]:
    yield
    path = backend.options.get("CELERY_APP")
    app = import_string(path) if path else current_app
    mark = guard(partial(_mark, task))
    if app.finalized:
        mark(app)
    else:
        app.on_after_finalize.connect(mark, weak=False)


def _mark(task: Any, sender: Any, **_: object) -> None:
    """Mark Celery's task of this name, and tell its function what the arguments are called."""
    celery_task = sender.tasks.get(task.module_path)
    if celery_task is not None:
        setattr(celery_task, MARK, options_on(task.func))
        celery_task.run.__signature__ = inspect.signature(function_of(task))
