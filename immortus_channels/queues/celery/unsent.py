"""Messages that Celery refuses after it has told of them: no signal says so, `apply_async` alone raises."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Any

from kombu.exceptions import SerializationError, SerializerNotInstalled

from immortus_channels.queues.hooks import guard

if TYPE_CHECKING:
    from celery import Task

    from immortus_channels.queues.sendings import Sending

_MARK = "__immortus__"
_told: ContextVar[list[Sending] | None] = ContextVar("immortus_celery_told", default=None)
"""What `apply_async` has told here of a message that the broker does not have yet."""


def note(*sending: Sending) -> None:
    """Note the sending of a message that is about to go out; without one, that the broker has it."""
    told = _told.get()
    if told is not None:
        told[:] = sending


def watch(task: Task) -> None:
    """Have the `apply_async` of a tracked task tell of a message that cannot be serialized; it raises as ever.

    Whatever else it raises, the broker may have the message. The base class is asked at each call: tests replace its
    method.
    """
    task_class = type(task)
    own = vars(task_class).get("apply_async")
    if getattr(own, _MARK, False):
        return

    @wraps(task_class.apply_async)
    def apply_async(self: Task, *args: Any, **kwargs: Any) -> Any:
        send = super(task_class, self).apply_async if own is None else own.__get__(self, task_class)
        return _send(send, *args, **kwargs)

    setattr(apply_async, _MARK, True)
    task_class.apply_async = apply_async


def _send(send: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    told: list[Sending] = []
    token = _told.set(told)
    try:
        return send(*args, **kwargs)
    except (SerializationError, SerializerNotInstalled):
        for sending in told:
            guard(sending.fail)()
        raise
    finally:
        _told.reset(token)
