"""Jobs in their present state: overdue jobs are marked first, and strategies with an answer are asked."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from immortus_channels import queues
from immortus_channels.conf import leases, settings
from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.jobs.events import Overdue, Refreshed
from immortus_channels.jobs.job import Job, State
from immortus_channels.jobs.lifecycle import CLOCKS, SECOND, due_at, is_lost_next
from immortus_channels.stores import get_store
from immortus_channels.stores.base import Filter, Reading
from immortus_channels.tracking import strategies
from immortus_channels.tracking.hooks import completed_of, meta_of
from immortus_channels.tracking.inquiry import publish_end
from immortus_channels.tracking.publisher import publish, refresh
from immortus_channels.tracking.throttle import Pace
from immortus_channels.writer import WAIT, get_writer
from immortus_channels.writer.run import current_run


def read(job_ids: Collection[str]) -> dict[str, Job]:
    """Return the jobs of these ids in their present state; unknown ids are absent. Raises StoreUnavailable."""
    reading = on_record(job_ids)
    return {job_id: bring_up_to_date(job, reading.now) for job_id, job in reading.jobs.items()}


def on_record(job_ids: Collection[str]) -> Reading:
    """Return these jobs' records: enough to know who may see them. Raises StoreUnavailable."""
    # The waiting jobs first: a record written in between would otherwise be in neither.
    waiting = get_writer().held(job_ids)
    reading = get_store().get_many(job_ids)
    for job_id in waiting - reading.jobs.keys():
        msg = f"The record of {job_id!r} waits to be written."
        raise StoreUnavailable(msg)
    return reading


def bring_up_to_date(job: Job, now: int) -> Job:
    """Return a job on record at `now`, by the store's clock, in its present state.

    An overdue job is marked first, and strategies with an answer are asked, at most once an interval per job. So are
    queues some of whose ends stand in their own records alone. That takes time, and runs the project's code: so it is
    not done before the caller is known to see the job.
    """
    present = present_state(job, now)
    if present is not job:
        return present
    job = _ask_queue(job, now) or job
    return _refresh(job) or job


def present_state(job: Job, now: int) -> Job:
    """Return the job, marked overdue first if it is at `now` by the store's clock, without asking strategies."""
    if job.is_over or job.lease_until is None or now < job.lease_until:
        return job
    return _mark_overdue(job) or job


def list_jobs(wanted: Filter, *, limit: int, before: int | None) -> list[Job]:
    """Return the newest jobs that `wanted` admits, below version `before`.

    Up to `limit` jobs with an expired lease are marked overdue first, so that states are shown and filtered as they are
    now. Raises StoreUnavailable.
    """
    store = get_store()
    if not get_writer().is_behind:
        overdue = store.list(replace(wanted, states=None, overdue=True), limit=limit)
        for left, job in zip(reversed(range(len(overdue))), overdue, strict=True):
            # The writer writes in order: when the last is done, all are.
            _mark_overdue(job, wait=0 if left else WAIT)
    return store.list(wanted, limit=limit, before=before)


def recheck(watched: Mapping[str, str]) -> dict[str, int]:
    """Return the recorded versions of the watched jobs, given as id → class; unknown ids are absent.

    Overdue jobs are written and pushed like any change. Raises StoreUnavailable.
    """
    positions = get_store().positions(watched)
    overdue = [
        job_id
        for job_id, position in positions.of.items()
        if position.lease_until is not None and position.lease_until <= positions.now
    ]
    for job in get_store().get_many(overdue).jobs.values() if overdue else ():
        _mark_overdue(job, wait=0)
    return {job_id: position.version for job_id, position in positions.of.items()}


def ask_strategies(watched: Mapping[str, str]) -> None:
    """Ask the strategies that have answers for the watched jobs, given as id → class; push what they change.

    At most once an interval per job. Takes as long as the strategies do. Queues some of whose ends stand in their own
    records alone are asked, too, in a thread of their own. Raises StoreUnavailable.
    """
    answering = {job_class for job_class in set(watched.values()) if _has_answers(job_class)}
    silent = {job_class for job_class in set(watched.values()) if _may_end_silently(job_class)}
    due = {job_id for job_id, job_class in watched.items() if job_class in answering and _is_due(job_id)}
    waiting = {job_id for job_id, job_class in watched.items() if job_class in silent and _is_to_look(job_id)}
    reading = get_store().get_many([*due | waiting]) if due or waiting else Reading(now=0)
    for job_id, job in reading.jobs.items():
        if job_id in waiting:
            _ask_queue(job, reading.now, is_due=True)
        if job_id in due:
            _refresh(job, is_due=True)


def _mark_overdue(job: Job, *, wait: float = WAIT) -> Job | None:
    run = current_run.get()
    if run is not None and run.job_id == job.job_id:
        return None  # the job itself reads it
    event = Overdue(job_id=job.job_id, job_class=job.job_class)
    queue = queues.by_name(job.queue)
    if queue is None or not is_lost_next(job, leases()):
        return publish(event, wait=wait)
    run_id, since = _lost_run(job)
    return publish_end(event, queue=queue, run_id=run_id, since=since, wait=wait)


def _lost_run(job: Job) -> tuple[str, int]:
    """Return the id of the lost run, and when it began; for a job that waits, "" and when it was to begin."""
    if job.state is State.RUNNING:
        return job.run_id, job.began_at or job.started_at or 0
    return "", due_at(job, leases())


LOOK = 10.0
"""Seconds until a queue is asked how a job ended that should run by now, and between two questions about one job."""
_looks = Pace()


def _may_end_silently(job_class: str) -> bool:
    return any(queue.ends_silently for queue in queues.that_may_run(job_class))


def _is_to_look(job_id: str) -> bool:
    return _looks.is_due(job_id, LOOK)


def _ask_queue(job: Job, now: int, *, is_due: bool = False) -> Job | None:
    """Ask the queue of a job that should run by now how it ended, if some ends stand in the queue's own records alone.

    Without an answer the job waits on. Returns the job after it, None if that is not known yet.
    """
    queue = queues.by_name(job.queue)
    if queue is None or not queue.ends_silently or job.state not in (State.ENQUEUED, State.RETRYING):
        return None
    due = due_at(job, leases())
    if now < due + LOOK * SECOND or not (is_due or _is_to_look(job.job_id)):
        return None
    event = Overdue(job_id=job.job_id, job_class=job.job_class)
    since = due if job.run_id else (job.enqueued_at or due) - CLOCKS
    return publish_end(event, queue=queue, since=since)


def _has_answers(job_class: str) -> bool:
    return strategies.defines(strategies.strategy_of(job_class), "meta", "completed")


def _refresh(job: Job, *, is_due: bool = False) -> Job | None:
    is_final = job.is_over and job.state is not State.LOST
    if is_final or not _has_answers(job.job_class) or not (is_due or _is_due(job.job_id)):
        return None
    strategy = strategies.strategy_of(job.job_class, job.job_id)
    meta, completed = meta_of(strategy, job.job_id), completed_of(strategy, job.job_id)
    if (meta is None or meta == job.strategy_meta) and not completed:
        return None
    return refresh(Refreshed(job_id=job.job_id, strategy_meta=meta, completed=completed))


_pace = Pace()


def _is_due(job_id: str) -> bool:
    return _pace.is_due(job_id, settings.RECHECK_INTERVAL)
