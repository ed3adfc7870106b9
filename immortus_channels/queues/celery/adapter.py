"""Celery as a task queue: `publish_signals` and `worker_signals` handle its signals, this module the queue."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

from celery import _state, current_app, signals
from celery.exceptions import Ignore, SoftTimeLimitExceeded, TimeLimitExceeded

from immortus_channels.exceptions import ConfigurationError, JobCancelled, JobFailed
from immortus_channels.loading import Later
from immortus_channels.logs import logger
from immortus_channels.queues import classes
from immortus_channels.queues.base import Queue
from immortus_channels.queues.body import awaited
from immortus_channels.queues.celery import beat, unsent
from immortus_channels.queues.celery.marks import QUEUE, options_of
from immortus_channels.queues.celery.problems import is_pool_of, problems
from immortus_channels.queues.celery.receivers import Receivers
from immortus_channels.queues.hooks import guard
from immortus_channels.queues.tracked import TaskOptions, unmarked

if TYPE_CHECKING:
    from celery import Celery, Task, result
    from celery.app import task as tasks
    from django.core.checks import CheckMessage

    from immortus_channels import keys
    from immortus_channels.jobs import ids, namespaces
    from immortus_channels.jobs.events import Cancelled, Failed, Finished
    from immortus_channels.jobs.job import Job
    from immortus_channels.queues.celery import result_backend
    from immortus_channels.queues.port import Port
    from immortus_channels.writer import run as runs
else:  # Celery's are not complete yet where their import brings this one about
    result = Later("celery.result")
    tasks = Later("celery.app.task")
    ids = Later("immortus_channels.jobs.ids")
    keys = Later("immortus_channels.keys")
    namespaces = Later("immortus_channels.jobs.namespaces")
    result_backend = Later("immortus_channels.queues.celery.result_backend")
    runs = Later("immortus_channels.writer.run")

PROBE = "immortus_channels.probe"
"""The name of the task that `immortus_doctor` sends."""
RANDOM = 4
"""The version of the UUIDs that Celery makes; those of others come from a name, a time or a host (RFC 9562)."""


class CeleryQueue(Queue):
    """Follows the tracked tasks of every Celery app of this process."""

    name = QUEUE
    interrupts = (SoftTimeLimitExceeded,)
    time_limits = (SoftTimeLimitExceeded, TimeLimitExceeded)
    carries_headers = True
    waits_for_ends = True
    tried: ClassVar = {"celery": ("5.6", "5.7")}

    def __init__(self) -> None:
        super().__init__()
        self._tracked: dict[str, TaskOptions] = {}
        self._receivers: list[tuple[Any, Any]] = []

    # The port

    def connect(self, port: Port) -> None:
        """Connect every signal. Never with `retry=True`: Celery would repeat a receiver that raises for ever."""
        _state.connect_on_app_finalize(self._find_tasks_of)
        beat.connect()
        for signal, receiver in (
            (signals.worker_init, self._on_worker_init),
            *Receivers(port, self.options_of).each(),
        ):
            self._receivers.append((signal, receiver))
            signal.connect(receiver, weak=False)

    def options_of(self, job_class: str) -> TaskOptions | None:
        """Return how the task registered under this name is tracked."""
        known = self._tracked.get(job_class)
        return known if known is not None else options_of(current_app.tasks.get(job_class))

    def tracked_names(self) -> set[str]:
        """Return the names of the tracked tasks of the current app."""
        return {name for name, task in current_app.tasks.items() if options_of(task) is not None}

    def name_of(self, task: object) -> str | None:
        """Return the registered name of a Celery task."""
        return task.name if isinstance(task, tasks.Task) else None

    def job_of(self, given: object) -> tuple[str, str] | None:
        """Return the job behind an AsyncResult: a chain's is its last task, a chord's its body."""
        if isinstance(given, result.GroupResult):
            msg = (
                "A group has no job of its own; render one of its results, or a chord's, which is the job of its body."
            )
            raise ConfigurationError(msg)
        if not isinstance(given, result.AsyncResult):
            return None
        job_id = ids.text_of(given.id) or given.id
        job_class = classes.class_of(namespaces.here(job_id)) or ""
        # A task that is not registered here may be tracked where it runs.
        if job_class in current_app.tasks and self.options_of(job_class) is None:
            msg = f"The task {job_class!r} is not tracked; write @tracked under its decorator."
            raise ConfigurationError(msg)
        return job_id, job_class

    def cancel(self, job: Job, *, terminate: bool) -> None:
        """Revoke the task: a shortcut for a job that waits, the only way to end the process of one that runs.

        Celery would revoke the tasks of this id in all namespaces.
        """
        if not _is_unique(job.job_id):
            return
        task_id = keys.name_in(job.job_id)
        for sent_id in _as_sent(task_id) if terminate else [task_id]:
            current_app.control.revoke(sent_id, terminate=terminate)

    def keeps_records(self) -> bool:
        """Return whether there is a result backend that other processes than the task's sender can read."""
        return result_backend.are_kept(current_app)

    def fetch(self, job_id: str) -> Job | None:
        """Return the job as the result backend shows it, which does not know namespaces."""
        may_ask = self.keeps_records() and not namespaces.are_used()
        return result_backend.job_of(current_app, job_id) if may_ask else None

    def end_of(self, job_id: str, job_class: str, *, since: int) -> Finished | Failed | Cancelled | None:
        """Return the success or failure that the result backend has of a run that began at `since`."""
        if not (self.keeps_records() and _is_unique(job_id)):
            return None
        options = self.options_of(job_class)
        return result_backend.end_of(current_app, keys.name_in(job_id), job_class, since=since, options=options)

    def is_eager(self) -> bool:
        """Return whether `task_always_eager` is set."""
        return bool(current_app.conf.task_always_eager)

    def problems(self) -> list[CheckMessage]:
        """Return what keeps jobs from being followed: no app of the project's own, a wrong pool, old messages."""
        return list(problems(sorted(self.tracked_names() - {PROBE})))

    # Which tasks

    def _on_worker_init(self, sender: Any, **_: object) -> None:
        """Find the tasks again in MAIN, before a worker builds any: the app may be older than some of its tasks.

        Disconnect from a pool of eventlet's, which is not supported.
        """
        if is_pool_of("eventlet", sender.pool_cls):
            logger.error("This worker does not track jobs: eventlet is not supported; use prefork, threads or gevent.")
            for signal, receiver in self._receivers:
                signal.disconnect(receiver)
        self._on_finalize(sender.app)

    def _find_tasks_of(self, app: Celery) -> None:
        app.on_after_finalize.connect(self._on_finalize, weak=False)

    @guard
    def _on_finalize(self, sender: Celery, **_: object) -> None:
        unmarked.clear()
        for name, task in list(sender.tasks.items()):
            options = options_of(task)
            if options is not None:
                self._tracked[name] = options
                self._refuse_before_start(task)
                unsent.watch(task)
                _expect_chosen_ends(task)

    def _refuse_before_start(self, task: Task) -> None:
        """Let `Ignore` stop a run whose job is over: only `before_start` can, `task_prerun` cannot.

        Celery looks for `before_start` on the task's class, which is the task's own.
        """
        task_class, original = type(task), type(task).before_start
        if getattr(original, "__immortus__", False):
            return

        def before_start(self: Task, task_id: str, args: Any, kwargs: Any) -> None:
            begun = awaited.get()
            if begun is not None and begun.refused:
                msg = f"The job {task_id} is over; the worker does not run it."
                raise Ignore(msg)
            original(self, task_id, args, kwargs)

        before_start.__immortus__ = True  # type: ignore[attr-defined]
        task_class.before_start = before_start


def _is_unique(job_id: str) -> bool:
    """Return whether no task of another namespace has the id of this job's task: random UUIDs are never the same."""
    with suppress(ValueError):
        return not namespaces.are_used() or uuid.UUID(keys.name_in(job_id)).version == RANDOM
    return False


def _as_sent(job_id: str) -> Iterator[object]:
    """Yield the ids that the job's task may have: only a UUID or a number finds a running task sent with one.

    One at a time, as Celery fails after it has ended a task whose id is not text.
    """
    yield job_id
    for id_type in (uuid.UUID, int):
        with suppress(ValueError):
            if str(task_id := id_type(job_id)) == job_id:
                yield task_id


def _expect_chosen_ends(task: Task) -> None:
    """Make Celery log the ends that a job chooses itself as INFO, not as unexpected errors."""
    known = task.throws if isinstance(task.throws, tuple) else (task.throws,)
    task.throws = (*known, *(end for end in (JobFailed, JobCancelled) if not issubclass(end, known)))
