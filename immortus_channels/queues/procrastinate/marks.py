"""What marks a job of Procrastinate: its id, and the options of its task."""

from __future__ import annotations

from typing import Any

from immortus_channels.queues.tracked import TaskOptions, options_on, unmarked

QUEUE = "procrastinate"
_PREFIX = f"{QUEUE}-"
"""Procrastinate's own ids are numbers, which other queues count, too."""


def id_of(number: int) -> str:
    """Return the job's id for the number that Procrastinate gave it."""
    return f"{_PREFIX}{number}"


def number_of(job_id: str) -> int | None:
    """Return the number in a job's id; None where it cannot be one of Procrastinate's."""
    number = job_id.removeprefix(_PREFIX)
    is_number = number.isascii() and number.isdigit() and len(number) < len(str(2**63))
    return int(number) if is_number and number != job_id else None


def options_of(task: Any) -> TaskOptions | None:
    """Return the mark on a task, or on the function under its decorator; None for no task and an untracked one."""
    if task is None or task in unmarked:
        return None
    options = options_on(task) or options_on(task.func)
    if options is None:
        unmarked.add(task)
    return options
