"""Hooks around the methods of RQ by which jobs are sent, planned and called off."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextvars import ContextVar
from datetime import datetime
from typing import Any

from rq import Queue
from rq.job import Job, JobStatus

from immortus_channels.jobs.events import Cancelled
from immortus_channels.queues.hooks import Outcome
from immortus_channels.queues.messages import from_header, is_about, owner_header
from immortus_channels.queues.moments import due
from immortus_channels.queues.port import Port
from immortus_channels.queues.rq.marks import (
    DUE,
    HEADER,
    OVER,
    called_by,
    class_of,
    function_of,
    header_of,
    is_loaded,
    is_plain,
    options_in,
    options_of,
)

Hook = Generator[None, Outcome, None] | None


class Sending:
    """Tells the port of each tracked job that goes to a queue of RQ's."""

    def __init__(self, port: Port, note: Callable[[Queue], None]) -> None:
        self._port = port
        self._note = note
        self._is_scheduled: ContextVar[bool] = ContextVar("immortus_is_scheduled", default=False)
        self._is_again: ContextVar[bool] = ContextVar("immortus_is_again", default=False)
        """Whether the calling code is in RQ's own call for such a sending."""

    def enqueues(self, queue: Queue, job: Job, *_: object, unique: bool = False, **__: object) -> Hook:
        """Be around what puts a job into a queue: at its sending, its retry, when it is due, after its dependencies."""
        return None if is_plain(job) else self._send(queue, job, is_late=unique)

    def schedules(self, queue: Queue, job: Job, when: datetime, *_: object, unique: bool = False, **__: object) -> Hook:
        """Be around what lets a job wait for its time."""
        eta = due(when)
        vars(job)[DUE] = eta
        return self._send(queue, job, eta=eta, is_late=unique)

    def waits(self, queue: Queue, job: Job, *_: object, **__: object) -> Hook:
        """Be around what lets a job wait for others, if it has to."""
        return self._send(queue, job) if job._dependency_ids else None  # noqa: SLF001 - its property asks Redis

    def creates(self, queue: Queue, *_: object, **__: object) -> Hook:
        """Be around what makes a job: `enqueue_many` saves one that has to wait for others without further ado."""

        def steps() -> Generator[None, Outcome, None]:
            job = (yield).value
            if job is not None and job.get_status(refresh=False) == JobStatus.DEFERRED:
                for _ in self._send(queue, job) or ():
                    pass

        return steps()

    def by_schedule(self, *_: object, **__: object) -> Hook:
        """Be around what sends a job for a schedule, and not for a user."""
        return _within(self._is_scheduled)

    def again(self, *_: object, **__: object) -> Hook:
        """Be around what sends a job once more that is over."""
        return _within(self._is_again)

    def calls_off(self, job: Job, *_: object, **__: object) -> Hook:
        """Be around what cancels or deletes a job, which does nothing to a run; RQ deletes one that keeps no result."""
        header = header_of(job)
        if not is_about(header, job.id) or self._port.here(job.id) is not None:
            return None

        def steps() -> Generator[None, Outcome, None]:
            if (yield).error is None:
                self._port.ended(Cancelled, job.id, class_of(job), header=header, unstarted=True)

        return steps()

    def _send(self, queue: Queue, job: Job, *, eta: int | None = None, is_late: bool = False) -> Hook:
        """Return the steps around a sending; None if an earlier one has told the job, or if it is not tracked.

        A job that is over is sent again for whom it was sent before, whoever does it.
        """
        header = header_of(job)
        planned: Mapping[str, Any] | None = None
        if is_about(header, job.id):
            if not (self._is_again.get() or self._is_over(job)):
                return None
            planned = owner_header(from_header(header or {}))
        elif not (is_loaded(job) or self._is_scheduled.get()) or self._port.here(job.id) is not None:
            return None
        function = function_of(job)
        if function is None:
            self._let_worker_tell(job, planned)
            return None
        if options_of(job, function) is None:
            return None
        self._note(queue)
        return self._steps(job, function, planned, eta, is_late=is_late)

    def _is_over(self, job: Job) -> bool:
        return job.get_status(refresh=False) in OVER and self._port.here(job.id) is None

    def _let_worker_tell(self, job: Job, planned: Mapping[str, Any] | None) -> None:
        """Send along whose job it is: its function, given by its path, may be tracked where it is imported."""
        sending = self._port.prepare(
            job.id, class_of(job), None, planned=planned, is_scheduled=self._is_scheduled.get()
        )
        job.meta = {**job.meta, HEADER: sending.header}

    def _steps(
        self, job: Job, function: Any, planned: Mapping[str, Any] | None, eta: int | None, *, is_late: bool
    ) -> Generator[None, Outcome, None]:
        """Tell a sending before it happens; or, `is_late`, after it, as RQ refuses it if there is a job of this id."""
        sending = self._port.prepare(
            job.id,
            class_of(job),
            options_in(function),
            args=job.args,
            kwargs=job.kwargs,
            function=called_by(function),
            eta=eta,
            planned=planned,
            is_scheduled=self._is_scheduled.get(),
        )
        if not is_late:
            sending.tell()
        # Not into the same dictionary: RQ's decorator gives one to all jobs of its function.
        job.meta = {**job.meta, HEADER: sending.header} if sending.header else _without_header(job)
        if (yield).error is None:
            if is_late:
                sending.tell()
            sending.confirm()


def _within(flag: ContextVar[bool]) -> Generator[None, Outcome, None]:
    before = flag.set(True)
    yield
    flag.reset(before)


def _without_header(job: Job) -> dict[str, Any]:
    return {name: value for name, value in job.meta.items() if name != HEADER}
