"""Runs of jobs in this process, from the first event to the last."""

from __future__ import annotations

import time
import uuid
from functools import partial
from typing import Any

from immortus_channels.jobs.events import Event, Origin, Refreshed, Started
from immortus_channels.jobs.ids import text_of
from immortus_channels.jobs.job import Job
from immortus_channels.tracking import strategies
from immortus_channels.tracking.hooks import completed_of, meta_of, outside_event_loop
from immortus_channels.tracking.publisher import apublish, can_be_tracked, publish, publish_here, refresh
from immortus_channels.tracking.soon import may_wait, soon
from immortus_channels.writer import get_writer, report_of
from immortus_channels.writer.run import Run, current_run
from immortus_channels.writer.share import Share


def make_run(*, job_id: str, job_class: str, run_id: str, origin: Origin | None, queue: str = "") -> Run:
    """Return a run in this process that has not begun yet.

    With the name of its `queue`, it does not touch another queue's job of this id.
    """
    return Run(
        job_id=text_of(job_id) or job_id,
        job_class=job_class,
        run_id=run_id,
        queue=queue,
        origin=origin,
        around=current_run.get(),
        # The writer is looked up at each call: a forked child has one of its own.
        notify=lambda run: get_writer().notify(run),
        listen=lambda run: get_writer().listen(run),
        end=end,
    )


def make_share(*, job_id: str, job_class: str, by: str) -> Share:
    """Return a share in the work of a job that does not run here, for the loops of the handle `by`."""
    return Share(
        job_id=job_id,
        job_class=job_class,
        run_id=uuid.uuid4().hex[:12],
        by=by,
        attach=lambda run: get_writer().attach(run),
        detach=lambda run: get_writer().detach(run),
        publish=publish_here,
        notify=lambda run: get_writer().notify(run),
        listen=lambda run: get_writer().listen(run),
    )


def is_at_work(job_id: str) -> bool:
    """Return whether the job runs in this process, as far as its runs are tracked."""
    return get_writer().is_at_work(job_id)


def begin(run: Run, known: Job | None = None) -> None:
    """Report that a run starts; afterwards `run.refused` says whether it must not.

    It takes one round trip if the record is still that of the `known` job. A run under the id of another queue's or
    user's job, `run.is_foreign`, goes on untracked.
    """
    _begun(run, publish(_start_of(run), known=known))


async def abegin(run: Run, known: Job | None = None) -> None:
    """Do what `begin` does on an event loop, which runs on meanwhile."""
    _begun(run, await apublish(_start_of(run), known=known))


def _start_of(run: Run) -> Started:
    strategy = strategies.strategy_of(run.job_class, run.job_id)
    run.strategy = strategies.Calling(strategy, after=lambda: _report_meta(run, strategy))
    return Started(
        job_id=run.job_id,
        job_class=run.job_class,
        run_id=run.run_id,
        queue=run.queue,
        origin=run.origin,
        began=time.time_ns() // 1000,
    )


def _begun(run: Run, job: Job | None) -> None:
    run.started(job)
    if not (run.refused or run.is_foreign) and can_be_tracked(run.job_id, run.job_class):
        get_writer().attach(run)


def end(run: Run, kind: type[Event], *, wait: float | None = None, **fields: object) -> Job | None:
    """Report how a run ended, with everything it has reported itself; wait as `publish_here` does. Never raises.

    A child that leaves its parent's code does not end the parent's run.
    """
    if run.is_forked or run.is_foreign:
        return None
    get_writer().detach(run)
    run.close()
    return publish_here(report_of(run, kind, **fields), known=run.known, wait=wait)


def _report_meta(run: Run, strategy: Any) -> None:
    meta = outside_event_loop(lambda: meta_of(strategy, run.job_id))
    if meta is not None and run.is_closed:
        refresh(Refreshed(job_id=run.job_id, strategy_meta=meta))
    elif meta is not None:
        run.set_strategy_meta(meta)


def publish_meta(strategy: Any, job_id: str) -> None:
    """Ask the strategy again, and store and push what is new; on an event loop, soon. Never raises."""
    if not may_wait():
        soon.put(partial(_publish_meta, strategy, job_id))
    else:
        _publish_meta(strategy, job_id)


def _publish_meta(strategy: Any, job_id: str) -> None:
    run = current_run.get()
    if run is not None and run.job_id == job_id and not run.is_forked:
        _report_meta(run, strategy)
        return
    meta, completed = outside_event_loop(lambda: (meta_of(strategy, job_id), completed_of(strategy, job_id)))
    refresh(Refreshed(job_id=job_id, strategy_meta=meta, completed=completed))
