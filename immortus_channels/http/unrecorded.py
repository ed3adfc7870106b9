"""Jobs that are not on record: what their strategy, or their queue's own records, can still tell of them.

Whose such a job is nobody can tell, so it is for staff, and for whom the strategy's own `allows` lets in. Nothing of it
is written down. Each is given two seconds, for which a request leaves its turn to others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

from immortus_channels import bounded_calls, queues
from immortus_channels.access import permissions
from immortus_channels.guarded import quoted
from immortus_channels.http import concurrency
from immortus_channels.jobs.job import Error, Job, State
from immortus_channels.queues.base import Queue
from immortus_channels.tracking import guarded, strategies
from immortus_channels.writer import is_inline
from immortus_channels.writer.values import clean_meta, clean_result, within_limit

if TYPE_CHECKING:
    from immortus_channels.tracking.rules import User

logger = logging.getLogger("immortus_channels")

Answer = TypeVar("Answer")

_STATUS = {
    "created": State.ENQUEUED,
    "started": State.RUNNING,
    **{state.value: state for state in State},
}
"""The words of `status`: the seeds' two, and the states' own."""
_VERSION = {State.ENQUEUED: 1, State.RUNNING: 2, State.RETRYING: 2}
"""Each newer than the one before; an end is the newest."""


def fetch(user: User, job_id: str, job_class: str = "") -> Job | None:
    """The job as its strategy's `fetch` or `status`, or else its queue, knows it; None when nobody does.

    `job_class` names the task where more than one strategy is in use; it is looked up, never imported, and what is
    known to be another task's is not told under it. What a queue tells without naming the task may be any task's: it
    is for staff, whatever class is named here. Nobody is asked on behalf of a `user` who would not be told: ids are
    cheap to invent, and a backend may be slow. Raises StoreUnavailable when a database cannot tell who may see it.
    """
    unseen = nobody_knows(job_id, job_class)
    strategy = strategies.strategy_of(unseen)
    if not strategies.defines(strategy, "allows") and not permissions.would_see(user, unseen):
        return None
    job = _told(user, strategy, job_id, job_class)
    if job is not None:
        with guarded(f"What was fetched for {quoted(strategy)}", job_id):
            return _shown(job, job_id, job_class)
    return None


def _told(user: User, strategy: Any, job_id: str, job_class: str) -> Job | None:
    """The first job that the strategy or a queue tells of and that this user may hear of."""
    for job in _by_strategy(strategy, job_id):
        if _is_of(job, job_class):
            return job
    for job in _by_queues(job_id, job_class):
        if _is_of(job, job_class) and (job.job_class or permissions.may_see_nameless(user, job_id)):
            return job
    return None


def nobody_knows(job_id: str, job_class: str = "") -> Job:
    """What stands for a job that is not on record, where somebody is to say who might see it."""
    return Job(job_id=job_id, job_class=job_class, staff_only=True)


def _is_of(job: Job | None, job_class: str) -> TypeGuard[Job]:
    """Whether there is such a job, of this class as far as anybody has said."""
    return job is not None and (not job_class or job.job_class in ("", job_class))


def _by_strategy(strategy: Any, job_id: str) -> Iterator[Job | None]:
    for name in ("fetch", "status"):
        if strategies.defines(strategy, name):
            kind = type(strategy)
            whom = f"{name}() of {kind.__module__}.{kind.__qualname__}"
            yield _job_of(_ask(whom, partial(_said, strategy, name, job_id)), job_id)


def _said(strategy: Any, name: str, job_id: str) -> object:
    told: object = None
    with guarded(f"{name} of {quoted(strategy)}", job_id):
        told = getattr(strategy, name)(job_id)
    return told  # noqa: RET504 - None where it raised


def _job_of(told: object, job_id: str) -> Job | None:
    """A job given as such, or by the word for its state."""
    if isinstance(told, Job):
        return told
    state = _STATUS.get(told) if isinstance(told, str) else None
    return Job(job_id=job_id, state=state) if state is not None else None


def _by_queues(job_id: str, job_class: str) -> Iterator[Job | None]:
    """What the task's queue knows, or, of a task nobody here knows, each queue in turn."""
    queue, _ = queues.find(job_class)
    for each in queues.connected if queue is None else [queue]:
        yield _ask(f"the records of {each.name}", partial(_by_queue, each, job_id))


def _by_queue(queue: Queue, job_id: str) -> Job | None:
    try:
        return queue.fetch(job_id)
    except Exception:
        # A backend that is down, or whose driver is not installed, may raise anything.
        logger.exception("The queue %r cannot tell of %r", queue.name, job_id, extra={"job_id": job_id})
        return None


def _ask(whom: str, question: Callable[[], Answer]) -> Answer | None:
    """The answer; None without one in time. Where jobs are written inline, data is its thread's: it asks there."""
    if is_inline():
        return question()
    try:
        with concurrency.aside():
            return bounded_calls.ask(whom, question)
    except bounded_calls.NoAnswer:
        return None


def _shown(job: Job, job_id: str, job_class: str) -> Job:
    """The job as browsers may hold it: older than anything that will be on record, and for staff."""
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
