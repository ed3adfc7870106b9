"""Procrastinate, in the PostgreSQL that the project has as its default database."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from immortus_channels.testing.queues.driver import Driver


class ProcrastinateDriver(Driver):
    """Declares tasks by the Django app's decorator, and sends them by `defer`."""

    name = "procrastinate"
    packages = ("procrastinate", "psycopg")
    apps = ("procrastinate.contrib.django",)
    outcomes = {"unstorable": "finished"}
    cannot = {
        "test_a_time_limit": "Procrastinate has no time limits.",
        "test_expired": "A job of Procrastinate's does not expire.",
        "test_its_child_is_killed": "A worker has no child.",
    }

    @contextmanager
    def services(self) -> Iterator[Mapping[str, str]]:
        """Start a PostgreSQL."""
        from tests.servers import PostgresServer

        with PostgresServer() as server:
            yield {"SUITE_POSTGRES": json.dumps(server.database)}

    def command(self) -> Sequence[str]:
        """A worker that looks for jobs that are due later four times a second."""
        return ("django", "procrastinate", "worker", "--concurrency=2", "--fetch-job-polling-interval=0.25")

    def settings(self) -> Mapping[str, Any]:
        """Keep jobs, and records of them, in that PostgreSQL."""
        return {
            "DATABASES": {"default": json.loads(os.environ["SUITE_POSTGRES"])},
            "IMMORTUS_STORE": {"BACKEND": "immortus_channels.testing.queues.project.store.TellingDatabaseStore"},
        }

    def task(self, function: Callable[..., Any], **options: Any) -> Any:
        """A task that is retried by Procrastinate where it may be retried."""
        from procrastinate import RetryStrategy
        from procrastinate.contrib.django import app

        retry: Any = False
        if options.get("retries"):
            retry = RetryStrategy(max_attempts=options["retries"], wait=0)
        return app.task(name=f"suite.{function.__name__}", retry=retry)(function)

    def send(self, task: Any, *args: Any, delay: float = 0, job_id: str | None = None) -> Any:
        """Defer the task; all its arguments have names."""
        from procrastinate import utils

        due = utils.utcnow() + timedelta(seconds=delay) if delay else None
        return self._id_of(task.configure(schedule_at=due).defer(**self._named(task, args)))

    def send_many(self, task: Any, count: int) -> Sequence[Any]:
        """Defer them by one statement."""
        numbers = task.batch_defer(*(self._named(task, [number]) for number in range(count)))
        return [self._id_of(number) for number in numbers]

    @staticmethod
    def _named(task: Any, args: Sequence[Any]) -> dict[str, Any]:
        import inspect

        return dict(zip(inspect.signature(task.func).parameters, args, strict=False))

    @staticmethod
    def _id_of(number: int) -> str:
        """What a page is given for the number that `defer` returned."""
        from immortus_channels.queues.procrastinate import ProcrastinateQueue

        return ProcrastinateQueue().id_of(number)

    @staticmethod
    def _number_of(sent: str) -> int:
        return int(sent.removeprefix("procrastinate-"))

    def repeat(self, task: Any) -> None:
        """Have workers defer it each second."""
        from procrastinate.contrib.django import app

        app.periodic(cron="* * * * * *")(task)

    def retry(self, task: Any) -> Any:
        """Raise: the task's strategy alone decides."""
        msg = "once more"
        raise RuntimeError(msg)

    def cancel(self, sent: Any) -> None:
        """Cancel it by its number."""
        from procrastinate.contrib.django import app

        app.job_manager.cancel_job_by_id(self._number_of(sent))

    def deliver_again(self, sent: Any, message: Any) -> None:
        """Retry it by its number, as is done with stalled jobs."""
        from procrastinate import utils
        from procrastinate.contrib.django import app

        app.job_manager.retry_job_by_id(self._number_of(sent), utils.utcnow())

    def says(self, sent: Any) -> str:
        """The status in the table."""
        from procrastinate.contrib.django import app

        return app.job_manager.get_job_status(self._number_of(sent)).value
