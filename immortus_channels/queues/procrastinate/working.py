"""Procrastinate's worker: runs begin around `_process_job`, and end with what it has written into its table."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from typing import TYPE_CHECKING, Any

from procrastinate.job_context import AbortReason
from procrastinate.jobs import Status

from immortus_channels.loading import Later
from immortus_channels.queues.hooks import Instead, Outcome
from immortus_channels.queues.moments import due
from immortus_channels.queues.port import Port
from immortus_channels.queues.procrastinate.marks import id_of, options_of
from immortus_channels.queues.tracked import TaskOptions

if TYPE_CHECKING:
    from immortus_channels.jobs import events
    from immortus_channels.queues import verdicts
    from immortus_channels.queues.deliveries import Delivery
else:
    events = Later("immortus_channels.jobs.events")
    verdicts = Later("immortus_channels.queues.verdicts")

Steps = Generator[Instead | None, Outcome, None]
AsyncSteps = AsyncGenerator[Instead | None, Outcome]


class Working:
    """Hooks around the methods of `Worker`, on its event loop, and around a task's decision to run again."""

    def __init__(self, port: Port) -> None:
        self._port = port

    # Runs

    def process(self, worker: Any, context: Any) -> AsyncSteps | None:
        """Run a tracked job."""
        options = options_of(worker.app.tasks.get(context.job.task_name))
        return None if options is None else self._process(worker, context, options)

    async def _process(self, worker: Any, context: Any, options: TaskOptions) -> AsyncSteps:
        job = context.job
        try:
            delivery = await self._port.abegin(id_of(job.id), job.task_name, options)
        except asyncio.CancelledError:
            _current_task().cancel()  # the worker writes what that means, once its own code meets it
            yield None
            return
        if delivery.refused:
            await worker._persist_job_status(  # noqa: SLF001 - nothing else tells the worker that a job is over
                job=job, status=Status.ABORTED, retry_decision=None, context=context, job_result=None
            )
            yield Instead()
            return
        yield None
        delivery.hand_over()  # where no end has been told, the table has none

    # Ends

    def persisted(self, worker: Any, job: Any, status: Status, context: Any, **known: Any) -> AsyncSteps | None:
        """Tell how a run ended, once that is in the table."""
        task = worker.app.tasks.get(job.task_name)
        if task is None:
            return self._unknown(job)
        return None if options_of(task) is None else self._persisted(worker, job, status, context, **known)

    async def _unknown(self, job: Any) -> AsyncSteps:
        if (yield None).error is None:
            self._port.ended(events.Failed, id_of(job.id), "", code="unknown_task", unstarted=True)

    async def _persisted(  # noqa: PLR0913 - the worker's own
        self, worker: Any, job: Any, status: Status, context: Any, *, retry_decision: Any, job_result: Any
    ) -> AsyncSteps:
        is_shutdown = context.abort_reason() is AbortReason.SHUTDOWN  # the method forgets it
        error, delivery = (yield None).error, self._port.here(id_of(job.id))
        if error is not None:
            if delivery is not None:
                await _tell_end_of_another(delivery, worker, job)
        elif delivery is None:
            if status is Status.ABORTED and retry_decision is None:
                self._aborted_at_its_begin(job, is_shutdown=is_shutdown)
        elif retry_decision is not None:
            await _tell_again(delivery, worker, job, retry_decision)
        elif status is Status.SUCCEEDED:
            delivery.finish(job_result.result)
        elif status is Status.FAILED:
            delivery.end(delivery.error or RuntimeError())
        elif is_shutdown:
            delivery.fail("worker_lost")
        else:
            delivery.cancel()

    def _aborted_at_its_begin(self, job: Any, *, is_shutdown: bool) -> None:
        """Tell the end of a job that was aborted while its run was being told."""
        kind, code = (events.Failed, "worker_lost") if is_shutdown else (events.Cancelled, "cancelled")
        self._port.ended(kind, id_of(job.id), job.task_name, code=code)

    # Retries

    def decided(self, task: Any, exception: BaseException, job: Any) -> Steps | None:
        """Note the error, and let no job run again that has stopped because it was asked to."""
        if options_of(task) is None:
            return None
        return self._decided(exception, id_of(job.id))

    def _decided(self, exception: BaseException, job_id: str) -> Steps:
        self._port.noted(job_id, exception)
        delivery = self._port.here(job_id)
        asked = () if delivery is None else delivery.run.asked
        is_cancelled = verdicts.verdict(exception, job_id, asked=asked).kind is events.Cancelled
        yield Instead() if is_cancelled else None


def _current_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - this is a coroutine's code
    return task


async def _tell_end_of_another(delivery: Delivery, worker: Any, job: Any) -> None:
    """Tell the end that the table has already, of another run of a job that was retried while it ran."""
    for row in await worker.app.job_manager.list_jobs_async(id=job.id):
        match Status(row.status):
            case Status.SUCCEEDED:
                delivery.tell(events.Finished)
            case Status.FAILED:
                delivery.fail("error")
            case Status.ABORTED:
                delivery.cancel()


async def _tell_again(delivery: Delivery, worker: Any, job: Any, decision: Any) -> None:
    """Tell a retry; where an abort was asked for meanwhile, the table calls the job failed instead."""
    status = await worker.app.job_manager.get_job_status_async(job.id)
    if status is Status.FAILED:
        delivery.cancel()
    else:
        delivery.again(eta=due(decision.retry_at))
