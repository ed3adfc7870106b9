"""Runs of jobs without a queue: a block of code in a thread, a script or another job."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Never

from immortus_channels import queues, tracking
from immortus_channels.exceptions import JobCancelled, JobFailed, JobRunning
from immortus_channels.jobs import namespaces
from immortus_channels.jobs.events import Finished, Origin
from immortus_channels.jobs.job import Job
from immortus_channels.keys import name_in, namespace_of
from immortus_channels.queues.verdicts import is_about, verdict
from immortus_channels.writer.run import Run, current_run

_blocks: dict[str, Run] = {}
"""The runs of the blocks of this process, by their jobs."""

os.register_at_fork(after_in_child=_blocks.clear)


@contextmanager
def running(record: Job) -> Iterator[Run]:
    """Yield a run of the job for as long as the block takes, with its lease, as this thread's current job.

    Before the block raises JobRunning when this process runs the job already, and JobCancelled when the job may not run
    any more.
    """
    run = tracking.make_run(
        job_id=record.job_id, job_class=record.job_class, run_id=uuid.uuid4().hex, origin=Origin.of(record)
    )
    if _blocks.setdefault(run.job_id, run) is not run:
        _refuse(run)
    try:
        if tracking.is_at_work(run.job_id):
            _refuse(run)
        with _in_context(run):
            yield run
    finally:
        if _blocks.get(run.job_id) is run:  # a child that leaves its parent's block may have begun one of its own
            del _blocks[run.job_id]


def _refuse(run: Run) -> Never:
    """Refuse a second run, which would take the job over from the first: what that says would be lost."""
    name = name_in(run.job_id)
    msg = (
        f"The job {name!r} runs in this process already, so running() cannot begin it a second time. "
        f"The code that runs it has it as current_job(); any other may use get_job({name!r}) beside it."
    )
    raise JobRunning(msg)


@contextmanager
def _in_context(run: Run) -> Iterator[None]:
    job_id = name_in(run.job_id)
    tracking.begin(run)
    if run.refused:
        raise JobCancelled(job_id)
    around, entered = current_run.get(), namespaces.enter(namespace_of(run.job_id))
    current_run.set(run)
    try:
        yield
    except BaseException as error:
        # Ctrl-C ends the job as well: nothing would report on it later.
        kind, fields = verdict(error, job_id, asked=run.asked, limits=queues.interrupts())
        run.ended = tracking.end(run, kind, **fields)
        if not _ends_here(error, job_id):
            raise
    else:
        run.ended = tracking.end(run, Finished)
    finally:
        current_run.set(around)  # no token: for async code, the block ends in another context than it began in
        namespaces.leave(entered)


def _ends_here(error: BaseException, job_id: str) -> bool:
    """Return whether the error is about this job alone; the cancellation of a job around it must reach that one."""
    return isinstance(error, JobFailed) or (isinstance(error, JobCancelled) and is_about(error, job_id))
