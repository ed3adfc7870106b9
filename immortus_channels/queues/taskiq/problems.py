"""What taskiq makes of tracked tasks without a word, found without connecting to anything."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning  # noqa: A004 - Django's name
from taskiq import AsyncBroker, AsyncTaskiqDecoratedTask, InMemoryBroker, SmartRetryMiddleware


def problems(tracked: Iterable[AsyncTaskiqDecoratedTask[..., Any]]) -> Iterator[CheckMessage]:
    """Yield what is wrong with these tasks, and with their brokers."""
    brokers: dict[int, AsyncBroker] = {}
    for task in tracked:
        broker = getattr(task.broker, "_default_broker", None) or task.broker
        brokers[id(broker)] = broker
        yield from _never_retried(task, broker)
    for broker in brokers.values():
        yield from _retried_at_once(broker)
        yield from _ends_when_idle(broker)
        yield from _ends_with_its_request(broker)


def _never_retried(task: AsyncTaskiqDecoratedTask[..., Any], broker: AsyncBroker) -> Iterator[CheckMessage]:
    is_meant = str(task.labels.get("retry_on_error", "")).lower() == "true"
    names = {kind.__name__ for each in broker.middlewares for kind in type(each).__mro__}
    if is_meant and not any("retry" in name.lower() for name in names):
        yield Warning(
            f"The task {task.task_name!r} has retry_on_error, and its broker has no middleware that reads it: what "
            "fails is never retried.",
            hint="broker.add_middlewares(SimpleRetryMiddleware()). Silence this if a middleware of your own retries.",
            id="immortus_channels.W066",
        )


def _retried_at_once(broker: AsyncBroker) -> Iterator[CheckMessage]:
    smart = [each for each in broker.middlewares if isinstance(each, SmartRetryMiddleware)]
    if _is_on_redis(broker) and any(each.schedule_source is None for each in smart):
        yield Warning(
            f"SmartRetryMiddleware of a {type(broker).__name__} has no schedule_source, and Redis knows no delay: a "
            "task is retried at once, whatever its `delay` says.",
            hint="SmartRetryMiddleware(schedule_source=ListRedisScheduleSource(url)), and run `taskiq scheduler`.",
            id="immortus_channels.W067",
        )


def _ends_when_idle(broker: AsyncBroker) -> Iterator[CheckMessage]:
    pool = getattr(broker, "connection_pool", None)
    if _is_on_redis(broker) and "List" in type(broker).__name__ and pool is not None:
        seconds = getattr(pool.make_connection(), "socket_timeout", None)
        if seconds is not None:
            yield Warning(
                f"A worker of this {type(broker).__name__} ends once no message has come for {seconds} s, and takes "
                "what it runs along: that is lost.",
                hint="RedisStreamBroker(url), or ListQueueBroker(url, socket_timeout=None).",
                id="immortus_channels.W068",
            )


def _ends_with_its_request(broker: AsyncBroker) -> Iterator[CheckMessage]:
    if isinstance(broker, InMemoryBroker) and not settings.DEBUG:
        yield Warning(
            "The broker of tracked tasks is an InMemoryBroker: a job runs in the process that sends it, and ends with "
            "the event loop of its request, done or not.",
            hint="A broker with workers where users wait for jobs.",
            id="immortus_channels.W069",
        )


def _is_on_redis(broker: AsyncBroker) -> bool:
    return any(kind.__module__.startswith("taskiq_redis.") for kind in type(broker).__mro__)
