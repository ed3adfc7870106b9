"""Celery, on Redis."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from immortus_channels.testing.queues.driver import Driver


class CeleryDriver(Driver):
    """Declares tasks by `shared_task`, and sends them by `apply_async`."""

    name = "celery"
    packages = ("celery", "redis")
    cannot = {
        "test_a_coroutine_function": "Celery does not await the coroutine of a task.",
        "test_rolled_back": "A message to Redis is not rolled back.",
        "test_rolled_back_to_a_savepoint": "A message to Redis is not rolled back.",
    }
    period = 0.5
    pool: Sequence[str] = ("-B",)

    @contextmanager
    def services(self) -> Iterator[Mapping[str, str]]:
        """Start a Redis."""
        from tests.servers import RedisServer

        with RedisServer() as server:
            yield {"SUITE_REDIS": server.url}

    def command(self) -> Sequence[str]:
        """The prefork pool unless another one is asked for, with two processes, threads or greenlets."""
        options = (*self.pool, "-c", "2", "--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "INFO")
        return ("celery", "-A", "tests.queues.suite.celery_app", "worker", *options)

    def task(self, function: Callable[..., Any], **options: Any) -> Any:
        """A task that Celery retries by itself where it may be retried."""
        from celery import shared_task

        from tests.queues.suite import celery_app  # noqa: F401 - the tasks are its

        retries, limit = options.get("retries"), options.get("limit")
        more: dict[str, Any] = {}
        if retries:
            more |= {"autoretry_for": (ValueError,), "max_retries": retries, "default_retry_delay": options["delay"]}
        if limit:
            more["time_limit"] = limit
        return shared_task(name=f"suite.{function.__name__}", **more)(function)

    def send(self, task: Any, *args: Any, delay: float = 0, job_id: str | None = None) -> Any:
        """Send a task."""
        return task.apply_async(args, countdown=delay or None, task_id=job_id)

    def send_expiring(self, task: Any, *args: Any, seconds: float) -> Any:
        """Send a task that the worker revokes later."""
        return task.apply_async(args, expires=seconds)

    def repeat(self, task: Any) -> None:
        """Have beat send it, which runs in the worker."""
        from tests.queues.suite.celery_app import app

        app.conf.beat_schedule = {"ticks": {"task": task.name, "schedule": self.period}}

    def retry(self, task: Any) -> Any:
        """Raise what `retry` returns."""
        raise task.retry(countdown=0.1)

    def cancel(self, sent: Any) -> None:
        """Revoke it."""
        sent.revoke()

    def message(self, sent: Any) -> Any:
        """The last message in Redis."""
        from tests.queues.suite.celery_app import app

        with app.connection_for_write() as connection:
            return connection.default_channel.client.lindex("celery", 0)

    def deliver_again(self, sent: Any, message: Any) -> None:
        """Put it back as Kombu does when the visibility timeout of an unacknowledged message is over."""
        from tests.queues.suite.celery_app import app

        payload = json.loads(message)
        payload["headers"]["redelivered"] = payload["properties"]["delivery_info"]["redelivered"] = True
        with app.connection_for_write() as connection:
            connection.default_channel.client.lpush("celery", json.dumps(payload))

    def says(self, sent: Any) -> str:
        """What the result backend has."""
        return str(sent.state)


class GeventDriver(CeleryDriver):
    """The pool of gevent, whose greenlets share a thread."""

    packages = ("celery", "redis", "gevent")
    cannot = {
        **CeleryDriver.cannot,
        "test_its_child_is_killed": "Greenlets run in the main process.",
        "test_started_by_a_schedule": "A worker of this pool runs no beat.",
    }
    pool = ("-P", "gevent")
