"""What a run has recorded about itself by the time it ends: only Celery's result backend sees all of it.

A task may record a state and raise `Ignore`, or succeed and send no success signal; no signal reports either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from celery import states
from celery._state import get_current_task
from celery.backends.base import Backend

_WRITTEN = "immortus_written"
"""Set on the request of a running task: the last state that was recorded for it; not a header."""
_SENT_AGAIN = "immortus_sent_again"
"""Set on the request of a running task that has sent its own retry: the time it is due, in Celery's form."""


def watch(backend: Backend) -> None:
    """Note the states that this backend stores from now on, once for each instance; most belong to one thread."""
    if "store_result" in vars(backend):
        return
    backend.store_result = _note_after(backend.store_result, lambda _result=None, state="", *_, **__: state)
    # It stores nothing for a task that ignores its result.
    backend.mark_as_done = _note_after(backend.mark_as_done, lambda *_, **__: states.SUCCESS)


def _note_after(write: Callable[..., Any], state_of: Callable[..., str]) -> Callable[..., Any]:
    @wraps(write)
    def write_and_note(task_id: str, *args: Any, **kwargs: Any) -> Any:
        written = write(task_id, *args, **kwargs)
        _note(task_id, _WRITTEN, state_of(*args, **kwargs))
        return written

    return write_and_note


def note_retry(headers: Mapping[str, Any]) -> None:
    """Note that the task that runs here has sent a retry."""
    _note(headers["id"], _SENT_AGAIN, headers.get("eta") or "")


def _note(task_id: str, name: str, value: str) -> None:
    task = get_current_task()
    if task is not None and task.request.id == task_id:
        setattr(task.request, name, value)


def state_of(request: Any) -> str:
    """Return the state that was last recorded for the run with this request; empty if none was."""
    return getattr(request, _WRITTEN, "")


def retry_of(request: Any) -> str | None:
    """Return when the retry that the run sent is due, as ISO 8601; empty for at once, None if it sent none."""
    return getattr(request, _SENT_AGAIN, None)
