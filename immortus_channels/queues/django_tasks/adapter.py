"""django.tasks as a task queue: `receivers` handles its signals, `rows` those of django-tasks-db's model."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from immortus_channels.exceptions import ConfigurationError
from immortus_channels.keys import name_in
from immortus_channels.loading import Later, when_imported
from immortus_channels.queues import hooks, tracked
from immortus_channels.queues.base import Queue
from immortus_channels.queues.django_tasks import rows
from immortus_channels.queues.django_tasks.names import QUEUE, is_a, kinds, learn, packages, task_at
from immortus_channels.queues.django_tasks.receivers import Receivers
from immortus_channels.queues.tracked import TaskOptions, options_on
from immortus_channels.queues.unsupported import HINT

if TYPE_CHECKING:
    from django.core.checks import CheckMessage

    from immortus_channels.jobs import namespaces
    from immortus_channels.jobs.events import Failed, Finished
    from immortus_channels.jobs.job import Job
    from immortus_channels.queues.django_tasks import lent_to_celery, problems, records
    from immortus_channels.queues.port import Port
else:
    namespaces = Later("immortus_channels.jobs.namespaces")
    lent_to_celery = Later("immortus_channels.queues.django_tasks.lent_to_celery")
    problems = Later("immortus_channels.queues.django_tasks.problems")
    records = Later("immortus_channels.queues.django_tasks.records")

_RUNNING = {
    "django.tasks.backends.immediate": ("ImmediateBackend", "enqueue"),
    "django_tasks.backends.immediate": ("ImmediateBackend", "enqueue"),
    "django_tasks_redis.backends": ("RedisTaskBackend", "run_task"),
}
"""The methods that run jobs and may raise instead of sending the last signal, by their modules."""


class DjangoTasksQueue(Queue):
    """Follows the tracked tasks of `django.tasks` and of its backport, on all of their backends."""

    name = QUEUE
    waits_for_ends = True
    gives_way = True
    ends_silently = True
    tried: ClassVar = {"django-tasks-db": ("0.13",), "django-tasks": ("0.12",)}

    def connect(self, port: Port) -> None:
        """Connect the signals of each package in use, and of django-tasks-db."""
        learn()
        for kind in kinds("Task"):
            hooks.around(kind, __post_init__=self._made)
        receivers = Receivers(port)
        for package in packages():
            signals: Any = sys.modules[f"{package}.signals"]
            for name, receiver in receivers.each():
                getattr(signals, f"task_{name}").connect(receiver, weak=False, dispatch_uid="immortus")
        rows.Rows(port, self.options_of).connect()
        for module, (owner, method) in _RUNNING.items():
            when_imported(module, partial(_surround, module, owner, method, receivers))
        when_imported("django_tasks_celery.backend", _lend_to_celery)

    # Which tasks

    def _made(self, task: Any) -> None:
        """Note a task; it may be marked later."""
        self.tasks[task.module_path] = task.func

    def options_of(self, job_class: str) -> TaskOptions | None:
        """Return how the task of this name is tracked, where its module is loaded here."""
        task = task_at(job_class)
        return None if task is None else options_on(task.func)

    def tracked_names(self) -> set[str]:
        """Return the names of the tracked tasks, also of those that were made before this was connected."""
        known = {*self.tasks.copy(), *tracked.places.copy()}
        return {name for name in known if self.options_of(name) is not None}

    def name_of(self, task: object) -> str | None:
        """Return the name of a task: the path of its function."""
        named: Any = task
        return str(named.module_path) if is_a("Task", task) else None

    def job_of(self, given: object) -> tuple[str, str] | None:
        """Return the job behind what `enqueue()` returned."""
        if not is_a("TaskResult", given):
            return None
        result: Any = given
        if options_on(result.task.func) is None:
            msg = f"The task {result.task.module_path!r} is not tracked; write @tracked under its decorator."
            raise ConfigurationError(msg)
        if problems.is_silent(result.task.get_backend()):
            msg = f"The backend {result.backend!r} sends no signals, so its jobs cannot be followed. {HINT}"
            raise ConfigurationError(msg)
        return result.id, result.task.module_path

    # Its own records

    def cancel(self, job: Job, *, terminate: bool) -> None:
        """Keep the workers of django-tasks-db from a job that waits; elsewhere its function refuses to run."""
        with namespaces.inside_of(job.job_id):
            rows.drop(name_in(job.job_id))

    def keeps_records(self) -> bool:
        """Return whether a backend can be asked for results."""
        return any(records.keepers())

    def fetch(self, job_id: str) -> Job | None:
        """Return the job as a backend's record shows it, which does not know namespaces."""
        return None if namespaces.are_used() else records.job_of(job_id)

    def end_of(self, job_id: str, job_class: str, *, since: int) -> Finished | Failed | None:
        """Return the end that a backend has on record of a run that began at `since`."""
        with namespaces.inside_of(job_id):
            return records.end_of(name_in(job_id), since=since)

    def is_eager(self) -> bool:
        """Return whether no backend has workers."""
        return all(problems.runs_at_once(backend) for backend in records.backends())

    def problems(self) -> list[CheckMessage]:
        """Return what makes jobs end unseen, or hides their work."""
        return list(problems.problems(self.tracked_names()))


def _surround(module: str, owner: str, method: str, receivers: Receivers) -> None:
    hooks.around(getattr(sys.modules[module], owner), **{method: receivers.whole})


def _lend_to_celery() -> None:
    lent_to_celery.connect(sys.modules["django_tasks_celery.backend"].CeleryBackend)
