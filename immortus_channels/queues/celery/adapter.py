"""Celery: what it tells of its tasks, as events. `sending` and `running` hold the signals, this the queue itself."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from celery import Celery, Task, _state, current_app, signals
from celery.backends.base import DisabledBackend
from celery.exceptions import Ignore, SoftTimeLimitExceeded
from celery.result import AsyncResult, GroupResult
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004 - Django's name

from immortus_channels import queues
from immortus_channels.exceptions import ConfigurationError, JobCancelled, JobFailed
from immortus_channels.ids import text_of
from immortus_channels.jobs import Job, State
from immortus_channels.marking import Tracking
from immortus_channels.progress import current_run
from immortus_channels.queues.base import Queue, Tracker
from immortus_channels.queues.celery.origins import QUEUE, mark_of
from immortus_channels.queues.celery.running import Running
from immortus_channels.queues.celery.sending import Sending

logger = logging.getLogger("immortus_channels")

PROBE = "immortus_channels.probe"
"""The task of `immortus_doctor`."""
_STATES = {
    "STARTED": State.RUNNING,
    "RETRY": State.RETRYING,
    "SUCCESS": State.FINISHED,
    "FAILURE": State.FAILED,
    "REVOKED": State.CANCELLED,
}
"""The words of result backends that say something."""


class CeleryQueue(Queue):
    """Follows the tracked tasks of every Celery app of this process."""

    name = QUEUE
    interrupts = (SoftTimeLimitExceeded,)

    def __init__(self) -> None:
        self._tracked: dict[str, Tracking] = {}
        self._receivers: list[tuple[Any, Any]] = []

    # The port

    def connect(self, tracker: Tracker) -> None:
        """Connect every signal. Never with `retry=True`: Celery would repeat a receiver that raises for ever."""
        _state.connect_on_app_finalize(self._find_tasks_of)
        sending, running = Sending(tracker, self.tracking), Running(tracker, self.tracking)
        for signal, receiver in (
            (signals.worker_init, self._refuse_green_pool),
            (signals.worker_init, self._worker_imported_its_tasks),
            (signals.before_task_publish, sending.before),
            (signals.after_task_publish, sending.after),
            (signals.task_received, running.received),
            (signals.task_prerun, running.prerun),
            (signals.task_success, running.success),
            (signals.task_failure, running.failure),
            (signals.task_retry, running.retry),
            (signals.task_postrun, running.postrun),
            (signals.task_internal_error, running.internal_error),
            (signals.task_revoked, running.revoked),
            (signals.task_unknown, running.unknown),
            (signals.worker_before_create_process, running.forking),
            (signals.worker_process_shutdown, running.ending),
        ):
            self._receivers.append((signal, _guarded(receiver)))
            signal.connect(self._receivers[-1][1], weak=False)

    def tracking(self, job_class: str) -> Tracking | None:
        """How the task registered under this name is tracked."""
        known = self._tracked.get(job_class)
        return known if known is not None else mark_of(current_app.tasks.get(job_class))

    def tracked_names(self) -> set[str]:
        """The names of the tracked tasks of the current app."""
        return {name for name, task in current_app.tasks.items() if mark_of(task) is not None}

    def name_of(self, task: object) -> str | None:
        """The registered name of a Celery task."""
        return task.name if isinstance(task, Task) else None

    def job_of(self, result: object) -> tuple[str, str] | None:
        """The job behind an AsyncResult (of a chain: its last task's; of a chord: its body's)."""
        if isinstance(result, GroupResult):
            msg = (
                "A group has no job of its own; render one of its results, or a chord's, which is the job of its body."
            )
            raise ConfigurationError(msg)
        if not isinstance(result, AsyncResult):
            return None
        job_id = text_of(result.id) or result.id
        job_class = queues.class_of(job_id) or ""
        # A task that is not registered here may be tracked where it runs.
        if job_class in current_app.tasks and self.tracking(job_class) is None:
            msg = f"The task {job_class!r} is not tracked; write @tracked under its decorator."
            raise ConfigurationError(msg)
        return job_id, job_class

    def cancel(self, job: Job, *, terminate: bool) -> None:
        """Revoke: a shortcut for a job that waits, the only way to end the process of one that runs."""
        for task_id in _as_sent(job.job_id) if terminate else [job.job_id]:
            current_app.control.revoke(task_id, terminate=terminate)

    def fetch(self, job_id: str) -> Job | None:
        """The job as the result backend tells of it; PENDING is what that says of every id it has never heard of."""
        backend = current_app.backend
        if isinstance(backend, DisabledBackend):
            return None
        told = backend.get_task_meta(job_id)
        state = _STATES.get(told.get("status"))
        # With Celery's `result_extended` it also says of which task it is.
        return Job(job_id=job_id, job_class=told.get("name") or "", state=state) if state is not None else None

    def is_eager(self) -> bool:
        """Whether `task_always_eager` is set."""
        return bool(current_app.conf.task_always_eager)

    def problems(self) -> list[CheckMessage]:
        """No app of the project's own, and a pool that cannot be followed."""
        found: list[CheckMessage] = []
        tracked = sorted(self.tracked_names() - {PROBE})
        app = _state.default_app
        if tracked and app.main == "default" and not app.fixups:
            found.append(
                Warning(
                    f"The project's Celery app is not loaded, so {tracked[0]!r} is sent by Celery's default app, which "
                    "knows none of the project's settings, its broker's address least of all.",
                    hint="Write `from .celery import app as celery_app` into the __init__.py beside your celery.py.",
                    id="immortus_channels.W010",
                )
            )
        pool = current_app.conf.worker_pool
        if _is_green(pool):
            found.append(
                Error(
                    f"Celery's worker_pool is {pool!r}, which is not supported: such a worker runs its jobs untracked.",
                    hint="Use 'prefork' or 'threads' (CELERY_WORKER_POOL, or `celery worker --pool`).",
                    id="immortus_channels.E008",
                )
            )
        return found

    def _refuse_green_pool(self, sender: Any, **_: object) -> None:
        """MAIN, before any job. Greenlets share a thread, where an event loop of ours would break every other one."""
        if not _is_green(sender.pool_cls):
            return
        logger.error(
            "Jobs of this worker are untracked: gevent and eventlet are not supported; use prefork or threads."
        )
        for signal, receiver in self._receivers:
            signal.disconnect(receiver)

    # Which tasks

    def _worker_imported_its_tasks(self, sender: Any, **_: object) -> None:
        """MAIN, before any task is built for running: the app may be older than some of its tasks."""
        self._finalized(sender.app)

    def _find_tasks_of(self, app: Celery) -> None:
        app.on_after_finalize.connect(_guarded(self._finalized), weak=False)

    def _finalized(self, sender: Celery, **_: object) -> None:
        for name, task in list(sender.tasks.items()):
            tracking = mark_of(task)
            if tracking is not None:
                self._tracked[name] = tracking
                self._refuse_before_start(task)
                _expect_its_ends(task)

    def _refuse_before_start(self, task: Task) -> None:
        """Let `Ignore` stop a run whose job is over: only `before_start` can, `task_prerun` cannot.

        Celery looks for `before_start` on the task's class, which is the task's own.
        """
        kind, original = type(task), type(task).before_start
        if getattr(original, "__immortus__", False):
            return

        def before_start(self: Task, task_id: str, args: Any, kwargs: Any) -> None:
            run = current_run.get()
            if run is not None and run.job_id == text_of(task_id) and run.refused:
                msg = f"The job {task_id} is over; it is not run."
                raise Ignore(msg)
            original(self, task_id, args, kwargs)

        before_start.__immortus__ = True  # type: ignore[attr-defined]
        kind.before_start = before_start


