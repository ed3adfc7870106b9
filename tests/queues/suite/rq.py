"""RQ with django-rq, on Redis."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from immortus_channels.testing.queues.driver import Driver


class RQDriver(Driver):
    """Declares tasks by django-rq's `job`, and sends them by its `delay` and by its queue."""

    name = "rq"
    packages = ("rq", "django-rq", "redis")
    apps = ("django_rq",)
    outcomes = {"unstorable": "finished"}
    many = 200
    """A worker forks for each job."""
    cannot = {
        "test_rolled_back": "A message to Redis is not rolled back.",
        "test_rolled_back_to_a_savepoint": "A message to Redis is not rolled back.",
        "test_expired": "RQ drops a job whose ttl is over and says nothing.",
        "test_started_by_a_schedule": "A worker runs no schedule; `rq cron` is a process of its own.",
    }

    @contextmanager
    def services(self) -> Iterator[Mapping[str, str]]:
        """Start a Redis."""
        from tests.servers import RedisServer

        with RedisServer() as server:
            yield {"SUITE_REDIS": server.url}

    def command(self) -> Sequence[str]:
        """django-rq's worker, which runs one job at a time, with its scheduler."""
        return ("django", "rqworker", "default", "--with-scheduler")

    def settings(self) -> Mapping[str, Any]:
        """A queue that sends at once: `on_db_commit` would return nothing in a transaction."""
        return {
            "RQ_QUEUES": {"default": {"URL": os.environ["SUITE_REDIS"]}},
            "RQ": {"COMMIT_MODE": "auto"},
        }

    def task(self, function: Callable[..., Any], **options: Any) -> Any:
        """A function with RQ's `delay`; its scheduler counts in whole seconds."""
        from django_rq import job
        from rq import Retry

        more: dict[str, Any] = {}
        if options.get("retries"):
            more["retry"] = Retry(max=options["retries"], interval=1)
        if options.get("limit"):
            more["timeout"] = options["limit"]
        return job("default", **more)(function)

    def send(self, task: Any, *args: Any, delay: float = 0, job_id: str | None = None) -> Any:
        """Send the task, or have it scheduled."""
        if delay:
            return self._queue.enqueue_in(timedelta(seconds=delay), task, *args, job_id=job_id)
        return task.enqueue(*args, job_id=job_id)

    def send_many(self, task: Any, count: int) -> Sequence[Any]:
        """Send all in one pipeline."""
        return self._queue.enqueue_many([self._queue.prepare_data(task, (number,)) for number in range(count)])

    def retry(self, task: Any) -> Any:
        """Return what asks for another run."""
        from rq import Retry

        return Retry(max=3)

    def cancel(self, sent: Any) -> None:
        """Cancel the job."""
        sent.cancel()

    def deliver_again(self, sent: Any, message: Any) -> None:
        """Put its id into the queue once more."""
        self._queue.push_job_id(sent.id)

    def says(self, sent: Any) -> str:
        """Return the job's status."""
        return str(sent.get_status().value)

    @property
    def _queue(self) -> Any:
        from django_rq import get_queue

        return get_queue("default")
