"""What the suite's tasks do, in plain functions; `project.tasks` makes tasks of them in the queue's own way."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from immortus_channels.api.repository import current_job
from immortus_channels.exceptions import JobFailed

NO_PAINT = "no_paint", "The painter ran out of blue."


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
    raise JobFailed(*NO_PAINT)


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
    """Work without a sign of life of its own; at once where an earlier run was killed at that."""
    time.sleep(seconds if current_job().attempt == 1 else 0)
    return "awake"


def leaves_traces(name: str, seconds: float = 0) -> str:
    """Say in a file when a run begins and when it ends, whatever is told of it."""
    _trace(name, "began")
    time.sleep(seconds)
    _trace(name, "ended")
    return name


def waits_for_leave(name: str) -> str:
    """Run until the case gives leave to this run, the first or the second of its name."""
    _trace(name, "began")
    folder = Path(os.environ["IMMORTUS_SUITE_FOLDER"])
    number = (folder / f"traces-{name}").read_text().count("began")
    until = time.monotonic() + 20
    while not (folder / f"leave-{name}-{number}").exists() and time.monotonic() < until:
        time.sleep(0.05)
    _trace(name, "ended")
    return name


def _trace(name: str, what: str) -> None:
    path = Path(os.environ["IMMORTUS_SUITE_FOLDER"], f"traces-{name}")
    with path.open("a") as file:
        file.write(f"{what} {time.time()} {current_job().id}\n")


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


def ticks(timestamp: int = 0) -> None:
    """Be started by the queue's own schedule, which may say when."""


def is_gone() -> None:
    """Be known to the sender alone, as after a release that renamed a task."""
