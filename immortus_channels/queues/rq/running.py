"""Hooks around the methods of RQ that run a job and take down how the run ended.

A worker forks a "work horse" for each job, which ends with it; the worker itself tells of one that was killed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from typing import Any

from rq import Queue
from rq.exceptions import ShutDownImminentException
from rq.job import Job, JobStatus
from rq.worker import BaseWorker

from immortus_channels.exceptions import JobCancelled
from immortus_channels.jobs.events import Cancelled, Failed, Retrying
from immortus_channels.queues.deliveries import Delivery
from immortus_channels.queues.hooks import Instead, Outcome
from immortus_channels.queues.messages import is_about
from immortus_channels.queues.port import Port
from immortus_channels.queues.rq.marks import AGAIN, DUE, HEADER, class_of, header_of, is_plain, options_of
from immortus_channels.queues.tracked import TaskOptions

Hook = Generator[Instead | None, Outcome, None] | None
_UNKNOWN = TaskOptions()
"""The mark of a job that was followed when it was sent, and whose function cannot be imported here."""


class Running:
    """Tells the port of the runs of tracked jobs."""

    def __init__(self, port: Port, options_of: Callable[[str], TaskOptions | None]) -> None:
        self._port = port
        self._options_of = options_of
        self._executions: dict[str, str] = {}
        """By job, RQ's id of the run that this process is at: its parent knows it too."""

    def performs_job(self, worker: BaseWorker, job: Job, queue: Queue, execution: Any = None) -> Hook:
        """Be around a run, from the job's preparation to the end on record; a work horse is gone a moment later."""

        def steps() -> Generator[None, Outcome, None]:
            self._executions[job.id] = _id_of(worker, execution)
            yield
            self._executions.pop(job.id, None)
            delivery = self._port.here(job.id)
            if delivery is not None:
                delivery.hand_over()
            if worker.is_horse and "immortus_channels.writer" in sys.modules:
                self._port.tracker.drain()

        return steps()

    def performs(self, job: Job) -> Hook:
        """Be around the call of a job's function."""
        if is_plain(job):
            return None
        try:
            options = options_of(job, job.func)
        except Exception:  # noqa: BLE001 - RQ meets the same one when it calls the function, and fails the job
            options = _UNKNOWN if is_about(header_of(job), job.id) else None
        return None if options is None else self._run(job, options)

    def _run(self, job: Job, options: TaskOptions) -> Generator[Instead | None, Outcome, None]:
        """Begin a run. Of one that is refused, RQ is to know that it failed: what depends on the job must not run."""
        run_id = self._executions.get(job.id, "")
        delivery = self._port.begin(job.id, class_of(job), options, run_id=run_id, header=header_of(job))
        if delivery.refused:
            job.retries_left = 0
            yield Instead(error=JobCancelled(job.id))
            return
        delivery.value, delivery.error = yield None
        if isinstance(delivery.error, JobCancelled) and delivery.run.cancel_requested:
            job.retries_left = 0

    def succeeds(self, worker: BaseWorker, job: Job, *_: object, **__: object) -> Hook:
        """Be around what takes down that a run returned."""
        delivery = self._port.here(job.id)

        def steps() -> Generator[None, Outcome, None]:
            if (yield).error is None and delivery is not None:
                _finish(delivery, job)

        return None if delivery is None else steps()

    def fails(self, worker: BaseWorker, job: Job, *_: object, execution: Any = None, **__: object) -> Hook:
        """Be around what takes down that a run raised, or asked for another one, or that its process was killed."""
        delivery, run_id = self._port.here(job.id), _id_of(worker, execution)

        def steps() -> Generator[None, Outcome, None]:
            if (yield).error is not None:
                return
            if delivery is not None:
                _fail(delivery, job)
            else:
                self._tell_from_outside(job, run_id)

        return steps() if delivery is not None or self._is_tracked(job) else None

    def runs_here(self, queue: Queue, job: Job) -> Hook:
        """Be around the whole run of a job of a queue that runs each one where it is sent."""

        def steps() -> Generator[None, Outcome, None]:
            yield
            delivery = self._port.here(job.id)
            if delivery is not None and job.get_status(refresh=False) == JobStatus.FINISHED:
                _finish(delivery, job)
            elif delivery is not None:
                _fail(delivery, job)

        return steps()

    def _is_tracked(self, job: Job) -> bool:
        return HEADER in job.meta or self._options_of(class_of(job)) is not None

    def _tell_from_outside(self, job: Job, run_id: str) -> None:
        name, header, status = class_of(job), header_of(job), job.get_status(refresh=False)
        if status in AGAIN:
            self._port.ended(Retrying, job.id, name, header=header, run_id=run_id, eta=vars(job).pop(DUE, None))
        elif status == JobStatus.STOPPED:
            self._port.ended(Cancelled, job.id, name, header=header, run_id=run_id)
        else:
            code = "error" if sys.exception() else "worker_lost"
            self._port.ended(Failed, job.id, name, header=header, run_id=run_id, code=code)


def _finish(delivery: Delivery, job: Job) -> None:
    """Tell that a run returned; a job that repeats waits for its next run."""
    if job.get_status(refresh=False) in AGAIN:
        delivery.back(eta=vars(job).pop(DUE, None))
    else:
        delivery.finish(delivery.value)


def _fail(delivery: Delivery, job: Job) -> None:
    status, error = job.get_status(refresh=False), delivery.error or sys.exception()
    if status in AGAIN:
        delivery.again(eta=vars(job).pop(DUE, None))
    elif status == JobStatus.STOPPED:
        delivery.cancel()
    elif delivery.options is _UNKNOWN:
        delivery.fail("unknown_task")
    elif isinstance(error, ShutDownImminentException):
        delivery.fail("worker_lost")
    elif error is None:
        delivery.fail("error")
    else:
        delivery.end(error)


def _id_of(worker: BaseWorker, execution: Any) -> str:
    """Return RQ's id of a run: its worker has it before RQ 3, which hands it on."""
    execution = execution or vars(worker).get("execution")
    return execution.id if execution else ""
