"""What a message of Huey's calls, and what is noted on a message: Huey sends none of its attributes along."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from django.utils.module_loading import import_string
from huey.api import Task, TaskWrapper

from immortus_channels.queues.tracked import MARK, TaskOptions, options_on

TOLD = "immortus_told"
"""Set on a message whose sending was told."""
_DECLARED = "__immortus_task__"
"""Set on the class that Huey makes of a task: what its decorator returned, which bears the mark."""
_OF_DJANGO = "djtasks.run"
"""The task that runs those of django.tasks, where Huey is their backend."""


class Call(NamedTuple):
    """What the message of a tracked task calls."""

    job_class: str
    options: TaskOptions
    function: Callable[..., Any]
    args: Any
    kwargs: Mapping[str, Any]


def declare(wrapper: TaskWrapper) -> None:
    """Have `call_of` find what Huey's decorator returned, with the mark of the function under it."""
    setattr(wrapper.task_class, _DECLARED, wrapper)
    mark = options_on(wrapper.func)
    if mark is not None and options_on(wrapper) is None:
        setattr(wrapper, MARK, mark)


def name_of(kind: type[Task]) -> str:
    """Return the name under which Huey has registered the class of a task."""
    return f"{kind.__module__}.{kind.__name__}"


def call_of(message: Any) -> Call | None:
    """Return what a message calls; None for that of an untracked task, and for a group or a chord."""
    kind = type(message)
    wrapper: Any = getattr(kind, _DECLARED, None)
    options = options_on(wrapper)
    if options is not None:
        return Call(name_of(kind), options, wrapper.func, message.args, message.kwargs)
    return _call_by_django(*message.args) if kind.__name__ == _OF_DJANGO else None


def _call_by_django(path: str, args: Any, kwargs: Any) -> Call | None:
    """Return what a task of django.tasks calls: the message has its name and its arguments."""
    try:
        task = import_string(path)
    except ImportError:  # the task will fail for that
        return None
    function = getattr(task, "func", task)
    options = options_on(function)
    if options is None:
        return None
    takes = partial(function, None) if getattr(task, "takes_context", False) else function
    return Call(path, options, takes, args, kwargs)


def after(message: Any) -> Iterator[Any]:
    """Yield the messages of a pipeline that follow one: each is sent once the one before it is complete."""
    while (message := message.on_complete) is not None:
        yield message
