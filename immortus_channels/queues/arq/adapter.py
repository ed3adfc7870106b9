"""arq as a task queue: hooks in its own methods, for all connections and workers of this process."""

from __future__ import annotations

import time
import uuid
from asyncio import CancelledError
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from arq import connections
from arq import worker as workers
from arq.connections import ArqRedis
from arq.cron import CronJob
from arq.jobs import Job, SerializationError
from arq.worker import Function, JobExecutionFailed, Worker

from immortus_channels.loading import Later
from immortus_channels.queues.arq.messages import (
    Message,
    keeping,
    may_carry,
    message_here,
    reading,
    receiving,
    sent,
    writing,
)
from immortus_channels.queues.functions import FunctionQueue, is_told, of_unknown_sender, with_told
from immortus_channels.queues.hooks import Given, Instead, Outcome, around
from immortus_channels.queues.moments import due
from immortus_channels.queues.tracked import options_on

if TYPE_CHECKING:
    from immortus_channels.jobs import events, namespaces
    from immortus_channels.queues import classes
    from immortus_channels.queues.deliveries import Delivery
    from immortus_channels.queues.port import Port
    from immortus_channels.queues.sendings import Sending
    from immortus_channels.queues.tracked import TaskOptions
else:
    classes = Later("immortus_channels.queues.classes")
    events = Later("immortus_channels.jobs.events")
    namespaces = Later("immortus_channels.jobs.namespaces")

Steps = AsyncGenerator[Any, Outcome]

_OWN = {"_job_id", "_queue_name", "_defer_until", "_defer_by", "_expires", "_job_try"}
"""What `enqueue_job` takes for itself."""
_is_scheduled: ContextVar[bool] = ContextVar("immortus_arq_is_scheduled", default=False)


