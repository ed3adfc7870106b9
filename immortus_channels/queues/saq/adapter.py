"""SAQ as a task queue: hooks in its own methods, for all queues and workers of this process."""

from __future__ import annotations

import sys
import uuid
from asyncio import CancelledError, shield
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from inspect import signature
from typing import TYPE_CHECKING, Any, ClassVar

from django.core.checks import CheckMessage, Warning  # noqa: A004 - Django's name
from saq import Job, Queue, Status, Worker
from saq.job import TERMINAL_STATUSES

from immortus_channels.exceptions import ConfigurationError
from immortus_channels.loading import Later, when_imported
from immortus_channels.queues.functions import FunctionQueue, is_told, of_unknown_sender
from immortus_channels.queues.hooks import Given, Outcome, around
from immortus_channels.queues.moments import due
from immortus_channels.queues.saq.jobs import (
    HEADER,
    UNKNOWN,
    can_be_guessed,
    header_of,
    id_of,
    is_new,
    put_header,
    run_id_of,
)
from immortus_channels.queues.tracked import options_on

if TYPE_CHECKING:
    from immortus_channels.jobs import events
    from immortus_channels.queues import messages
    from immortus_channels.queues.deliveries import Delivery
    from immortus_channels.queues.port import Port
    from immortus_channels.queues.sendings import Sending
    from immortus_channels.queues.tracked import TaskOptions
else:
    events = Later("immortus_channels.jobs.events")
    messages = Later("immortus_channels.queues.messages")

Steps = AsyncGenerator[Any, Outcome]


@dataclass(slots=True, kw_only=True)
class _OnItsWay:
    """A job that is handed to its queue here."""

    has_new_key: bool
    sending: Sending | None = None
    is_early: bool = False
    """Whether it is told before SAQ may refuse it."""


_on_its_way: ContextVar[_OnItsWay | None] = ContextVar("immortus_saq_on_its_way", default=None)
_is_scheduled: ContextVar[bool] = ContextVar("immortus_saq_is_scheduled", default=False)
_is_relayed: ContextVar[bool] = ContextVar("immortus_saq_is_relayed", default=False)
"""Whether another process asks for what happens here, and tells of it."""


