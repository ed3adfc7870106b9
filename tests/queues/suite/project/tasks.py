"""The suite's tasks, declared as the queue's own users do."""

from __future__ import annotations

from typing import Any

from django.conf import settings

from immortus_channels import current_job, tracked
from tests.queues.suite import bodies
from tests.queues.suite.driver import Driver

DRIVER: Driver = getattr(settings, "DRIVER")  # noqa: B009 - a setting of ours, which no type knows
CASES = {"overruns": "test_a_time_limit", "returns_async": "test_a_coroutine_function"}
"""The tasks that not every queue can have, with their cases."""


def _task(function: Any, options: Any = None, **marks: Any) -> Any:
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
    current_job().set_meta(child=_sent_id(DRIVER.send(returns, "child")))


def _sent_id(sent: Any) -> str:
    from immortus_channels.queues.results import identify

    return str(identify(sent)[0])


returns = _task(bodies.returns, publish_result=True, params=True)
raises = _task(bodies.raises)
fails = _task(bodies.fails)
flaky = _task(bodies.flaky, {"retries": 3, "delay": 0.2})
works = _task(bodies.works)
sleeps = _task(bodies.sleeps)
unstorable = _task(bodies.unstorable)
retries_itself = _task(retries_itself, {"retries": 3, "delay": 0.2})
starts_another = _task(starts_another)
overruns = _task(bodies.overruns, {"limit": 1})
returns_async = _task(bodies.returns_async, publish_result=True)