class ArqQueue(FunctionQueue):
    """Follows the tracked functions of all of arq's queues."""

    name = "arq"
    carries_headers = True
    tried: ClassVar = {"arq": ("0.26", "0.27", "0.28")}

    def connect(self, port: Port) -> None:
        """Put hooks into arq's classes, and around its functions that write and read messages, and write results."""
        self._port = port
        around(ArqRedis, enqueue_job=self._enqueueing)
        around(connections, serialize_job=writing)
        around(workers, deserialize_job_raw=reading, serialize_result=keeping)
        around(Function, __init__=self._declaring)
        around(CronJob, __init__=self._declaring)
        around(Worker, __init__=self._making, run_cron=self._scheduling)
        around(Worker, run_job=receiving, finish_job=self._finishing, finish_failed_job=self._failing)

    def job_of(self, given: object) -> tuple[str, str] | None:
        """Return the job behind one of arq's, which knows its id alone."""
        if not isinstance(given, Job):
            return None
        return given.job_id, classes.class_of(namespaces.here(given.job_id)) or ""

    # Sending

    async def _scheduling(self, worker: Worker, *_: object, **__: object) -> Steps:
        """Be around what sends the jobs of the worker's schedule."""
        _is_scheduled.set(True)
        yield
        _is_scheduled.set(False)

    def _enqueueing(self, redis: ArqRedis, function: str, *args: Any, **kwargs: Any) -> Steps | None:
        return None if self.is_other(function) else self._enqueue(redis, function, args, kwargs)

    async def _enqueue(self, redis: ArqRedis, function: str, args: Any, kwargs: Mapping[str, Any]) -> Steps:
        """Be around a sending. arq refuses one whose id it has, so only one with a new id is told before."""
        job_id, carries = kwargs.get("_job_id") or uuid.uuid4().hex, may_carry(redis)
        # Without a header nothing would tell the run of one life under a chosen id from that of the next.
        options = self.options_of(function) if carries or not kwargs.get("_job_id") else None
        is_early = options is not None and not kwargs.get("_job_id")
        sending = await self._prepare(job_id, function, options, args, kwargs)
        if is_early:
            await sending.atell()
        if sending.header is not None and carries:
            sent.set(with_told(sending.header, is_told=options is not None))
        outcome = yield Given((redis, function, *args), {**kwargs, "_job_id": job_id})
        sent.set(None)
        if options is not None and outcome.value is not None:
            if not is_early:
                await sending.atell()
            sending.confirm()
        elif is_early and isinstance(outcome.error, SerializationError):
            sending.fail()

    async def _prepare(
        self, job_id: str, function: str, options: TaskOptions | None, args: Any, kwargs: Mapping[str, Any]
    ) -> Sending:
        takes = self.function_of(function)
        until, by = kwargs.get("_defer_until"), kwargs.get("_defer_by")
        return await self._port.aprepare(
            job_id,
            function,
            options,
            args=args,
            kwargs={name: value for name, value in kwargs.items() if name not in _OWN},
            function=None if takes is None else partial(takes, None),  # arq's context comes first
            eta=due(by if until is None else until),
            is_scheduled=_is_scheduled.get(),
        )

    # Running

    def _declaring(self, task: Function | CronJob, *_: object, **__: object) -> Iterator[None]:
        """Be around the making of what names a function, and may be all that a process that sends has of it."""
        yield
        self.tasks[task.name] = task

    def _making(self, worker: Worker, *_: object, **__: object) -> Iterator[None]:
        """Be around the making of a worker, which then has functions of its own that are followed."""
        yield
        self.tasks.update(worker.functions)
        for name, function in worker.functions.items():
            options = options_on(function)
            if options is not None:
                worker.functions[name] = copy = replace(function)
                around(copy, coroutine=partial(self._running, name, options))

    async def _running(
        self, name: str, options: TaskOptions, context: Mapping[str, Any], *_: object, **__: object
    ) -> Steps:
        """Be around the call of a function, in the asyncio task of the body."""
        message = message_here.get()
        if message is None:
            return
        message.is_run = True
        job_id = context["job_id"]
        header = message.header or of_unknown_sender(job_id, context["enqueue_time"])
        message.delivery = await self._port.abegin(job_id, name, options, header=header)
        if message.delivery.refused:
            yield Instead()
        message.outcome = yield

    # Ends

    def _finishing(self, worker: Worker, job_id: str, *about: Any, **_: object) -> Steps | None:
        message = message_here.get()
        return self._finish(worker, job_id, message, *about) if message is not None and message.is_run else None

    async def _finish(  # noqa: PLR0913, PLR0917 - arq's arguments
        self,
        worker: Worker,
        job_id: str,
        message: Message,
        is_over: bool,  # noqa: FBT001
        _data: object,
        keeps: float | None,
        _is_kept_forever: object,
        delay: int | None,
        *_: object,
    ) -> Steps:
        """Be around what takes down how a run ended, or puts its message back."""
        if (yield).error is not None:
            return
        delivery, (value, error) = message.delivery, message.outcome or Outcome()
        if delivery is None:
            if is_over:
                self._end_unstarted(job_id, message, events.Cancelled)
        elif not is_over and isinstance(error, CancelledError):
            delivery.back()
        elif not is_over:
            delivery.again(eta=None if delay is None else (message.score + delay) * 1000)
        elif error is None and message.is_success is not False:
            delivery.finish(value)
        elif isinstance(error, CancelledError):
            _end_cancelled(delivery, worker, message)
        elif error is None:  # arq could not keep what it returned
            delivery.fail("error")
        else:
            delivery.end(error)

    def _failing(self, worker: Worker, job_id: str, *_: object) -> Steps | None:
        message = message_here.get()
        return None if message is None else self._fail(worker, job_id, message)

    async def _fail(self, worker: Worker, job_id: str, message: Message) -> Steps:
        """Be around what takes down that a message is not run."""
        if (yield).error is not None:
            return
        if not message.function and isinstance(message.result, JobExecutionFailed):
            self._end_unstarted(job_id, message, events.Cancelled, code="expired")
        elif isinstance(message.result, CancelledError):
            self._end_unstarted(job_id, message, events.Cancelled)
        elif message.function and message.function not in worker.functions:
            self._end_unstarted(job_id, message, events.Failed, code="unknown_task")
        else:
            self._end_unstarted(job_id, message, events.Failed)

    def _end_unstarted(self, job_id: str, message: Message, kind: type[events.Event], **fields: Any) -> None:
        header = message.header if is_told(message.header) else None
        name = message.function if self.options_of(message.function) else ""
        self._port.ended(kind, job_id, name, header=header, unstarted=True, **fields)


def _end_cancelled(delivery: Delivery, worker: Worker, message: Message) -> None:
    """Tell why arq has cancelled a run for good: where it keeps no result, the time alone says so."""
    function = worker.functions[message.function]
    limit = worker.job_timeout_s if function.timeout_s is None else function.timeout_s
    is_late = limit is not None and time.monotonic() - message.received >= limit
    if isinstance(message.result, TimeoutError) or (message.result is None and is_late):
        delivery.fail("time_limit")
    elif not worker.retry_jobs and worker.main_task is not None and worker.main_task.cancelling():
        delivery.fail("worker_lost")
    elif worker.allow_abort_jobs:
        delivery.cancel()
    else:
        delivery.end(CancelledError())
