"""Time limits: whether one is behind a `SoftTimeLimitExceeded`, or somebody who sent the same signal.

`revoke(terminate=True, signal="SIGUSR1")` and `kill -USR1` raise it in the task as the worker's main process does when
the limit is reached.
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
"""The key of a request, on its way to the process that runs it: the seconds that its main process grants it."""
_BEGAN = "immortus_began"
_LATE = 0.25
"""Seconds: the main process counts from a moment before the task's own process hears that the run begins."""


def grant(request: Any, worker: Any) -> None:
    """MAIN. Send along the soft limit of this delivery: its sender's, its task's, or the worker's for all tasks."""
    of_sender = (request.time_limits or (None, None))[1]
    limit = of_sender or request.task.soft_time_limit or getattr(worker, "soft_time_limit", None)
    if limit:
        request.request_dict[_LIMIT] = limit


def begin(request: Any) -> None:
    """The run of this request begins now."""
    setattr(request, _BEGAN, monotonic())


def is_due(request: Any) -> bool:
    """Whether the run of this request has a soft limit and has reached it."""
    limit: float = getattr(request, _LIMIT, None) or inf
    began: float = getattr(request, _BEGAN, inf)
    return monotonic() - began >= limit - _LATE


def was_told_to_stop(exception: BaseException | None, request: Any) -> bool:
    """Whether somebody sent the signal of a soft time limit before one was due: they want the run to end."""
    return exception is not None and not is_due(request) and any(map(_is_signal, causes(exception)))


def _is_signal(exception: BaseException) -> bool:
    raised_in_billiard = _raised_in(exception.__traceback__) == "soft_timeout_sighandler"
    return isinstance(exception, SoftTimeLimitExceeded) and raised_in_billiard


def _raised_in(traceback: TracebackType | None) -> str:
    """The name of the function that raised it."""
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback.tb_frame.f_code.co_name if traceback is not None else ""


def goes_back(task: Task, exception: BaseException) -> bool:
    """Whether the message of a task that exceeded its hard limit goes back to the broker, whatever Celery calls it."""
    acknowledges = getattr(task, "acks_on_timeout", task.acks_on_failure_or_timeout)  # the former since 5.7
    return isinstance(exception, TimeLimitExceeded) and bool(task.acks_late) and not acknowledges