class SAQQueue(FunctionQueue):
    """Follows the tracked functions of all of SAQ's queues."""

    name = "saq"
    carries_headers = True
    tried: ClassVar = {"saq": ("0.26",)}

    def connect(self, port: Port) -> None:
        """Put hooks into SAQ's classes; those of its queues on Redis and over HTTP may be imported later."""
        self._port = port
        around(Worker, __init__=self._making, schedule=self._scheduling, _before_process=self._beginning)
        around(Queue, enqueue=self._enqueueing, _before_enqueue=self._sending)
        around(Queue, finish=self._finishing, retry=self._retrying)
        when_imported("saq.queue.redis", self._connect_redis)
        when_imported("saq.queue.http", self._connect_http)

    def _connect_redis(self) -> None:
        around(sys.modules["saq.queue.redis"].RedisQueue, abort=self._aborting)

    def _connect_http(self) -> None:
        around(sys.modules["saq.queue.http"].HttpProxy, process=self._relaying)

    def job_of(self, given: object) -> tuple[str, str] | None:
        """Return the job behind one of SAQ's."""
        if not isinstance(given, Job):
            return None
        if self.is_other(given.function):
            msg = f"The function {given.function!r} is not tracked; write @tracked above it."
            raise ConfigurationError(msg)
        return id_of(given), given.function

    def problems(self) -> list[CheckMessage]:
        """Return which tracked functions cannot be told apart, or do not get all of their arguments."""
        named = [(name, self.function_of(name)) for name in sorted(self.tracked_names())]
        return [*super().problems(), *(each for name, function in named for each in _taken(name, function))]

    # Sending

    def _making(self, worker: Worker[Any], *_: object, **__: object) -> Iterator[None]:
        yield
        self.tasks.update(worker.functions)

    async def _scheduling(self, worker: Worker[Any], *_: object) -> Steps:
        """Be around what sends the jobs of the worker's schedule, each second; SAQ refuses those that it has."""
        _is_scheduled.set(True)
        yield
        _is_scheduled.set(False)

    async def _relaying(self, *_: object) -> Steps:
        """Be around what does in this process what one without Redis asks for."""
        _is_relayed.set(True)
        yield
        _is_relayed.set(False)

    def _enqueueing(self, queue: Queue, job_or_func: str | Job, **fields: Any) -> Steps | None:
        name = job_or_func.function if isinstance(job_or_func, Job) else job_or_func
        return None if self.is_other(name) or _is_relayed.get() else self._enqueue(queue, job_or_func, fields)

    async def _enqueue(self, queue: Queue, job_or_func: str | Job, fields: dict[str, Any]) -> Steps:
        """Be around the whole sending: tell what was not told before, now that SAQ has not refused it.

        A job that nobody has seen yet gets a key that cannot be guessed, as SAQ's own can.
        """
        has_new_key = isinstance(job_or_func, str) and not fields.get("key")
        _on_its_way.set(_OnItsWay(has_new_key=has_new_key))
        outcome = yield Given((queue, job_or_func), {**fields, "key": str(uuid.uuid4())}) if has_new_key else None
        sent = _on_its_way.get()
        _on_its_way.set(None)
        if sent is None or sent.sending is None:
            return
        if outcome.value is not None:
            if not sent.is_early:
                await sent.sending.atell()
            sent.sending.confirm()
        elif sent.is_early and isinstance(outcome.error, TypeError | ValueError):  # it cannot be serialized
            sent.sending.fail()

    def _sending(self, queue: Queue, job: Job) -> Steps | None:
        return None if self.is_other(job.function) or _is_relayed.get() else self._send(job)

    async def _send(self, job: Job) -> Steps:
        """Be around what the project does with a job before it is sent; then give it its header.

        SAQ refuses a job whose key it has, so only one with a new key is told before.
        """
        if (yield).error is not None:
            return
        options, sent = self.options_of(job.function), _on_its_way.get()
        sending = await self._prepare(job, options)
        if options is not None and sent is not None:
            sent.sending, sent.is_early = sending, sent.has_new_key or is_new(job)
            if sent.is_early:
                await sending.atell()
        put_header(job, sending, is_told=options is not None)

    async def _prepare(self, job: Job, options: TaskOptions | None, **more: Any) -> Sending:
        return await self._port.aprepare(
            id_of(job),
            job.function,
            options,
            kwargs=job.kwargs or {},
            function=self.function_of(job.function),
            eta=int(job.scheduled * 1_000_000) or None,
            is_scheduled=_is_scheduled.get() or can_be_guessed(job.key),
            **more,
        )

    # Running

    def _beginning(self, worker: Worker[Any], context: Mapping[str, Any]) -> Steps | None:
        job, function = context["job"], worker.functions.get(context["job"].function)
        options = options_on(function)
        if function is None:
            vars(job)[UNKNOWN] = True
        return None if options is None else self._begin(job, options)

    async def _begin(self, job: Job, options: TaskOptions) -> Steps:
        """Begin a run before the project's own hooks, which may fail it; the function asks whether it is refused."""
        header = header_of(job) or of_unknown_sender(id_of(job), job.queued)
        try:
            await self._port.abegin(id_of(job), job.function, options, run_id=run_id_of(job), header=header)
        except CancelledError:  # SAQ puts back a job whose body is cancelled, and forgets one that has none yet
            await shield(job.retry("cancelled"))
            raise
        yield

    # Ends: SAQ's own writes tell them, also those of another process than the run's

    def _finishing(self, queue: Queue, job: Job, status: Status, **fields: Any) -> Steps | None:
        return self._finish(queue, job, status, **fields) if self._is_ours(job) else None

    async def _finish(
        self, queue: Queue, job: Job, status: Status, *, result: object = None, error: str | None = None, **_: object
    ) -> Steps:
        delivery, raised = self._delivery_of(job), sys.exception()
        if (yield).error is not None:
            return
        is_swept = error == queue.swept_error_message
        if delivery is None:
            self._end_elsewhere(job, status, run_id_of(job), is_swept=is_swept)
        elif status == Status.COMPLETE:
            delivery.finish(result)
        elif status == Status.ABORTED and not is_swept:
            delivery.cancel()
        elif is_swept or (isinstance(raised, TimeoutError) and raised is not delivery.error and job.timeout):
            delivery.fail("time_limit")
        else:
            delivery.end(raised)

    def _end_elsewhere(self, job: Job, status: Status, run_id: str, *, is_swept: bool) -> None:
        """Tell of an end that another process than the run's has written, or that came before any run."""
        if status == Status.COMPLETE:
            return
        if status == Status.ABORTED and not is_swept:
            self._ended(events.Cancelled, job, run_id=run_id)
        elif vars(job).get(UNKNOWN):
            self._ended(events.Failed, job, code="unknown_task")
        else:
            self._ended(events.Failed, job, run_id=run_id, code="worker_lost" if is_swept else "error")

    def _retrying(self, queue: Queue, job: Job, *_: object, **__: object) -> Steps | None:
        if not self._is_ours(job):
            return None
        return self._send_again(job) if job.status in TERMINAL_STATUSES else self._retry(job)

    async def _retry(self, job: Job) -> Steps:
        """Be around what puts a job back after a failure, a shutdown or a sweep."""
        delivery, raised, run_id = self._delivery_of(job), sys.exception(), run_id_of(job)
        if (yield).error is not None:
            return
        eta = None if job.retry_backoff else due(job.retry_delay or None)
        if isinstance(raised, CancelledError) and delivery is not None:
            delivery.back()
        elif delivery is not None:
            delivery.again(eta=eta)
        elif run_id:
            self._ended(events.Retrying, job, run_id=run_id, eta=eta)

    async def _send_again(self, job: Job) -> Steps:
        """Be around the sending of a job that is over, as SAQ's own pages do it: for whom it was sent before."""
        header = header_of(job) or {"staff_only": True}
        planned = messages.owner_header(messages.from_header(header))
        sending = await self._prepare(job, self.options_of(job.function), planned=planned)
        put_header(job, sending, is_told=True)
        if (yield).error is None:
            await sending.atell()
            sending.confirm()

    def _aborting(self, queue: Queue, job: Job, error: str, *_: object, **__: object) -> Steps | None:
        is_asked = error != queue.swept_error_message and self._is_ours(job)
        return self._abort(queue, job) if is_asked else None

    async def _abort(self, queue: Queue, job: Job) -> Steps:
        """Be around an abort: on Redis, SAQ drops a job that waits for its time and never says that it is over."""
        stored = await queue.job(job.key)
        is_waiting = stored is not None and stored.status == Status.QUEUED
        if (yield).error is None and stored is not None and is_waiting:
            self._ended(events.Cancelled, stored)

    def _is_ours(self, job: Job) -> bool:
        """Return whether there is something to tell of a job, by this process."""
        if _is_relayed.get():
            return False
        return is_told(job.meta.get(HEADER)) or self.options_of(job.function) is not None

    def _delivery_of(self, job: Job) -> Delivery | None:
        """Return the very run of a job that SAQ speaks of: this process may be at a later one as well."""
        delivery = self._port.here(id_of(job))
        return delivery if delivery is not None and delivery.run.run_id == run_id_of(job) else None

    def _ended(self, kind: type[events.Event], job: Job, *, run_id: str = "", **fields: Any) -> None:
        """Tell of the end of a run in another process; without a run, of a job that has not begun."""
        fields |= {"run_id": run_id} if run_id else {"unstarted": True}
        self._port.ended(kind, id_of(job), job.function, header=header_of(job), **fields)


def _taken(name: str, function: Any) -> Iterator[CheckMessage]:
    with suppress(TypeError, ValueError, NameError):  # annotations may name what only type checkers import
        for argument in list(signature(function).parameters)[1:]:
            if argument in Job.__dataclass_fields__:
                yield Warning(
                    f"The function {name!r} takes {argument!r}, which `enqueue({argument}=…)` of SAQ takes for a field "
                    "of the job: the function never gets it.",
                    hint="Rename the argument, or send Job(…, kwargs={…}).",
                    id="immortus_channels.W064",
                )
