"""Huey: threads and processes on SQLite and on Redis, and what is sent once the transaction is committed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from immortus_channels.testing.queues.driver import Driver

_OWN = "A message of Huey's goes to its own {}, which Django's transaction does not take back."


class HueyDriver(Driver):
    """Declares tasks by `db_task`; two threads of `run_huey` work, on SQLite."""

    name = "huey"
    packages = ("huey",)
    outcomes = {"unstorable": "finished", "test_asked_to_stop": "failed"}
    apps = ("huey.contrib.djhuey",)
    cannot = {
        "test_a_coroutine_function": "Huey refuses to make a task of a coroutine function.",
        "test_a_time_limit": "Huey's threads have no time limit.",
        "test_rolled_back": _OWN.format("file"),
        "test_rolled_back_to_a_savepoint": _OWN.format("file"),
        "test_its_child_is_killed": "Threads are in the main process.",
        "test_delivered_again_while_it_runs": "Huey has no message any more once a worker has taken it.",
    }
    period = 60.0
    program: Sequence[str] = ("django", "run_huey")
    workers = "thread"

    def command(self) -> Sequence[str]:
        """Two workers that look for messages and for what is due as often as Huey allows."""
        return (*self.program, "-w", "2", "-k", self.workers, "-d", "0.02", "-m", "0.05", "-s", "1")

    def settings(self) -> Mapping[str, Any]:
        """The queue's file beside the database."""
        folder = os.environ["IMMORTUS_SUITE_FOLDER"]
        queue = {"huey_class": "huey.SqliteHuey", "filename": f"{folder}/huey.db", "timeout": 20}
        return {"HUEY": {"name": "suite", "immediate": False, **queue}}

    def task(self, function: Callable[..., Any], **options: Any) -> Any:
        """A task that Huey retries where it may be retried."""
        from huey.contrib.djhuey import db_task

        return db_task(**self._options(options))(function)

    def _options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        retries = {"retries": options.get("retries", 0), "retry_delay": options.get("delay", 0)}
        return {**retries, "timeout": options.get("limit")}

    def send(self, task: Any, *args: Any, delay: float = 0, job_id: str | None = None) -> Any:
        """Call the task."""
        return task(*args, delay=delay or None, id=job_id)

    def send_many(self, task: Any, count: int) -> Sequence[Any]:
        """Map it."""
        return list(task.map(range(count)))

    def send_expiring(self, task: Any, *args: Any, seconds: float) -> Any:
        """Call the task, with the seconds after which Huey drops it."""
        return task(*args, expires=seconds)

    def repeat(self, task: Any) -> None:
        """Have the scheduler call it each minute; it looks at no shorter time."""
        from huey.contrib.djhuey import HUEY

        HUEY.periodic_task(lambda _: True, name="periodic_ticks")(task.func)

    def retry(self, task: Any) -> Any:
        """Raise RetryTask."""
        from huey.exceptions import RetryTask

        raise RetryTask(delay=0.1)

    def cancel(self, sent: Any) -> None:
        """Revoke it."""
        sent.revoke()


class OnCommitDriver(HueyDriver):
    """Declares tasks by `on_commit_task`."""

    cannot = {
        **{name: reason for name, reason in HueyDriver.cannot.items() if "rolled_back" not in name},
        "test_started_by_a_schedule": "A schedule has no transaction to wait for.",
    }

    def task(self, function: Callable[..., Any], **options: Any) -> Any:
        """A task that is sent once the transaction is committed."""
        from huey.contrib.djhuey import on_commit_task

        return on_commit_task(**self._options(options))(function)

    def send_many(self, task: Any, count: int) -> Sequence[Any]:
        """Send one by one: such a task has no `map`."""
        return [self.send(task, number) for number in range(count)]


class ProcessesDriver(HueyDriver):
    """Two processes work."""

    cannot = {
        name: reason
        for name, reason in HueyDriver.cannot.items()
        if name not in ("test_a_time_limit", "test_its_child_is_killed")
    }
    workers = "process"


class RedisDriver(HueyDriver):
    """The messages are in Redis."""

    packages = ("huey", "redis")
    cannot = {
        **HueyDriver.cannot,
        "test_rolled_back": _OWN.format("Redis"),
        "test_rolled_back_to_a_savepoint": _OWN.format("Redis"),
    }

    @contextmanager
    def services(self) -> Iterator[Mapping[str, str]]:
        """Start a Redis."""
        from tests.servers import RedisServer

        with RedisServer() as server:
            yield {"SUITE_REDIS": server.url}

    def settings(self) -> Mapping[str, Any]:
        """The queue's Redis."""
        connection = {"url": os.environ["SUITE_REDIS"]}
        return {"HUEY": {"name": "suite", "immediate": False, "connection": connection}}


class GreenletsDriver(HueyDriver):
    """Two greenlets work."""

    packages = ("huey", "gevent")
    cannot = {**ProcessesDriver.cannot, "test_its_child_is_killed": "Greenlets are in the main process."}
    program = ("tests.queues.suite.huey_greenlets",)
    workers = "greenlet"
