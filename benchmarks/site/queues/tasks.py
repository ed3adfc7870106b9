"""Tasks that do nothing: one that nobody follows, one with `@tracked`, and one as the queue's users tell of a job."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import cache
from typing import Any

from benchmarks.site.queues import hooked
from benchmarks.site.queues.settings import DRIVER
from immortus_channels import tracked

NOTES = "BENCH_NOTES"
"""The variable with the file in which each run says when it began, by the machine's monotonic clock."""


def _task(function: Callable[..., Any]) -> Any:
    function.__module__ = __name__
    return DRIVER.task(function)


def bare() -> None:
    """Do nothing."""
    _note("bare")


def followed() -> None:
    """Do nothing, followed."""
    _note("followed")


def told() -> None:
    """Say twice that nothing was done, by the queue's own means."""
    _note("told")
    DRIVER.tell()
    DRIVER.tell()


def _note(kind: str) -> None:
    os.write(_notes(), f"{kind} {time.monotonic_ns()}\n".encode())


@cache
def _notes() -> int:
    return os.open(os.environ[NOTES], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def hooks() -> None:
    """Say what the hooks take that a run has met since the one before began."""
    took = hooked.microseconds(int(os.environ["BENCH_HOOKS"]))
    os.write(_notes(), f"{took} 0\n".encode())
    hooked.forget()


bare = _task(bare)
hooks = _task(hooks)
followed = _task(tracked(followed))
told = _task(told)
