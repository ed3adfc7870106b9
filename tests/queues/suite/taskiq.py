"""taskiq, on a stream and on a list of Redis."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from immortus_channels.testing.queues.driver import Driver

_OWN = "A message of taskiq's goes to Redis, which Django's transaction does not take back."


class TaskiqDriver(Driver):
    """Two jobs at once in a worker, on a stream of Redis; a scheduler sends what is due later, retries too."""

    name = "taskiq"
    packages = ("taskiq", "taskiq-redis", "redis")
    cannot = {
        "test_expired": "taskiq's messages do not expire.",
        "test_rolled_back": _OWN,
        "test_rolled_back_to_a_savepoint": _OWN,
    }
    outcomes = {"unstorable": "finished"}
    patience = 20.0
    period = 2.0

    @contextmanager
    def services(self) -> Iterator[Mapping[str, str]]:
        """Start a Redis."""
        from tests.servers import RedisServer

        with RedisServer() as server:
            yield {"SUITE_BROKER": server.url}

    def command(self) -> Sequence[str]:
        """taskiq's worker with the broker of `taskiq_app`."""
        one = ("--workers", "1", "--max-async-tasks", "2")
        return ("taskiq", "worker", *one, "tests.queues.suite.taskiq_app:broker")

    def setup(self) -> None:
        """Make the stream's group, as a broker does when it begins."""
        _run(self.sender.startup())

    def make_broker(self) -> Any:
        """Return a broker with a place for results."""
        from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

        broker = RedisStreamBroker(os.environ["SUITE_BROKER"], xread_block=500)
        return broker.with_result_backend(RedisAsyncResultBackend(os.environ["SUITE_BROKER"]))

    def make_source(self) -> Any:
        """Return what a scheduler reads, where jobs that are due later wait."""
        from taskiq_redis import ListRedisScheduleSource

        return ListRedisScheduleSource(os.environ["SUITE_BROKER"])

    def make_retry(self) -> Any:
        """Return a middleware that has a scheduler send what has failed."""
        from taskiq import SmartRetryMiddleware

        return SmartRetryMiddleware(schedule_source=self.make_source())

    @cached_property
    def broker(self) -> Any:
        """The tasks' broker, which connects in workers alone: connections do not change their event loop."""
        return self.make_broker().with_middlewares(self.make_retry())

    @cached_property
    def sender(self) -> Any:
        """The broker by which this process sends."""
        return self.make_broker()

    @cached_property
    def source(self) -> Any:
        """The source by which this process sends."""
        return self.make_source()

    def keep_scheduling(self) -> None:
        """Run a scheduler in each worker."""
        from taskiq import TaskiqEvents, TaskiqScheduler
        from taskiq.api import run_scheduler_task
        from taskiq.schedule_sources import LabelScheduleSource

        scheduler = TaskiqScheduler(self.broker, [self.make_source(), LabelScheduleSource(self.broker)])
        started: list[Any] = []

        def start(_: Any) -> None:
            often = timedelta(seconds=1)
            started.append(asyncio.create_task(run_scheduler_task(scheduler, interval=often)))

        self.broker.add_event_handler(TaskiqEvents.WORKER_STARTUP, start)

    def task(self, function: Callable[..., Any], **options: Any) -> Any:
        """A task of the broker, with its options as labels."""
        if function.__name__ == "is_gone" and "IMMORTUS_SUITE_SENDER" not in os.environ:
            return None
        labels: dict[str, Any] = {}
        if "retries" in options:  # taskiq counts runs
            labels = {"retry_on_error": True, "max_retries": 1 + options["retries"], "delay": options["delay"]}
        if "limit" in options:
            labels["timeout"] = options["limit"]
        return self.broker.task(**labels)(function)

    def send(self, task: Any, *args: Any, delay: float = 0, job_id: str | None = None) -> Any:
        """Kick the task, or have a scheduler do so."""
        kicker = task.kicker().with_broker(self.sender).with_task_id(job_id)
        if not delay:
            return _run(kicker.kiq(*args))
        return _run(kicker.schedule_by_time(self.source, datetime.now(UTC) + timedelta(seconds=delay), *args))

    def repeat(self, task: Any) -> None:
        """Have each scheduler start it each second."""
        task.labels["schedule"] = [{"interval": 1}]

    def retry(self, task: Any) -> Any:
        """Raise: the middleware sends the message again."""
        msg = "again"
        raise ValueError(msg)

    def cancel(self, sent: Any) -> None:
        """Take it out of the schedule."""
        _run(sent.unschedule())

    def deliver_again(self, sent: Any, message: Any) -> None:
        """Add a copy to the stream, which another worker gets as if it had claimed what this one holds for too long."""
        from redis import Redis

        with Redis.from_url(os.environ["SUITE_BROKER"]) as redis:
            (held,) = [entry for _, entry in redis.xrange("taskiq") if sent.task_id.encode() in entry[b"data"]]
            redis.xadd("taskiq", held)

    def says(self, sent: Any) -> str:
        """What is in Redis."""
        return "failed" if _run(sent.wait_result(timeout=5)).is_err else "done"


class ListDriver(TaskiqDriver):
    """Two jobs at once in a worker, on a list of Redis; what fails is sent again at once."""

    def make_broker(self) -> Any:
        """Return one whose workers survive that no message comes for a while."""
        from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend

        broker = ListQueueBroker(os.environ["SUITE_BROKER"], socket_timeout=None)
        return broker.with_result_backend(RedisAsyncResultBackend(os.environ["SUITE_BROKER"]))

    def make_retry(self) -> Any:
        """Return a middleware that sends it itself."""
        from taskiq import SimpleRetryMiddleware

        return SimpleRetryMiddleware()

    def message(self, sent: Any) -> Any:
        """Return it as it is in the list, which loses it to the worker that takes it."""
        from redis import Redis

        with Redis.from_url(os.environ["SUITE_BROKER"]) as redis:
            (waiting,) = [data for data in redis.lrange("taskiq", 0, -1) if sent.task_id.encode() in data]
        return waiting

    def deliver_again(self, sent: Any, message: Any) -> None:
        """Put it into the list again: a list of Redis does not do so by itself."""
        from redis import Redis

        with Redis.from_url(os.environ["SUITE_BROKER"]) as redis:
            redis.lpush("taskiq", message)


_loop = asyncio.new_event_loop()


def _run(call: Coroutine[Any, Any, Any]) -> Any:
    """Run it in an event loop that outlives the call; a job calls this in a thread."""
    return _loop.run_until_complete(call)
