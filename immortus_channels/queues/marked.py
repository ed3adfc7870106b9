"""The tasks that bear a mark above their queue's own decorator: their types, and where each has its function.

Their types' names identify them; none of their queues is imported, and none need be connected yet.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from immortus_channels.queues.body import asking

MARK = "__immortus__"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the tasks of one type have their function. Attributes of attributes are named with dots."""

    function: str
    """The attribute with the function as the project wrote it, which tells the arguments."""
    called: str = ""
    """The attribute that a worker calls, where that is another one; the mark is beside it."""
    is_copied: bool = False
    """Whether the queue makes tasks of tasks, so that an earlier one may share the function."""
    is_found_by_name: bool = False
    """Whether a worker's process looks for the function in its module, under its own name."""
    is_sent: bool = False
    """Whether the queue sends each attribute of the task along, so that the function alone bears the mark."""

    def bearers(self, holder: Any, asked: Callable[..., Any], function: Callable[..., Any]) -> Iterator[Any]:
        """Yield what bears the mark: what has the function, the one that asks, and the one under that."""
        if not self.is_sent:
            yield holder
        yield asked
        if self.is_copied:
            yield function


TYPES: Mapping[str, Place] = {
    "arq.cron.CronJob": Place(function="coroutine"),
    "arq.worker.Function": Place(function="coroutine"),
    "django.tasks.base.Task": Place(function="func", is_copied=True),
    "django_tasks.base.Task": Place(function="func", is_copied=True),
    "dramatiq.actor.Actor": Place(function="fn"),
    "dramatiq.generic.GenericActor": Place(function="perform", called="__actor__.fn"),
    "huey.api.TaskWrapper": Place(function="func", called="task_class.execute"),
    "procrastinate.tasks.Task": Place(function="func"),
    "saq.job.CronJob": Place(function="function", is_sent=True),
    "taskiq.decor.AsyncTaskiqDecoratedTask": Place(function="original_func", is_found_by_name=True),
}
"""The types of tasks, by where they are defined; what is derived from one has its function in the same place.

The tasks of the other queues are functions (RQ, Django-Q2, SAQ), or not made yet (Celery).
"""


def place_in(task: object) -> Place | None:
    """Return where the task has its function; None for a function, and for a type that is not in the table."""
    return _place_of(type(task))  # type: ignore[arg-type]  # mypy takes `object.__hash__` for the type's own


@lru_cache(maxsize=256)  # for untracked tasks it is asked with each job
def _place_of(kind: type) -> Place | None:
    named = (TYPES.get(f"{each.__module__}.{each.__qualname__}") for each in kind.__mro__)
    return next(filter(None, named), None)


def function_of(task: object) -> Callable[..., object] | None:
    """Return the function of a task, by which it takes arguments; None where the table does not tell."""
    place = place_in(task)
    return None if place is None else _at(task, place.function)


def mark_on(task: object) -> object:
    """Return the mark on a task, or on the function that it has; None if there is none."""
    mark = getattr(task, MARK, None)
    place = place_in(task) if mark is None else None
    if place is not None:
        # `put` marks what has the function that a worker calls; under the queue's decorator only a function was marked.
        holder = place.called.rpartition(".")[0]
        mark = getattr(_at(task, holder), MARK, None) if holder else None
        mark = mark_on(_at(task, place.function)) if mark is None else mark
    return mark


def put(task: object, mark: object) -> bool:
    """Mark a task, and have its function ask before its body runs; return whether the table says how."""
    place = place_in(task)
    called = "" if place is None else place.called or place.function
    function = _at(task, called)
    if place is None or function is None:
        return False
    path, _, name = called.rpartition(".")
    holder = _at(task, path) if path else task
    asked = asking(function, mark)
    for bearer in place.bearers(holder, asked, function):
        # A frozen dataclass with slots has no room, and its function bears the mark. Such a class raises TypeError
        # instead of FrozenInstanceError for what is not one of its fields (Python 3.13).
        with suppress(AttributeError, TypeError):
            setattr(bearer, MARK, mark)
    _replace(holder, name, asked)
    if place.is_found_by_name:
        _replace_in_module(function, asked)
    return True


def _at(task: object, path: str) -> Any:
    """Return the attribute at a path; None if one of them is missing."""
    found: Any = task if path else None
    for name in path.split("."):
        found = getattr(found, name, None)
    return found


def _replace(holder: Any, name: str, asked: Callable[..., Any]) -> None:
    try:
        setattr(holder, name, asked)
    except AttributeError:
        # A frozen dataclass. A replacement would not do: workers import the task by the name that it has already.
        object.__setattr__(holder, name, asked)


def _replace_in_module(function: Callable[..., Any], asked: Callable[..., Any]) -> None:
    module = sys.modules.get(function.__module__)
    if getattr(module, function.__name__, None) is function:
        setattr(module, function.__name__, asked)
