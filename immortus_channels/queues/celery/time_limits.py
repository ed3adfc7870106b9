"""Time limits: whether a limit caused a `SoftTimeLimitExceeded`, or a caller that sent the same signal.

`revoke(terminate=True, signal="SIGUSR1")` and `kill -USR1` raise it in the task just as the worker's main process does
when the limit is reached.
"""

from __future__ import annotations

from math import inf
from time import monotonic
from types import TracebackType
from typing import Any

from celery import Task
from celery.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded

from immortus_channels.queues.verdicts import causes

_LIMIT = "immortus_soft_limit"
"""The key, in a request on its way to the process that runs it, of the seconds that MAIN grants."""
_BEGAN = "immortus_began"
_LATE = 0.25
"""Seconds: the main process starts to count a moment before the task's own process learns that the run begins."""


def grant(request: Any, worker: Any) -> None:
    """Send the soft limit of this delivery along (in MAIN): its sender's, its task's, or the worker's for all tasks."""
    of_sender = (request.time_limits or (None, None))[1]
    limit = of_sender or request.task.soft_time_limit or getattr(worker, "soft_time_limit", None)
    if limit:
        request.request_dict[_LIMIT] = limit


def begin(request: Any) -> None:
    """Note that the run of this request begins now."""
    setattr(request, _BEGAN, monotonic())


def is_due(request: Any) -> bool:
    """Return whether the run of this request has a soft limit and has reached it."""
    limit: float = getattr(request, _LIMIT, None) or inf
    began: float = getattr(request, _BEGAN, inf)
    return monotonic() - began >= limit - _LATE


def was_told_to_stop(exception: BaseException | None, request: Any) -> bool:
    """Return whether a caller sent the signal of a soft time limit before one was due: the run was asked to end."""
    return exception is not None and not is_due(request) and any(map(_is_signal, causes(exception)))


def _is_signal(exception: BaseException) -> bool:
    raised_in_billiard = _raised_in(exception.__traceback__) == "soft_timeout_sighandler"
    return isinstance(exception, SoftTimeLimitExceeded) and raised_in_billiard


def _raised_in(traceback: TracebackType | None) -> str:
    """Return the name of the function that raised it."""
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback.tb_frame.f_code.co_name if traceback is not None else ""


def goes_back(task: Task, exception: BaseException) -> bool:
    """Return whether a task's message returns to the broker after the hard limit, whatever Celery calls it."""
    acknowledges = getattr(task, "acks_on_timeout", task.acks_on_failure_or_timeout)  # the former since 5.7
    return isinstance(exception, TimeLimitExceeded) and bool(task.acks_late) and not acknowledges
