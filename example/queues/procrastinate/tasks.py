"""The jobs as Procrastinate's tasks."""

from __future__ import annotations

import os

from procrastinate import RetryStrategy
from procrastinate.contrib.django import app

from immortus_channels import current_job, tracked
from photos import work


@app.task
@tracked
def process_image(photo: str) -> None:
    """Paint the photograph, tile by tile."""
    work.paint(photo)


@app.task
@tracked(strategy="process_image_strategy")
def process_image_with_table(photo: str) -> None:
    """Paint the photograph and tell the project's own table, as the strategy wants it."""
    job = current_job()
    for percentage in work.percentages(photo):
        job.strategy.update_percentage(job.id, percentage)


@app.task
@tracked
def fails(photo: str) -> None:
    """Give up with a reason that the person at the screen may read."""
    work.fails(photo)


@app.task
@tracked
def crashes(photo: str) -> None:
    """Stumble over a mistake in the code."""
    work.crashes(photo)


@app.task(retry=RetryStrategy(max_attempts=2, wait=2))
@tracked
def retries(photo: str) -> None:
    """Fail twice, then succeed: one job, three attempts."""
    work.succeeds_at(3, photo)


@app.task
@tracked
def slow(photo: str) -> None:
    """Take a minute, so that there is time to cancel."""
    work.paint(photo, slower=10)


@app.task
@tracked
def worker_killed(photo: str) -> None:
    """Kill the whole worker, so that nobody is left to say what became of the job."""
    work.loses_its_worker(photo, os.getpid())
