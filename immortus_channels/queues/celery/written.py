"""What a run has written of itself by the time it ends: Celery's result backend is the only place where that passes.

A task may write a state down and raise `Ignore`, or succeed and still not be told of; no signal says either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from celery import states
from celery._state import get_current_task
from celery.backends.base import Backend

_WRITTEN = "immortus_written"
"""Set on the request of a task that runs: the last state that was written of it; no header."""
_SENT_AGAIN = "immortus_sent_again"
"""Set on the request of a task that runs when it has sent its own retry: the time it is due, as Celery has it."""


def watch(backend: Backend) -> None:
    """Note what passes through this backend from now on. An instance is watched once, and is a thread's own mostly."""
    if "store_result" in vars(backend):
        return
    backend.store_result = _noting(backend.store_result, lambda _result=None, state="", *_, **__: state)
    # It stores nothing for a task that ignores its result.
    backend.mark_as_done = _noting(backend.mark_as_done, lambda *_, **__: states.SUCCESS)


def _noting(write: Callable[..., Any], state_of: Callable[..., str]) -> Callable[..., Any]:
    @wraps(write)
    def noting(task_id: str, *args: Any, **kwargs: Any) -> Any:
        written = write(task_id, *args, **kwargs)
        _note(task_id, _WRITTEN, state_of(*args, **kwargs))
        return written

    return noting


def note_retry(headers: Mapping[str, Any]) -> None:
    """A retry of the task that runs here is sent."""
    _note(headers["id"], _SENT_AGAIN, headers.get("eta") or "")


def _note(task_id: str, name: str, value: str) -> None:
    task = get_current_task()
    if task is not None and task.request.id == task_id:
        setattr(task.request, name, value)


def state_of(request: Any) -> str:
    """The state that was last written of the run with this request; empty where none was."""
    return getattr(request, _WRITTEN, "")


def retry_of(request: Any) -> str | None:
    """When the retry is due that the run sent itself, as ISO 8601; empty for at once, None where it sent none."""
    return getattr(request, _SENT_AGAIN, None)
