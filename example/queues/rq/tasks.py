"""The jobs as functions with RQ's `delay`."""

from __future__ import annotations

import os

from django_rq import job
from rq import Retry

from immortus_channels import current_job, tracked
from photos import work


@job
@tracked
def process_image(photo: str) -> None:
    """Paint the photograph, tile by tile."""
    work.paint(photo)


@job
@tracked(strategy="process_image_strategy")
def process_image_with_table(photo: str) -> None:
    """Paint the photograph and tell the project's own table, as the strategy wants it."""
    job = current_job()
    for percentage in work.percentages(photo):
        job.strategy.update_percentage(job.id, percentage)


@job
@tracked
def fails(photo: str) -> None:
    """Give up with a reason that the person at the screen may read."""
    work.fails(photo)


@job
@tracked
def crashes(photo: str) -> None:
    """Stumble over a mistake in the code."""
    work.crashes(photo)


@job("default", retry=Retry(max=2, interval=2))
@tracked
def retries(photo: str) -> None:
    """Fail twice, then succeed: one job, three attempts."""
    work.succeeds_at(3, photo)


@job
@tracked
def slow(photo: str) -> None:
    """Take a minute, so that there is time to cancel."""
    work.paint(photo, slower=10)


@job("default", timeout=4)
@tracked
def time_limit(photo: str) -> None:
    """Run into RQ's timeout, in the middle of a tile."""
    work.paint(photo, slower=10)


@job
@tracked
def child_killed(photo: str) -> None:
    """Kill the process that runs the job, as a computer that is out of memory does."""
    work.loses_its_process(photo)


@job
@tracked
def worker_killed(photo: str) -> None:
    """Kill the whole worker, so that nobody is left to say what became of the job."""
    work.loses_its_worker(photo, os.getppid())
