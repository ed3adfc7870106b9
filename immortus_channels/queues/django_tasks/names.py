"""Tasks by their names: the dotted paths by which workers import them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from immortus_channels.queues.moments import due
from immortus_channels.queues.port import Sent

QUEUE = "django.tasks"
PACKAGES = ("django.tasks", "django_tasks")
"""The packages that have the framework: Django's own, and its backport."""


def packages() -> list[str]:
    """Return which of the two packages are in use."""
    return [package for package in PACKAGES if f"{package}.signals" in sys.modules]


_kinds: dict[str, tuple[type, ...]] = {"Task": (), "TaskResult": ()}


def learn() -> None:
    """Learn the classes of the packages in use; to be called whenever another one is."""
    for name in _kinds:
        _kinds[name] = tuple(getattr(sys.modules[f"{package}.base"], name) for package in packages())


def kinds(name: str) -> tuple[type, ...]:
    """Return the class of this name, `Task` or `TaskResult`, of each of the packages in use."""
    return _kinds[name]


def is_a(name: str, thing: object) -> bool:
    """Return whether this is of the class of this name, `Task` or `TaskResult`, of one of the packages in use.

    Only the type is read: `isinstance` would make one of Celery's lazy tasks.
    """
    return issubclass(type(thing), kinds(name))


def task_at(name: str) -> Any:
    """Return the task of this name, where its module is loaded here; else None."""
    module, _, attribute = name.rpartition(".")
    found = getattr(sys.modules.get(module), attribute, None)
    return found if is_a("Task", found) else None


def function_of(task: Any) -> Callable[..., Any]:
    """Return the function of a task as its senders see it: without the context that it may take."""
    function: Callable[..., Any] = partial(task.func, None) if task.takes_context else task.func
    return function


def sent(task: Any, args: Any, kwargs: Any) -> Sent:
    """Return what is known when a task is enqueued."""
    return {"args": args, "kwargs": kwargs, "function": function_of(task), "eta": due(task.run_after)}
