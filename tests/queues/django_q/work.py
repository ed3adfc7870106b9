"""The functions that the tests send."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from django_q.tasks import async_task

from immortus_channels import JobFailed, current_job, started_by, tracked

seen: list[Any] = []
"""What the functions did, in this process."""
meanwhile: list[Callable[[], object]] = []
"""What the next `waits` does."""


@tracked(params=True, publish_result=True)
def double(number, *, times=2):
    """Return a multiple of a number, and report half of the work."""
    job = current_job()
    job.update(current=1, total=2)
    seen.append((job.id, number))
    return number * times


@tracked
def breaks():
    """Raise what nobody expected."""
    msg = "secret"
    raise ValueError(msg)


@tracked
def fails():
    """Fail with a sentence for the user."""
    code = "no_paint"
    raise JobFailed(code, "The painter ran out of blue.")


@tracked
def breaks_once():
    """Break in the first of all runs, and then no more."""
    seen.append("run")
    if len(seen) == 1:
        raise ValueError


@tracked
def breaks_later():
    """Break in all runs but the first."""
    seen.append("run")
    if len(seen) > 1:
        raise ValueError


@tracked(publish_result=True)
def waits():
    """Let something else happen in the middle of the run."""
    seen.append("run")
    if meanwhile:
        meanwhile.pop()()
        return "first"
    return "second"


@tracked
def waits_and_breaks_beside():
    """Let another run happen meanwhile, which breaks."""
    seen.append("run")
    if not meanwhile:
        raise ValueError
    meanwhile.pop()()


@tracked
def leaves():
    """End the worker."""
    sys.exit(3)


@tracked
def overruns():
    """Work for longer than allowed."""
    for _ in range(600):
        time.sleep(0.05)


@tracked
def gives_a_function():
    """Return what cannot be pickled."""
    return lambda: None


@tracked
async def awaited():
    """Be a coroutine function."""


@tracked
def stops_when_asked():
    """Look whether the job was asked to stop, once the request was made."""
    meanwhile.pop()()
    seen.extend(current_job().track(range(3)))


@tracked
def starts_another():
    """Send a job of its own."""
    seen.append(async_task(double, 1))


def untracked(number=0):
    """Be no job."""
    seen.append(("untracked", number, current_job().id))
    return number


def hook(task):
    """Be called with the record of a task, and send a job."""
    seen.append(async_task(double, 5))


def hook_for_another(task):
    """Send a job for a user of its own choice."""
    with started_by(user("8")):
        async_task(double, 5)


class Painter:
    """Has a method that is sent."""

    @staticmethod
    @tracked
    def paint():
        """Be found by its place in the class."""


def user(pk):
    """Return what counts as a user."""
    return SimpleNamespace(pk=pk)
