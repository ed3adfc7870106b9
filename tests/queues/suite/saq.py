"""SAQ, on Redis and on PostgreSQL."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from immortus_channels.testing.queues.driver import Driver

_OWN = "A message of SAQ's goes by its own connection to {}, which Django's transaction does not take back."


class SAQDriver(Driver):
    """Two jobs at once in a worker on Redis."""

    name = "saq"
    packages = ("saq", "redis")
    cannot = {
        "test_expired": "SAQ's jobs do not expire.",
        "test_its_child_is_killed": "SAQ's jobs run in the main process.",
        "test_rolled_back": _OWN.format("Redis"),
        "test_rolled_back_to_a_savepoint": _OWN.format("Redis"),
    }
    period = 3.0
    functions: list[Any] = []
    schedule: list[Any] = []

    @contextmanager
    def services(self) -> Iterator[Mapping[str, str]]:
        """Start a Redis."""
        from tests.servers import RedisServer

        with RedisServer() as server:
            yield {"SUITE_BROKER": server.url}

    def command(self) -> Sequence[str]:
        """SAQ's worker with the settings of `saq_app`."""
        return ("saq", "-v", "tests.queues.suite.saq_app.settings")

    def task(self, function: Callable[..., Any], **options: Any) -> Any:
        """A function that takes the arguments by a name; what its jobs are sent with is noted on it."""
        if function.__name__ == "is_gone" and "IMMORTUS_SUITE_SENDER" not in os.environ:
            return None
        task = _with_context(function)
        self.functions.append(task)
        retries = {"retries": 1 + options.get("retries", 0), "retry_delay": options.get("delay", 0.0)}
        task.options = {**retries, "timeout": options.get("limit", 0)}
        return task

    def send(self, task: Any, *args: Any, delay: float = 0, job_id: str | None = None) -> Any:
        """Enqueue the function's name."""
        more = {"key": job_id} if job_id else {}
        due = {"scheduled": time.time() + delay} if delay else {}
        return _run(lambda queue: queue.enqueue(_job_of(task, args, **more, **due)))

    def repeat(self, task: Any) -> None:
        """Have the worker's schedule start it each second."""
        from saq import CronJob

        self.schedule.append(CronJob(task, cron="* * * * * */1"))

    def retry(self, task: Any) -> Any:
        """Raise: SAQ has no other way."""
        msg = "again"
        raise ValueError(msg)

    def cancel(self, sent: Any) -> None:
        """Abort it."""
        _run(lambda _: sent.abort("enough"))

    def message(self, sent: Any) -> None:
        """Keep sweeps away meanwhile: one that finds the end of the first run on record aborts the second run."""
        _run(lambda queue: queue.redis.set(queue._sweep, 1, ex=15))

    def deliver_again(self, sent: Any, message: Any) -> None:
        """Put it back as a worker's sweep does."""

        async def sweep(queue: Any) -> None:
            await sent.refresh()
            await queue.retry(sent, queue.swept_error_message)

        _run(sweep)

    def says(self, sent: Any) -> str:
        """What is in Redis."""
        _run(lambda _: sent.refresh())
        return str(sent.status.value)


class PostgresDriver(SAQDriver):
    """Two jobs at once in a worker on PostgreSQL."""

    packages = ("saq", "psycopg")
    cannot = {
        **SAQDriver.cannot,
        "test_rolled_back": _OWN.format("PostgreSQL"),
        "test_rolled_back_to_a_savepoint": _OWN.format("PostgreSQL"),
    }

    @contextmanager
    def services(self) -> Iterator[Mapping[str, str]]:
        """Start a PostgreSQL."""
        from tests.servers import PostgresServer

        with PostgresServer() as server:
            yield {"SUITE_BROKER": f"postgres://postgres@/postgres?host={server.directory}&port={server.port}"}

    def message(self, sent: Any) -> None:
        """Nothing is needed: here a sweep looks at what a job says of itself."""


def _with_context(function: Callable[..., Any]) -> Any:
    """Return the function in a form that takes SAQ's context first, and keeps its name, its mark and its parameters."""
    import inspect
    from functools import wraps

    names = list(inspect.signature(function).parameters)
    context = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if inspect.iscoroutinefunction(function):

        @wraps(function)
        async def task(ctx: Any, **arguments: Any) -> Any:
            return await function(**arguments)

    else:

        @wraps(function)
        def task(ctx: Any, **arguments: Any) -> Any:
            return function(**arguments)

    takes = [context, *inspect.signature(function).parameters.values()]
    task.__signature__ = inspect.Signature(takes)  # type: ignore[attr-defined]
    task.names = names  # type: ignore[attr-defined]
    return task


def _job_of(task: Any, args: Sequence[Any], **more: Any) -> Any:
    from saq import Job

    return Job(task.__qualname__, kwargs=dict(zip(task.names, args, strict=False)), **task.options, **more)


_loop = asyncio.new_event_loop()
_queues: list[Any] = []


def _run(call: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
    """Call with this process's queue, in an event loop that outlives the call: connections do not change loops."""

    async def connected() -> Any:
        from saq import Queue

        if not _queues:
            _queues.append(Queue.from_url(os.environ["SUITE_BROKER"]))
            await _queues[0].connect()
        return await call(_queues[0])

    return _loop.run_until_complete(connected())
