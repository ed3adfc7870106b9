"""What the suite's tasks do, in plain functions; `project.tasks` makes tasks of them in the queue's own way."""

from __future__ import annotations

import time
from typing import Any

from immortus_channels import JobFailed, current_job


def returns(value: Any = None) -> Any:
    """Report half of the work, and return the value."""
    job = current_job()
    job.update(current=1, total=2, message="half")
    job.set_meta(own_id=job.id)
    return value


def raises() -> None:
    """Raise what the task did not expect."""
    msg = "secret"
    raise ValueError(msg)


def fails() -> None:
    """Fail with a sentence for the user."""
    code = "no_paint"
    raise JobFailed(code, "The painter ran out of blue.")


def flaky(times: int) -> str:
    """Raise in the first runs."""
    if current_job().attempt <= times:
        msg = "not yet"
        raise ValueError(msg)
    return "at last"


def works(seconds: float) -> str:
    """Work in small steps, before each of which a cancel may stop it."""
    for _ in current_job().track(range(max(int(seconds / 0.05), 1))):
        time.sleep(0.05)
    return "done"


def sleeps(seconds: float) -> str:
    """Work without a sign of life of its own."""
    time.sleep(seconds)
    return "awake"


async def returns_async(value: Any = None) -> Any:
    """Do what `returns` does, on an event loop."""
    job = current_job()
    job.update(current=1, total=2)
    job.set_meta(own_id=job.id)
    return value


def unstorable() -> object:
    """Return what no queue can store as JSON."""
    return object()


def overruns() -> None:
    """Work for longer than the task may."""
    for _ in range(600):
        time.sleep(0.05)
