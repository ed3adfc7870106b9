"""The jobs as Dramatiq's actors."""

from __future__ import annotations

import os

import dramatiq

from immortus_channels import current_job, tracked
from photos import work
from queues.dramatiq import broker  # noqa: F401 - the actors are its


@dramatiq.actor(max_retries=0)
@tracked
def process_image(photo: str) -> None:
    """Paint the photograph, tile by tile."""
    work.paint(photo)


@dramatiq.actor(max_retries=0)
@tracked(strategy="process_image_strategy")
def process_image_with_table(photo: str) -> None:
    """Paint the photograph and tell the project's own table, as the strategy wants it."""
    job = current_job()
    for percentage in work.percentages(photo):
        job.strategy.update_percentage(job.id, percentage)


@dramatiq.actor
@tracked
def fails(photo: str) -> None:
    """Give up with a reason that the person at the screen may read; JobFailed is not retried."""
    work.fails(photo)


@dramatiq.actor(max_retries=0)
@tracked
def crashes(photo: str) -> None:
    """Stumble over a mistake in the code."""
    work.crashes(photo)


@dramatiq.actor(max_retries=2, min_backoff=2_000, max_backoff=2_000)
@tracked
def retries(photo: str) -> None:
    """Fail twice, then succeed: one job, three attempts."""
    work.succeeds_at(3, photo)


@dramatiq.actor
@tracked
def slow(photo: str) -> None:
    """Take a minute, so that there is time to cancel."""
    work.paint(photo, slower=10)


@dramatiq.actor(max_retries=0, time_limit=4_000)
@tracked
def time_limit(photo: str) -> None:
    """Run into Dramatiq's time limit, in the middle of a tile."""
    work.paint(photo, slower=10)


@dramatiq.actor
@tracked
def worker_killed(photo: str) -> None:
    """Kill the whole worker, so that nobody is left to say what became of the job."""
    work.loses_its_worker(photo, os.getpgrp())
