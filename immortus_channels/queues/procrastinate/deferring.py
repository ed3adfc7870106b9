"""Procrastinate's job manager in a process that defers or cancels jobs: their numbers come from the INSERT."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.db import Error, connections, transaction

from immortus_channels.loading import Later
from immortus_channels.queues.hooks import Instead, Outcome, guard
from immortus_channels.queues.moments import due
from immortus_channels.queues.port import Port, Sent
from immortus_channels.queues.procrastinate.marks import id_of, options_of
from immortus_channels.queues.tracked import TaskOptions

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

    from immortus_channels.jobs import events
else:
    events = Later("immortus_channels.jobs.events")

Steps = Generator[Instead | None, Outcome, None]
AsyncSteps = AsyncGenerator[Instead | None, Outcome]


class Deferring:
    """Hooks around the methods of `JobManager`."""

    def __init__(self, port: Port, task_of: Callable[[str], Any]) -> None:
        """Take what returns the task of a registered name, None for an unknown one."""
        self._port = port
        self._task_of = task_of

    def _are_any_tracked(self, jobs: Iterable[Any]) -> bool:
        return any(options_of(self._task_of(job.task_name)) is not None for job in jobs)

    # One job or many

    def deferred(self, manager: Any, jobs: Sequence[Any], **_: Any) -> Steps | None:
        """Tell jobs before a worker can see them: the INSERT of Django's connector waits for that in a transaction."""
        return self._deferred(alias_of(manager)) if self._are_any_tracked(jobs) else None

    def _deferred(self, alias: str | None) -> Steps:
        try:
            with _hidden(alias):
                outcome = yield None
                if outcome.error is None:
                    guard(self._tell)(outcome.value, alias)
        except Exception as error:  # noqa: BLE001 - the commit has failed, and the caller gets that
            yield Instead(error=error)

    def _tell(self, jobs: Sequence[Any], alias: str | None) -> None:
        prepare = self._port.prepare
        sendings = [prepare(*what, **about) for what, about in self._sent(jobs)]
        for sending in sendings:
            sending.tell(waits=sending is sendings[-1])
        for sending in sendings:
            sending.confirm(using=alias)

    def _sent(self, jobs: Iterable[Any]) -> Iterator[tuple[tuple[str, str, TaskOptions], Sent]]:
        """Yield what the port is told of each tracked job."""
        for job in jobs:
            task = self._task_of(job.task_name)
            options = options_of(task)
            if options is not None:
                about = Sent(kwargs=job.task_kwargs, function=task.func, eta=due(job.scheduled_at))
                yield (id_of(job.id), job.task_name, options), about

    def deferred_async(self, manager: Any, jobs: Sequence[Any], **options: Any) -> AsyncSteps | None:
        """Tell jobs that are deferred on an event loop: with Django's connector, which goes to a thread, as above."""
        if not self._are_any_tracked(jobs):
            return None
        if alias_of(manager) is None:
            return self._deferred_async(self._sent)
        return _in_thread(partial(manager.batch_defer_jobs, jobs, **options))

    async def _deferred_async(self, sent: Callable[[Any], Iterable[tuple[Any, Sent]]]) -> AsyncSteps:
        """Tell jobs once they are there: a worker may have begun them by now, without their owner."""
        outcome = yield None
        if outcome.error is not None:
            return
        sendings = [await self._port.aprepare(*what, **about) for what, about in sent(outcome.value)]
        for sending in sendings:
            await sending.atell(waits=sending is sendings[-1])
            sending.confirm()

    # By a schedule

    def scheduled(self, manager: Any, job: Any, **_: Any) -> AsyncSteps | None:
        """Tell a periodic job, which a worker defers, unless another one was first; its id makes it for staff only."""
        if not self._are_any_tracked([job]):
            return None

        def sent(number: int | None) -> Iterable[tuple[Any, Sent]]:
            return [] if number is None else self._sent([job.evolve(id=number)])

        return self._deferred_async(sent)

    # Cancelled

    def cancelled(self, manager: Any, job_id: int, abort: bool = False, **_: Any) -> Steps:  # noqa: FBT001, FBT002
        """Tell that a waiting job was cancelled; one that runs tells by itself what becomes of an abort."""
        if (yield None).value and not (abort and _was_only_asked(manager.list_jobs(id=job_id))):
            self._tell_cancelled(job_id, alias_of(manager))

    def cancelled_async(self, manager: Any, job_id: int, abort: bool = False, **options: Any) -> AsyncSteps:  # noqa: FBT001, FBT002
        """Do what `cancelled` does, on an event loop."""
        if alias_of(manager) is None:
            return self._cancelled_async(manager, job_id, abort=abort)
        return _in_thread(partial(manager.cancel_job_by_id, job_id, abort, **options))

    async def _cancelled_async(self, manager: Any, job_id: int, *, abort: bool) -> AsyncSteps:
        if (yield None).value and not (abort and _was_only_asked(await manager.list_jobs_async(id=job_id))):
            self._tell_cancelled(job_id, None)

    def _tell_cancelled(self, number: int, alias: str | None) -> None:
        tell = partial(self._port.ended, events.Cancelled, id_of(number), "", unstarted=True)
        if alias is not None and connections[alias].in_atomic_block:
            transaction.on_commit(tell, using=alias, robust=True)
        else:
            tell()


def alias_of(manager: Any) -> str | None:
    """Return the database whose transactions jobs are part of; None without Django's connector, as in workers."""
    alias: str | None = getattr(manager.connector, "alias", None)
    return alias


def _hidden(alias: str | None) -> AbstractContextManager[Any]:
    """Return a transaction in this database, unless there is one already or none can be begun."""
    if alias is not None and _is_free(connections[alias]):
        return transaction.atomic(using=alias)
    return nullcontext()


def _is_free(connection: BaseDatabaseWrapper) -> bool:
    try:
        return not connection.in_atomic_block and connection.get_autocommit()
    except Error:
        return False  # the INSERT will say what is wrong


async def _in_thread(method: Callable[[], Any]) -> AsyncSteps:
    """Call the method's sync twin where Django's connector would run the statement of the async one."""
    try:
        value = await sync_to_async(method)()
    except Exception as error:  # noqa: BLE001 - the caller gets it
        yield Instead(error=error)
    else:
        yield Instead(value)


def _was_only_asked(jobs: Iterable[Any]) -> bool:
    """Return whether the job that was to be aborted had begun; of one that is deleted by now that is not known."""
    return any(job.status != "cancelled" for job in jobs)
