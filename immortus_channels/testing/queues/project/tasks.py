"""The suite's tasks, declared as the queue's own users do."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from immortus_channels.api.repository import current_job
from immortus_channels.queues.results import identify
from immortus_channels.queues.tracked import tracked
from immortus_channels.testing.queues import bodies
from immortus_channels.testing.queues.project.settings import DRIVER

CASES = {
    "overruns": "test_a_time_limit",
    "returns_async": "test_a_coroutine_function",
    "ticks": "test_started_by_a_schedule",
    "is_gone": "test_a_task_that_the_worker_does_not_know",
}
"""The tasks that not every queue can have, with their cases."""


def _task(function: Callable[..., Any], options: Mapping[str, Any] | None = None, **marks: Any) -> Any:
    """Declare a task, unless the driver says that its queue cannot have its case."""
    function.__module__ = __name__
    if CASES.get(function.__name__) in DRIVER.cannot:
        return None
    return DRIVER.task(tracked(**marks)(function), **(options or {}))


def retries_itself() -> Any:
    """Run again in the queue's own way."""
    if current_job().attempt == 1:
        return DRIVER.retry(globals()["retries_itself"])
    return "again"


def starts_another() -> None:
    """Send a job of its own."""
    current_job().set_meta(child=str(identify(DRIVER.send(returns, "child"))[0]))


returns = _task(bodies.returns, publish_result=True, params=True)
raises = _task(bodies.raises)
fails = _task(bodies.fails)
flaky = _task(bodies.flaky, {"retries": 3, "delay": 0.2})
works = _task(bodies.works)
sleeps = _task(bodies.sleeps)
leaves_traces = _task(bodies.leaves_traces)
waits_for_leave = _task(bodies.waits_for_leave)
unstorable = _task(bodies.unstorable)
retries_itself = _task(retries_itself, {"retries": 3, "delay": 0.2})
starts_another = _task(starts_another)
overruns = _task(bodies.overruns, {"limit": 1})
returns_async = _task(bodies.returns_async, publish_result=True)
ticks = _task(bodies.ticks)
if ticks is not None:
    DRIVER.repeat(ticks)
if "IMMORTUS_SUITE_SENDER" in os.environ:
    is_gone = _task(bodies.is_gone)
