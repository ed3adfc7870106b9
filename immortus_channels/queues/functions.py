"""Queues whose tasks are functions that messages name without their module, as a worker's list of functions does."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from types import FunctionType
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.core.checks import CheckMessage, Warning  # noqa: A004 - Django's name

from immortus_channels.loading import Later
from immortus_channels.queues import marked, tracked
from immortus_channels.queues.base import Queue
from immortus_channels.queues.tracked import TaskOptions, options_on

if TYPE_CHECKING:
    from immortus_channels.jobs import events
    from immortus_channels.queues import messages
else:  # `django.setup()` loads none of them
    events = Later("immortus_channels.jobs.events")
    messages = Later("immortus_channels.queues.messages")

_OF_QUEUES = (1, 4)
"""The versions of the UUIDs that queues make for one job each (RFC 9562): of a time, or random."""
_TOLD = "told"
"""Whether the sender has told of the job; of a function that it does not know it cannot know whether it is tracked."""


class FunctionQueue(Queue):
    """A queue whose workers have a list of functions, and whose senders have their names.

    A process that sends knows the tracked functions of the modules that it has imported.
    """

    runs_functions = True

    def options_of(self, job_class: str) -> TaskOptions | None:
        """Return the mark of the function of this name."""
        return options_on(self.task_of(job_class))

    def task_of(self, name: str) -> object:
        """Return what has this name in a worker of this process, else the marked function; None if it is unknown."""
        task = self.tasks.get(name)
        return find(name) if task is None else task

    def is_other(self, name: str) -> bool:
        """Return whether a worker of this process has a function of this name that is not tracked."""
        return name in self.tasks and options_on(self.tasks[name]) is None

    def function_of(self, name: str) -> Callable[..., Any] | None:
        """Return what takes the arguments."""
        task: Any = self.task_of(name)
        return marked.function_of(task) or task

    def tracked_names(self) -> set[str]:
        """Return the names of the tracked functions."""
        return super().tracked_names() | {name for name in _names() if find(name) is not None}

    def name_of(self, task: object) -> str | None:
        """Return the name by which a worker of this process has the task, else a marked function's own."""
        for name, known in self.tasks.copy().items():
            if task is known or task is marked.function_of(known):
                return name
        name = task.__qualname__ if type(task) is FunctionType else ""
        return name if name and find(name) is task else None

    def problems(self) -> list[CheckMessage]:
        """Return which tracked functions cannot be told apart."""
        return list(_twins(self.name))


def find(name: str) -> Callable[..., Any] | None:
    """Return the marked function of this name, where it is in a module that is loaded; None if there are several.

    What another queue has made a task of is not a function any more.
    """
    found = list(_called(name))
    return found[0] if len(found) == 1 else None


def _called(name: str) -> Iterator[Callable[..., Any]]:
    end = f".{name}"
    for place in tuple(tracked.places):  # other threads import
        if place.endswith(end):
            module = place.removesuffix(end)
            function: Any = getattr(sys.modules.get(module), name, None)
            if tracked.is_marked_function(function, place):
                yield function


def _names() -> list[str]:
    return [place.rpartition(".")[2] for place in tuple(tracked.places)]


def _twins(queue: str) -> Iterator[CheckMessage]:
    for name, count in sorted(Counter(_names()).items()):
        functions = list(_called(name)) if count > 1 else []
        if len(functions) > 1:
            modules = " and ".join(sorted(repr(function.__module__) for function in functions))
            yield Warning(
                f"{modules} have tracked functions that are both called {name!r}. The messages of {queue} name them "
                "without their module, so a worker with both runs one in place of the other, and the jobs of both are "
                "told only once they run.",
                hint="Rename one of them. Silence this if no queue has both.",
                id="immortus_channels.W065",
            )


def of_unknown_sender(job_id: str, sent_at: object) -> dict[str, Any] | None:
    """Return a header for a message that came without one, where a job before it may have had its id.

    It tells the two lives apart by the time of sending, and leaves the job to staff: whose it is nobody knows. None for
    a random id, which is that of one job alone.
    """
    if _is_random(job_id):
        return None
    return messages.first_header(events.Origin(send_id=f"{job_id} {sent_at}", staff_only=True), job_id)


def _is_random(job_id: str) -> bool:
    with suppress(ValueError):
        return UUID(job_id).version in _OF_QUEUES
    return False


def with_told(header: Mapping[str, Any], *, is_told: bool) -> dict[str, Any]:
    """Return the header for a message that the sender has told of, or not."""
    return {**header, _TOLD: is_told}


def is_told(header: Mapping[str, Any] | None) -> bool:
    """Return whether the sender of the message with this header has told of its job."""
    return header is not None and bool(header.get(_TOLD))
