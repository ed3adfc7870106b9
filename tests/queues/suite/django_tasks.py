"""django.tasks, by the backend that keeps its messages in the project's database."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from importlib.util import find_spec
from typing import Any

from immortus_channels.testing.queues.driver import Driver

NO_RETRIES = "django.tasks has no retries."
NOT_IN_THE_FRAMEWORK = {
    "test_a_time_limit": "django.tasks has no time limits.",
    "test_expired": "django.tasks has no expiry.",
    "test_started_by_a_schedule": "django.tasks has no schedules.",
}
HAS_FRAMEWORK = find_spec("django.tasks") is not None
"""Whether Django is 6 or newer; the tasks of older ones are those of the backport."""


class DjangoTasksDriver(Driver):
    """Declares tasks by `@task`, and sends them by `enqueue`."""

    name = "django.tasks"
    packages = ("Django", "django-tasks", "django-tasks-db")
    cannot = {
        "test_retried_then_finished": NO_RETRIES,
        "test_exhausted": NO_RETRIES,
        "test_retried_in_the_queue_s_own_way": NO_RETRIES,
        **NOT_IN_THE_FRAMEWORK,
        "test_cancelled_by_the_queue": "django.tasks has no cancel.",
        "test_its_child_is_killed": "A worker has no child.",
        "test_delivered_again_while_it_runs": "The row of a task that a worker has taken is not given to another one.",
    }
    apps = ("django_tasks_db",) if HAS_FRAMEWORK else ("django_tasks", "django_tasks_db")

    def command(self) -> Sequence[str]:
        """A worker runs one job after the other."""
        return ("django", "db_worker", "--interval", "0.05", "--no-startup-delay", "-v2")

    def settings(self) -> Mapping[str, Any]:
        """The backend, whose queues a worker may not know any more."""
        queues = ["another"] if "SUITE_QUEUES" in os.environ else ["default"]
        return {"TASKS": {"default": {"BACKEND": "django_tasks_db.DatabaseBackend", "QUEUES": queues}}}

    def task(self, function: Callable[..., Any], **options: Any) -> Any:
        """A task, unless the worker's code is said not to have it."""
        if os.environ.get("SUITE_GONE") == function.__name__:
            return None
        if HAS_FRAMEWORK:
            from django.tasks import task
        else:
            from django_tasks import task
        return task(function, queue_name="another" if "SUITE_QUEUES" in os.environ else "default")

    def send(self, task: Any, *args: Any, delay: float = 0, job_id: str | None = None) -> Any:
        """Enqueue a task."""
        from django.utils import timezone

        due = task.using(run_after=timezone.now() + timedelta(seconds=delay)) if delay else task
        return due.enqueue(*args)

    def says(self, sent: Any) -> str:
        """Return the status of its result."""
        sent.refresh()
        return str(sent.status)


class RedisDriver(DjangoTasksDriver):
    """django-tasks-redis."""

    packages = ("Django", "django-tasks-redis", "redis")
    cannot = {
        **DjangoTasksDriver.cannot,
        "test_rolled_back": "A message to Redis is not rolled back.",
        "test_rolled_back_to_a_savepoint": "A message to Redis is not rolled back.",
    }
    apps = ("django_tasks_redis",)

    @contextmanager
    def services(self) -> Iterator[Mapping[str, str]]:
        """Start a Redis."""
        from tests.servers import RedisServer

        with RedisServer() as server:
            yield {"SUITE_REDIS": server.url}

    def command(self) -> Sequence[str]:
        """A worker that goes on when it has run all jobs."""
        return ("django", "run_redis_tasks", "--continuous")

    def settings(self) -> Mapping[str, Any]:
        """The backend."""
        options = {"REDIS_URL": os.environ["SUITE_REDIS"]}
        return {"TASKS": {"default": {"BACKEND": "django_tasks_redis.RedisTaskBackend", "OPTIONS": options}}}


class CeleryDriver(DjangoTasksDriver):
    """django-tasks-celery, whose jobs Celery's adapter follows."""

    name = "celery"
    packages = ("Django", "django-tasks-celery", "celery")
    cannot = {
        "test_retried_then_finished": NO_RETRIES,
        "test_exhausted": NO_RETRIES,
        **NOT_IN_THE_FRAMEWORK,
        "test_rolled_back": "A message to Redis is not rolled back.",
        "test_rolled_back_to_a_savepoint": "A message to Redis is not rolled back.",
    }
    apps = ()

    services = RedisDriver.services

    def command(self) -> Sequence[str]:
        """Celery's own worker."""
        options = ("-c", "2", "--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "INFO")
        return ("celery", "-A", "tests.queues.suite.celery_app", "worker", *options)

    def settings(self) -> Mapping[str, Any]:
        """The backend."""
        from tests.queues.suite import celery_app  # noqa: F401 - the tasks are its

        return {"TASKS": {"default": {"BACKEND": "django_tasks_celery.CeleryBackend"}}}

    def retry(self, task: Any) -> Any:
        """Raise what Celery's `retry` returns."""
        from celery import current_task

        raise current_task.retry(countdown=0.1)

    def cancel(self, sent: Any) -> None:
        """Revoke it."""
        from celery.result import AsyncResult

        AsyncResult(sent.id).revoke()
