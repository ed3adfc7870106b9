"""Runs of jobs in this process, from the first event to the last."""

from __future__ import annotations

import time
import uuid
from typing import Any

from immortus_channels.jobs.events import Event, Origin, Refreshed, Started
from immortus_channels.jobs.ids import text_of
from immortus_channels.jobs.job import Job
from immortus_channels.tracking import strategies
from immortus_channels.tracking.hooks import completed_of, meta_of, outside_event_loop
from immortus_channels.tracking.publisher import can_be_tracked, publish, refresh
from immortus_channels.writer import get_writer, patience, report_of
from immortus_channels.writer.run import Run, current_run
from immortus_channels.writer.share import Share


def make_run(*, job_id: str, job_class: str, run_id: str, origin: Origin | None) -> Run:
    """Return a run in this process that has not begun yet."""
    known_as = text_of(job_id) or job_id
    around = current_run.get()
    return Run(
        job_id=known_as,
        job_class=job_class,
        run_id=run_id,
        origin=origin,
        around=around,
        notify=_notify,
        listen=_listen,
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
        publish=lambda event: publish(event, wait=patience()),
        notify=_notify,
        listen=_listen,
    )


def _notify(run: Run) -> None:
    """Notify this process's writer, found each time: a forked child has one of its own."""
    get_writer().notify(run)


def _listen(run: Run) -> None:
    """Let this process's writer ask the store whether the run's job was asked to stop."""
    get_writer().listen(run)


def begin(run: Run) -> None:
    """Report that a run starts; afterwards `run.refused` says whether it must not."""
    strategy = strategies.strategy_of(Job(job_id=run.job_id, job_class=run.job_class))
    run.strategy = strategies.Calling(strategy, after=lambda: _tell_meta(run, strategy))
    began = time.time_ns() // 1000
    run.started(
        publish(Started(job_id=run.job_id, job_class=run.job_class, run_id=run.run_id, origin=run.origin, began=began))
    )
    if not run.refused and can_be_tracked(run.job_id, run.job_class):
        get_writer().attach(run)


def end(run: Run, kind: type[Event], **fields: object) -> Job | None:
    """Report how a run ended, with everything it has reported itself. Never raises.

    A child that leaves its parent's code does not end the parent's run.
    """
    if run.is_forked:
        return None
    get_writer().detach(run)
    run.close()
    return publish(report_of(run, kind, **fields), known=run.known)


def _tell_meta(run: Run, strategy: Any) -> None:
    meta = outside_event_loop(lambda: meta_of(strategy, run.job_id))
    if meta is not None and run.is_closed:
        refresh(Refreshed(job_id=run.job_id, strategy_meta=meta))
    elif meta is not None:
        run.set_strategy_meta(meta)


def publish_meta(strategy: Any, job_id: str) -> None:
    """Ask the strategy again, and store and push what is new. Never raises."""
    run = current_run.get()
    if run is not None and run.job_id == job_id and not run.is_forked:
        _tell_meta(run, strategy)
        return
    meta, completed = outside_event_loop(lambda: (meta_of(strategy, job_id), completed_of(strategy, job_id)))
    refresh(Refreshed(job_id=job_id, strategy_meta=meta, completed=completed))
