"""Runs of jobs that no queue runs: a block of code in a thread, a script or another job."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from immortus_channels import tracking
from immortus_channels.events import Cancelled, Failed, Finished, Origin
from immortus_channels.exceptions import JobCancelled, JobFailed
from immortus_channels.jobs import Job
from immortus_channels.progress import Run, current_run
from immortus_channels.values import clean_error


@contextmanager
def running(record: Job) -> Iterator[Run]:
    """A run of the job for as long as the block takes, with its lease, as this thread's current job.

    Raises JobCancelled before the block when the job may not be run any more.
    """
    run = tracking.make_run(
        job_id=record.job_id, job_class=record.job_class, run_id=uuid.uuid4().hex, origin=_origin_of(record)
    )
    tracking.begin(run)
    if run.refused:
        raise JobCancelled(record.job_id)
    token = current_run.set(run)
    try:
        yield run
    except JobCancelled as error:
        tracking.end(run, Cancelled)
        if not _is_about(error, run):
            raise
    except JobFailed as error:
        said = clean_error(error.code, error.message, run.job_id)
        tracking.end(run, Failed, code=said.code, message=said.message)
    except BaseException:
        # Ctrl-C ends the job as well: nobody would ever hear of it again.
        tracking.end(run, Failed)
        raise
    else:
        tracking.end(run, Finished)
    finally:
        current_run.reset(token)


def _is_about(error: JobCancelled, run: Run) -> bool:
    """Whether it is this job that was cancelled, not the one around it."""
    return error.args in ((), (run.job_id,))


def _origin_of(record: Job) -> Origin:
    """What every event of the run tells, so that each can make the record anew."""
    return Origin(
        owner=record.owner, queue=record.queue, handler=record.handler, params=record.params, data=record.data
    )
