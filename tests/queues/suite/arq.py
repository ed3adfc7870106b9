"""arq, on Redis."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from immortus_channels.testing.queues.driver import Driver

_OWN = "A message of arq's goes to Redis, which Django's transaction does not take back."


class ArqDriver(Driver):
    """Two jobs at once in a worker on Redis."""

    name = "arq"
    packages = ("arq", "redis")
    cannot = {
        "test_its_child_is_killed": "arq's jobs run in the main process.",
        "test_rolled_back": _OWN,
        "test_rolled_back_to_a_savepoint": _OWN,
    }
    outcomes = {"unstorable": "finished"}
    patience = 20.0
    functions: list[Any] = []
    schedule: list[Any] = []

    @contextmanager
    def services(self) -> Iterator[Mapping[str, str]]:
        """Start a Redis."""
        from tests.servers import RedisServer

        with RedisServer() as server:
            yield {"SUITE_BROKER": server.url}

    def command(self) -> Sequence[str]:
        """arq's worker with the settings of `arq_app`."""
        return ("arq", "-v", "tests.queues.suite.arq_app.WorkerSettings")

    def task(self, function: Callable[..., Any], **options: Any) -> Any:
        """A coroutine function, whose body runs in a thread."""
        if function.__name__ == "is_gone" and "IMMORTUS_SUITE_SENDER" not in os.environ:
            return None
        from arq.worker import func

        retries = options.get("retries", 0)
        coroutine = _with_context(function, options.get("delay", 0) if retries else None)
        task = func(coroutine, timeout=options.get("limit"), max_tries=1 + retries if retries else None)
        self.functions.append(task)
        return task

    def send(self, task: Any, *args: Any, delay: float = 0, job_id: str | None = None) -> Any:
        """Enqueue the function's name."""
        return _run(lambda redis: redis.enqueue_job(task.name, *args, _job_id=job_id, _defer_by=delay or None))

    def send_expiring(self, task: Any, *args: Any, seconds: float) -> Any:
        """Enqueue it with arq's `_expires`."""
        return _run(lambda redis: redis.enqueue_job(task.name, *args, _expires=seconds))

    def repeat(self, task: Any) -> None:
        """Have the worker's schedule start it each second."""
        from arq import cron

        self.schedule.append(cron(task.coroutine, second=set(range(60))))

    def retry(self, task: Any) -> Any:
        """Raise arq's Retry."""
        from arq import Retry

        raise Retry(defer=0.1)

    def cancel(self, sent: Any) -> None:
        """Abort it; arq waits for the result."""
        _run(lambda _: sent.abort(timeout=10, poll_delay=0.1))

    def deliver_again(self, sent: Any, message: Any) -> None:
        """Take away its mark in Redis, as time does."""
        from arq.constants import in_progress_key_prefix

        _run(lambda redis: redis.delete(in_progress_key_prefix + sent.job_id))

    def says(self, sent: Any) -> str:
        """What is in Redis."""
        return str(_run(lambda _: sent.status()).value)


def _with_context(function: Callable[..., Any], delay: float | None) -> Any:
    """Return the function as a coroutine function that takes arq's context first, and keeps its name and its mark.

    What it raises is a reason for another run only if it is made arq's Retry.
    """
    import inspect
    from functools import wraps

    from arq import Retry

    @wraps(function)
    async def task(ctx: Any, *args: Any) -> Any:
        if inspect.iscoroutinefunction(function):
            return await function(*args)
        try:
            return await asyncio.to_thread(function, *args)
        except ValueError as error:
            if delay is None:
                raise
            raise Retry(defer=delay) from error

    context = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    takes = [context, *inspect.signature(function).parameters.values()]
    task.__signature__ = inspect.Signature(takes)  # type: ignore[attr-defined]
    return task


_loop = asyncio.new_event_loop()
_pools: list[Any] = []


def _run(call: Callable[[Any], Any]) -> Any:
    """Call with this process's connection, in an event loop that outlives the call: connections do not change loops."""

    async def connected() -> Any:
        from arq import create_pool
        from arq.connections import RedisSettings

        if not _pools:
            _pools.append(await create_pool(RedisSettings.from_dsn(os.environ["SUITE_BROKER"])))
        return await call(_pools[0])

    return _loop.run_until_complete(connected())
