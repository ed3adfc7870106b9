"""The function of a task, which asks before its body runs where no hook of the queue could refuse the run."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from contextvars import ContextVar
from functools import wraps
from typing import Any, Protocol


class Asked(Protocol):
    """What the function asks: a message that this process works at."""

    value: object
    """What the body returned; None as long as it has not."""

    @property
    def options(self) -> object:
        """The mark of its task, by which the function knows that the call is about it."""
        ...

    @property
    def refused(self) -> bool:
        """Whether the job is over, cancelled while it waited for example: its body must not run."""
        ...

    def body(self) -> AbstractContextManager[object]:
        """Note what the block raises, and that nobody else has to ask: what the body calls is not the body."""
        ...


awaited: ContextVar[Asked | None] = ContextVar("immortus_awaited", default=None)
"""The message whose run has begun here and whose body has yet to be called."""


def asking(function: Callable[..., Any], options: object) -> Callable[..., Any]:
    """Return the function in a form that runs for a message of its task if that is not refused; else it returns None.

    Any other call goes past. It has the name, the attributes and the signature of the function.
    """
    if inspect.iscoroutinefunction(function):

        @wraps(function)
        async def call(*args: Any, **kwargs: Any) -> Any:
            asked = awaited.get()
            if asked is None or asked.options is not options:
                return await function(*args, **kwargs)
            with asked.body():
                if not asked.refused:
                    asked.value = await function(*args, **kwargs)
            return asked.value

    else:

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            asked = awaited.get()
            if asked is None or asked.options is not options:
                return function(*args, **kwargs)
            with asked.body():
                if not asked.refused:
                    asked.value = function(*args, **kwargs)
            return asked.value

    # Celery reads arguments by `getfullargspec`, which does not look at `__wrapped__`.
    with suppress(TypeError, ValueError, NameError):  # annotations may name what only type checkers import
        call.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return call