def _as_sent(job_id: str) -> Iterator[object]:
    """What the job's task may have for an id: a worker finds a UUID or a number that runs by nothing else.

    One by one, as Celery fails after it has ended what it found under an id that is no text.
    """
    yield job_id
    for kind in (uuid.UUID, int):
        with suppress(ValueError):
            if str(task_id := kind(job_id)) == job_id:
                yield task_id


def _expect_its_ends(task: Task) -> None:
    """Let Celery log the ends that a job chooses itself as INFO, not as errors that nobody expected."""
    known = task.throws if isinstance(task.throws, tuple) else (task.throws,)
    task.throws = (*known, *(end for end in (JobFailed, JobCancelled) if not issubclass(end, known)))


def _is_green(pool: Any) -> bool:
    """Whether a pool, given as its alias, its path or its class, is of gevent or eventlet."""
    name = pool if isinstance(pool, str) else getattr(pool, "__module__", "")
    return "gevent" in name or "eventlet" in name


def _guarded(receiver: Any) -> Any:
    """The receiver, whose failure is logged and never reaches the queue."""

    def receive(**arguments: Any) -> None:
        try:
            receiver(**{name: value for name, value in arguments.items() if name != "signal"})
        except Exception:
            logger.exception("Tracking failed in %s; the job goes on", receiver.__name__)

    return receive
