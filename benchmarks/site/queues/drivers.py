"""The suite's drivers, with workers that run one job after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.queues.suite import celery, django_q, django_tasks, dramatiq, huey, procrastinate, rq


class Celery(celery.CeleryDriver):
    """Celery's solo pool: in others, one process fetches the next message while another runs a job."""

    pool = ("-P", "solo")

    def tell(self) -> None:
        """Write a state of the project's own into the result backend."""
        from celery import current_task

        current_task.update_state(state="PROGRESS", meta={"current": 1})


class RQ(rq.RQDriver):
    """RQ's worker forks for each job."""

    more: Sequence[str] = ()

    def command(self) -> Sequence[str]:
        """A worker without a scheduler."""
        return ("django", "rqworker", "default", *self.more)

    def tell(self) -> None:
        """Write the job's meta."""
        from rq import get_current_job

        job = get_current_job()
        job.meta["current"] = 1  # type: ignore[union-attr]
        job.save_meta()  # type: ignore[union-attr]


class RQInOneProcess(RQ):
    """RQ's worker that does not fork: the hooks that follow a run are met in the process of the next one."""

    more = ("--worker-class", "rq.SimpleWorker")


class Dramatiq(dramatiq.DramatiqDriver):
    """One thread of Dramatiq's."""

    def command(self) -> Sequence[str]:
        """A process with it."""
        return ("django", "rundramatiq", "--processes", "1", "--threads", "1")


class DramatiqWithTable(Dramatiq):
    """The same, with django-dramatiq's table of tasks."""

    def settings(self) -> Mapping[str, Any]:
        """Its middleware beside the others."""
        settings = super().settings()
        settings["DRAMATIQ_BROKER"]["MIDDLEWARE"].append("django_dramatiq.middleware.AdminMiddleware")
        return settings


class Huey(huey.RedisDriver):
    """One thread of Huey's."""

    def command(self) -> Sequence[str]:
        """A consumer with it."""
        return (*self.program, "-w", "1", "-k", self.workers, "-d", "0.02", "-m", "0.05", "-s", "1")


class DjangoQ2(django_q.DjangoQDriver):
    """One process of Django-Q2's, beside one that fetches and one that writes results down."""

    def settings(self) -> Mapping[str, Any]:
        """The cluster, in which no message comes back meanwhile."""
        settings = super().settings()
        settings["Q_CLUSTER"].update(workers=1, retry=600, timeout=500)
        return settings


class DjangoTasks(django_tasks.DjangoTasksDriver):
    """django-tasks-db's worker, which runs one job after another; its row is what its users look at."""


class Procrastinate(procrastinate.ProcrastinateDriver):
    """One job at a time; its table of events is what its users look at."""

    def command(self) -> Sequence[str]:
        """A worker."""
        return ("django", "procrastinate", "worker", "--concurrency=1", "--fetch-job-polling-interval=0.25")
