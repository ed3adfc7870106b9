"""Django-Q2, on its ORM broker and on Redis."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from immortus_channels.testing.queues.driver import Driver

RETRY = 5
"""Seconds after which the queue delivers a message again."""
TIMEOUT = 8
"""Seconds a run may take: what a killed worker leaves behind comes back, and would keep the next ones at work."""
ATTEMPTS = 4


class DjangoQDriver(Driver):
    """Sends plain functions by `async_task`; what is to be retried comes back, up to four times in all."""

    name = "django-q2"
    packages = ("django-q2",)
    apps = ("django_q",)
    outcomes = {"unstorable": "finished", "test_delivered_again_while_it_runs": "finished"}
    patience = 30.0
    cannot = {
        "test_a_coroutine_function": "Django-Q2 does not await the coroutine of a function.",
        "test_expired": "A message of Django-Q2's does not expire.",
    }
    period = 60.0

    def settings(self) -> Mapping[str, Any]:
        """Two workers that fetch little ahead, so that a message seldom comes back before its job has begun."""
        cluster = {
            "name": "suite",
            "orm": "default",
            "workers": 2,
            "queue_limit": 2,
            "poll": 0.05,
            "guard_cycle": 0.1,
            "retry": RETRY,
            "timeout": TIMEOUT,
            "max_attempts": ATTEMPTS,
        }
        return {"Q_CLUSTER": cluster}

    def command(self) -> Sequence[str]:
        """A cluster."""
        return ("django", "qcluster")

    def task(self, function: Callable[..., Any], **options: Any) -> Any:
        """The function itself; what Django-Q2 is to do with it is said when it is sent."""
        sent_with = {} if options.get("retries") else {"ack_failure": True}
        if options.get("limit"):
            sent_with["timeout"] = options["limit"]
        function.sent_with = sent_with  # type: ignore[attr-defined]
        return function

    def send(self, task: Any, *args: Any, delay: float = 0, job_id: str | None = None) -> Any:
        """Send a function by its name; of the cluster's own means, only the lock of a row makes it wait."""
        from django_q.tasks import async_task

        broker = {"broker": _later(delay)} if delay else {}
        name = f"{task.__module__}.{task.__name__}"
        return async_task(name, *args, q_options={**task.sent_with, **broker})

    def repeat(self, task: Any) -> None:
        """A row of the schedule, which `setup` makes."""

    def setup(self) -> None:
        """Make that row; the cluster looks at the schedule every half a minute."""
        from django_q.models import Schedule

        function = "immortus_channels.testing.queues.project.tasks.ticks"
        Schedule.objects.create(func=function, schedule_type=Schedule.MINUTES, minutes=1)

    def retry(self, task: Any) -> Any:
        """Raise, whereupon the message comes back."""
        msg = "again, please"
        raise RuntimeError(msg)

    def cancel(self, sent: Any) -> None:
        """Delete its row, as the admin does."""
        from django_q.models import OrmQ

        (row,) = (row for row in OrmQ.objects.all() if row.task_id() == sent)
        row.delete()

    def deliver_again(self, sent: Any, message: Any) -> None:
        """It comes again by itself, `RETRY` seconds after it was fetched."""

    def says(self, sent: Any) -> str:
        """Return whether its row says that it was a success."""
        from django_q.models import Task

        row = Task.objects.filter(id=sent).first()
        return "" if row is None else "success" if row.success else "failure"


def _later(delay: float) -> Any:
    """Return a broker whose messages are not fetched for so many seconds."""
    from django.utils import timezone
    from django_q.brokers.orm import ORM
    from django_q.models import OrmQ

    class Later(ORM):
        """Locks each message from the start."""

        def enqueue(self, task: Any) -> Any:
            """Put it into the table."""
            pk = super().enqueue(task)
            OrmQ.objects.filter(pk=pk).update(lock=timezone.now() + timedelta(seconds=delay))
            return pk

    return Later()


class DjangoQRedisDriver(DjangoQDriver):
    """The same on Redis, which forgets a message once it was delivered: a task runs once."""

    packages = ("django-q2", "redis")
    _WITHOUT_RETRIES = "On Redis, Django-Q2 delivers no message a second time."
    _NOT_LATER = "On Redis, Django-Q2 delivers a message at once; a schedule has no job before it is due."
    cannot = {
        **DjangoQDriver.cannot,
        "test_retried_then_finished": _WITHOUT_RETRIES,
        "test_exhausted": _WITHOUT_RETRIES,
        "test_retried_in_the_queue_s_own_way": _WITHOUT_RETRIES,
        "test_delivered_again_while_it_runs": _WITHOUT_RETRIES,
        "test_cancelled_while_due_later": _NOT_LATER,
        "test_cancelled_by_the_queue": "On Redis, Django-Q2 has no means to take a message out of the queue.",
        "test_rolled_back": "A message to Redis is not rolled back.",
        "test_rolled_back_to_a_savepoint": "A message to Redis is not rolled back.",
    }

    @contextmanager
    def services(self) -> Iterator[Mapping[str, str]]:
        """Start a Redis."""
        from tests.servers import RedisServer

        with RedisServer() as server:
            yield {"SUITE_REDIS": server.url}

    def settings(self) -> Mapping[str, Any]:
        """Two workers on that Redis."""
        cluster = {**super().settings()["Q_CLUSTER"], "orm": None, "redis": os.environ["SUITE_REDIS"]}
        return {"Q_CLUSTER": cluster}
