"""Jobs that are not on record: what their strategy, or their queue's own records, still know about them.

The owner of such a job is unknown, so it is for staff, and for users whom the strategy's own `allows` admits. Nothing
is written to the store. Each source has two seconds, for which a request releases its turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, TypeGuard, TypeVar

from immortus_channels import bounded_calls, loading, queues
from immortus_channels.access import permissions
from immortus_channels.guarded import quoted
from immortus_channels.http import concurrency
from immortus_channels.jobs.job import Error, Job, State
from immortus_channels.keys import name_in
from immortus_channels.logs import logger
from immortus_channels.queues.base import Queue
from immortus_channels.tracking import call_safely, strategies
from immortus_channels.tracking.rules import User
from immortus_channels.writer import is_inline
from immortus_channels.writer.values import clean_meta, clean_result, within_limit

Answer = TypeVar("Answer")

_STATUS = {"created": State.ENQUEUED, "started": State.RUNNING, **{state.value: state for state in State}}
"""The words of `status`: two that strategies know from Immortus, and the states' own."""
_VERSION = {State.ENQUEUED: 1, State.RUNNING: 2, State.RETRYING: 2}
"""Each state newer than the one before; an end is the newest."""


def fetch(user: User, job_id: str, job_class: str = "") -> Job | None:
    """Return the job as its strategy's `fetch` or `status`, or else its queue, knows it; None if none of them does.

    `job_class` names the task if more than one strategy is in use; it is looked up, never imported, and a job that is
    known to be another task's is not returned. A queue's answer without a task may be any task's: it is for staff,
    whatever class is named here. Neither strategy nor queue is asked for a `user` who would not see the answer: ids are
    cheap to invent, and a backend may be slow. Raises StoreUnavailable when a database cannot answer for permissions.
    """
    strategy = strategies.strategy_of(job_class, job_id)
    if not strategies.defines(strategy, "allows") and not permissions.would_see(user, job_id, job_class):
        return None
    job = _find(user, strategy, job_id, job_class)
    if job is None:
        return None
    return call_safely(f"What was fetched for {quoted(strategy)}", job_id, partial(_prepare, job, job_id, job_class))


def _find(user: User, strategy: Any, job_id: str, job_class: str) -> Job | None:
    """Return the first job from the strategy or a queue that this user may see."""
    for job in _by_strategy(strategy, job_id):
        if _is_of(job, job_class):
            return job
    for job in _by_queues(job_id, job_class):
        if _is_of(job, job_class) and (job.job_class or permissions.may_see_nameless(user, job_id)):
            return job
    return None


def _is_of(job: Job | None, job_class: str) -> TypeGuard[Job]:
    """Return whether there is a job, of this class as far as its source names one."""
    return job is not None and (not job_class or job.job_class in ("", job_class))


def _by_strategy(strategy: Any, job_id: str) -> Iterator[Job | None]:
    for name in ("fetch", "status"):
        if strategies.defines(strategy, name):
            source = f"{name}() of {loading.name_of(type(strategy))}"
            yield _job_of(_ask(source, partial(_call, strategy, name, job_id)), job_id)


def _call(strategy: Any, name: str, job_id: str) -> object:
    return call_safely(f"{name} of {quoted(strategy)}", job_id, lambda: getattr(strategy, name)(name_in(job_id)))


def _job_of(answer: object, job_id: str) -> Job | None:
    """Return a job that was answered as such, or by the word for its state."""
    if isinstance(answer, Job):
        return answer
    state = _STATUS.get(answer) if isinstance(answer, str) else None
    return Job(job_id=job_id, state=state) if state is not None else None


def _by_queues(job_id: str, job_class: str) -> Iterator[Job | None]:
    """Yield what each queue knows that may run the task."""
    for each in queues.that_may_run(job_class):
        yield _ask(f"the records of {each.name}", partial(_by_queue, each, job_id))


def _by_queue(queue: Queue, job_id: str) -> Job | None:
    try:
        return queue.fetch(job_id)
    except Exception:
        # A backend that is down, or whose driver is not installed, may raise anything.
        logger.exception("The queue %r failed to fetch %r", queue.name, job_id, extra={"job_id": job_id})
        return None


def _ask(source: str, question: Callable[[], Answer]) -> Answer | None:
    """Return the answer; None if it is late. Where jobs are written inline, data belongs to its thread, which asks."""
    if is_inline():
        return question()
    try:
        with concurrency.aside():
            return bounded_calls.ask(source, question)
    except bounded_calls.NoAnswer:
        return None


def _prepare(job: Job, job_id: str, job_class: str) -> Job:
    """Return the job as browsers may hold it: older than any version on record, and for staff."""
    ended_badly = job.state.is_over and job.state is not State.FINISHED
    error = job.error or Error(code=_CODE[job.state]) if ended_badly else None
    shown = replace(
        job,
        job_id=job_id,
        job_class=job_class or job.job_class,
        version=_VERSION.get(job.state, 3),
        error=error,
        staff_only=True,
        meta=clean_meta({**job.meta, **job.strategy_meta}, job_id, by_caller=False),
        strategy_meta={},
        result=clean_result(job.result, job_id, by_caller=False),
    )
    return within_limit(None, shown)


_CODE = {State.FAILED: "error", State.CANCELLED: "cancelled", State.LOST: "lost"}
