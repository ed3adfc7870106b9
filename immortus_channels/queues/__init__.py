"""The task queues in use. Which they are is settled once, in `apps.ready()`."""

from __future__ import annotations

from immortus_channels import guarded
from immortus_channels.exceptions import ConfigurationError
from immortus_channels.queues import unsupported
from immortus_channels.queues.base import Queue
from immortus_channels.queues.tracked import Tracking
from immortus_channels.recent import Recent

connected: list[Queue] = []
"""The adapters of this process."""

_sent: Recent[str, str] = Recent()


def find(job_class: str) -> tuple[Queue | None, Tracking | None]:
    """The queue and the mark of the task registered under this name; None for what is unknown here."""
    for queue in connected:
        tracking = queue.tracking(job_class)
        if tracking is not None:
            return queue, tracking
    return (connected[0] if len(connected) == 1 else None), None


def by_name(name: str) -> Queue | None:
    """The adapter called `name`, if it is connected."""
    return next((queue for queue in connected if queue.name == name), None)


def remember(job_id: str, job_class: str) -> None:
    """A queue's result knows its id alone; what this process has sent lately is remembered here."""
    _sent[job_id] = job_class


def class_of(job_id: str) -> str | None:
    """The registered name of the task a job of this id was sent for by this process, lately."""
    return _sent.get(job_id)


def interrupts() -> tuple[type[BaseException], ...]:
    """What the queues raise in the middle of anybody's code."""
    return tuple(interrupt for queue in connected for interrupt in queue.interrupts)


guarded.also_passing.append(interrupts)


def tracked_names() -> frozenset[str]:
    """The registered names of every tracked task."""
    return frozenset(name for queue in connected for name in queue.tracked_names())


def name_of(task: object) -> str:
    """The registered name of a task of any queue.

    Raises ConfigurationError for what is no task.
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
