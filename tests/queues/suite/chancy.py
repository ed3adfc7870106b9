"""Chancy, by the adapter of the how-to, in the PostgreSQL that the project has as its default database."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from asgiref.sync import async_to_sync

from immortus_channels.testing.queues.driver import Driver


class ChancyDriver(Driver):
    """Declares tasks by the decorator, and pushes them with a cursor of Django's."""

    name = "chancy"
    packages = ("chancy", "psycopg")
    apps = ("tests.queues.suite.chancy_app.ChancyConfig",)
    outcomes = {"unstorable": "finished", "test_asked_to_stop": "finished"}
    cannot = {
        "test_expired": "A job of chancy's does not expire.",
        "test_started_by_a_schedule": "Its schedules are a plugin, which the short adapter does not know.",
    }
    patience = 25.0
    many = 300

    @contextmanager
    def services(self) -> Iterator[Mapping[str, str]]:
        """Start a PostgreSQL."""
        from tests.servers import PostgresServer

        with PostgresServer() as server:
            yield {"SUITE_POSTGRES": json.dumps(server.database)}

    def command(self) -> Sequence[str]:
        """A worker with two processes."""
        return ("chancy.cli.cli", "--app", "tests.queues.suite.chancy_app.make", "worker", "start")

    def settings(self) -> Mapping[str, Any]:
        """Keep jobs, and records of them, in that PostgreSQL."""
        return {
            "DATABASES": {"default": json.loads(os.environ["SUITE_POSTGRES"])},
            "IMMORTUS_STORE": {"BACKEND": "immortus_channels.testing.queues.project.store.TellingDatabaseStore"},
        }

    def setup(self) -> None:
        """Make chancy's tables and its queue."""
        from chancy import Queue

        from tests.queues.suite.chancy_app import make

        async def prepare() -> None:
            async with make() as chancy:
                await chancy.migrate()
                await chancy.declare(Queue("default", concurrency=2, polling_interval=1, eager_polling=True))

        async_to_sync(prepare)()

    def task(self, function: Callable[..., Any], **options: Any) -> Any:
        """A function with a job."""
        from chancy import job
        from chancy.job import Limit

        limits = [Limit(Limit.Type.TIME, options["limit"])] if "limit" in options else []
        return job(max_attempts=options.get("retries", 0) + 1, limits=limits)(function)

    def send(self, task: Any, *args: Any, delay: float = 0, job_id: str | None = None) -> Any:
        """Push it with a cursor of Django's connection; all its arguments have names."""
        return self._push([self._job(task, args, delay)])[0]

    def send_many(self, task: Any, count: int) -> Sequence[Any]:
        """Push them at once."""
        return self._push([self._job(task, [number]) for number in range(count)])

    @staticmethod
    def _job(task: Any, args: Sequence[Any], delay: float = 0) -> Any:
        named = dict(zip(inspect.signature(task).parameters, args, strict=False))
        return task.job.with_kwargs(**named).with_scheduled_at(datetime.now(UTC) + timedelta(seconds=delay))

    @staticmethod
    def _push(jobs: Sequence[Any]) -> Sequence[Any]:
        from django.db import connection, transaction
        from psycopg.rows import dict_row

        from tests.queues.suite.chancy_app import make

        with transaction.atomic(), connection.connection.cursor(row_factory=dict_row) as cursor:
            return make().sync_push_many_ex(cursor, jobs)

    def retry(self, task: Any) -> Any:
        """Raise: the job has attempts left."""
        msg = "once more"
        raise RuntimeError(msg)

    def cancel(self, sent: Any) -> None:
        """Cancel it by its reference."""
        from tests.queues.suite.chancy_app import make

        async def cancel() -> None:
            async with make() as chancy:
                await chancy.cancel_job(sent)

        async_to_sync(cancel)()

    def says(self, sent: Any) -> str:
        """The state in the table."""
        from tests.queues.suite.chancy_app import make

        with make() as chancy:
            return str(chancy.sync_get_job(sent).state.value)
