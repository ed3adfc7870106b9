"""Dramatiq, on Redis and on RabbitMQ."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from immortus_channels.testing.queues.driver import Driver


class DramatiqDriver(Driver):
    """Declares actors by `dramatiq.actor`, and sends them by `send_with_options`; on Redis, with django-dramatiq."""

    name = "dramatiq"
    packages = ("dramatiq", "django-dramatiq", "dramatiq-abort", "redis")
    apps = ("django_dramatiq",)
    outcomes = {"unstorable": "finished"}
    cannot = {
        "test_rolled_back": "A message to Redis is not rolled back.",
        "test_rolled_back_to_a_savepoint": "A message to Redis is not rolled back.",
        "test_started_by_a_schedule": "Dramatiq has no schedule of its own.",
    }

    @contextmanager
    def services(self) -> Iterator[Mapping[str, str]]:
        """Start a Redis."""
        from tests.servers import RedisServer

        with RedisServer() as server:
            yield {"SUITE_REDIS": server.url}

    def command(self) -> Sequence[str]:
        """One process with two threads."""
        return ("django", "rundramatiq", "--processes", "1", "--threads", "2")

    def settings(self) -> Mapping[str, Any]:
        """The broker, with Dramatiq's own middleware and what the cases need beside it.

        What a killed worker has left is taken up after two seconds, not after a minute and by chance.
        """
        names = ("AgeLimit", "TimeLimit", "ShutdownNotifications", "Callbacks", "Pipelines", "Retries", "AsyncIO")
        middleware = [f"dramatiq.middleware.{name}" for name in names]
        middleware.append("django_dramatiq.middleware.DbConnectionsMiddleware")
        broker = {
            "BROKER": "dramatiq.brokers.redis.RedisBroker",
            "OPTIONS": {"url": os.environ["SUITE_REDIS"], "heartbeat_timeout": 2000, "maintenance_chance": 1_000_000},
            "MIDDLEWARE": [*middleware, self._abortable()],
        }
        return {"DRAMATIQ_BROKER": broker}

    def _abortable(self) -> Any:
        from dramatiq_abort import Abortable
        from dramatiq_abort.backends import RedisBackend
        from redis import Redis

        return Abortable(backend=RedisBackend(client=Redis.from_url(os.environ["SUITE_REDIS"])))

    def task(self, function: Callable[..., Any], **options: Any) -> Any:
        """An actor that Dramatiq retries only where it may be retried."""
        import dramatiq

        delay = int(options.get("delay", 0) * 1000) or 1
        more = {"time_limit": options["limit"] * 1000} if "limit" in options else {}
        return dramatiq.actor(max_retries=options.get("retries", 0), min_backoff=delay, max_backoff=delay, **more)(
            function
        )

    def send(self, task: Any, *args: Any, delay: float = 0, job_id: str | None = None) -> Any:
        """Send a message."""
        return task.send_with_options(args=args, delay=int(delay * 1000) or None)

    def send_many(self, task: Any, count: int) -> Sequence[Any]:
        """Send a group."""
        import dramatiq

        return dramatiq.group([task.message(number) for number in range(count)]).run().children

    def send_expiring(self, task: Any, *args: Any, seconds: float) -> Any:
        """Send a message that is too old then."""
        return task.send_with_options(args=args, max_age=int(seconds * 1000))

    def retry(self, task: Any) -> Any:
        """Raise `Retry`."""
        import dramatiq

        raise dramatiq.Retry(delay=100)

    def deliver_again(self, sent: Any, message: Any) -> None:
        """Put its id back into the list, as Dramatiq does with what a lost worker had."""
        import dramatiq

        broker: Any = dramatiq.get_broker()
        broker.client.rpush(f"{broker.namespace}:{sent.queue_name}", sent.options["redis_message_id"])

    def cancel(self, sent: Any) -> None:
        """Abort it by dramatiq-abort."""
        from dramatiq_abort import abort

        abort(sent.message_id)


class DramatiqOnRabbitDriver(DramatiqDriver):
    """The same on RabbitMQ, without django-dramatiq."""

    packages = ("dramatiq", "pika")
    apps = ()
    cannot = {
        "test_rolled_back": "A message to RabbitMQ is not rolled back.",
        "test_rolled_back_to_a_savepoint": "A message to RabbitMQ is not rolled back.",
        "test_started_by_a_schedule": "Dramatiq has no schedule of its own.",
        "test_cancelled_by_the_queue": "Dramatiq by itself has no cancel, and dramatiq-abort keeps its own on Redis.",
    }

    @contextmanager
    def services(self) -> Iterator[Mapping[str, str]]:
        """Start a RabbitMQ."""
        from tests.servers import RabbitServer

        with RabbitServer() as server:
            yield {"SUITE_RABBIT": server.url}

    def command(self) -> Sequence[str]:
        """Dramatiq's own command, with one process and two threads."""
        return ("dramatiq", "--processes", "1", "--threads", "2", "tests.queues.suite.dramatiq_app")

    def settings(self) -> Mapping[str, Any]:
        """Dramatiq by itself has none in Django."""
        return {}

    def task(self, function: Callable[..., Any], **options: Any) -> Any:
        """An actor of the app's broker."""
        from tests.queues.suite import dramatiq_app  # noqa: F401 - the actors are its

        return super().task(function, **options)

    def deliver_again(self, sent: Any, message: Any) -> None:
        """Publish it again, as RabbitMQ does when the connection of the worker that had it is lost."""
        from tests.queues.suite.dramatiq_app import broker

        broker.channel.basic_publish("", sent.queue_name, sent.encode())
