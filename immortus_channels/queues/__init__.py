"""The task queues in use; `apps.ready()` connects them once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from immortus_channels import guarded
from immortus_channels.exceptions import ConfigurationError
from immortus_channels.queues import unsupported

if TYPE_CHECKING:
    from immortus_channels.queues.base import Queue
    from immortus_channels.queues.tracked import TaskOptions

connected: list[Queue] = []
"""The adapters of this process."""


def find(job_class: str) -> tuple[Queue | None, TaskOptions | None]:
    """Return the queue and the options of the task registered under this name, each None if unknown here."""
    for queue in connected:
        options = queue.options_of(job_class)
        if options is not None:
            return queue, options
    return (connected[0] if len(connected) == 1 else None), None


def that_may_run(job_class: str) -> list[Queue]:
    """Return the queues that know a task of this name, or all of them if none does.

    Some queues run any function by its path, tasks of others among them: a name does not tell whose a job is.
    """
    return [queue for queue in connected if queue.options_of(job_class) is not None] or connected.copy()


def by_name(name: str) -> Queue | None:
    """Return the adapter called `name`, if it is connected."""
    return next((queue for queue in connected if queue.name == name), None)


def interrupts() -> tuple[type[BaseException], ...]:
    """Return the exceptions that the queues raise in the middle of running code."""
    return tuple(interrupt for queue in connected for interrupt in queue.interrupts)


guarded.more_to_pass.append(interrupts)


def tracked_names() -> frozenset[str]:
    """Return the registered names of all tracked tasks."""
    return frozenset(name for queue in connected for name in queue.tracked_names())


def name_of(task: object) -> str:
    """Return the registered name of a task of any queue.

    Raises ConfigurationError for anything that is not a task.
    """
    for queue in connected:
        name = queue.name_of(task)
        if name is not None:
            return name
    unsupported.refuse(task)
    name = getattr(task, "task", None)
    if isinstance(name, str):
        return name
    msg = f"{task!r} is not a task of any task queue in use; give the task or its registered name."
    raise ConfigurationError(msg)
