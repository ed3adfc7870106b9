"""The jobs as Django-Q2's tasks: plain functions, with what `async_task` is to be told of them."""

from __future__ import annotations

import os

from immortus_channels import current_job, tracked
from photos import work

OPTIONS = {
    "retries": {"ack_failure": False},
    "time_limit": {"ack_failure": True, "timeout": 4},
}
"""What `async_task` gets with these; with the others, that a failure is the end."""


@tracked
def process_image(photo: str) -> None:
    """Paint the photograph, tile by tile."""
    work.paint(photo)


@tracked(strategy="process_image_strategy")
def process_image_with_table(photo: str) -> None:
    """Paint the photograph and tell the project's own table, as the strategy wants it."""
    job = current_job()
    for percentage in work.percentages(photo):
        job.strategy.update_percentage(job.id, percentage)


@tracked
def fails(photo: str) -> None:
    """Give up with a reason that the person at the screen may read."""
    work.fails(photo)


@tracked
def crashes(photo: str) -> None:
    """Stumble over a mistake in the code."""
    work.crashes(photo)


@tracked
def retries(photo: str) -> None:
    """Fail once, then succeed: one job, two attempts."""
    work.succeeds_at(2, photo)


@tracked
def slow(photo: str) -> None:
    """Take long enough to be cancelled."""
    work.paint(photo, slower=3)


@tracked
def time_limit(photo: str) -> None:
    """Run into the timeout that it is sent with."""
    work.paint(photo, slower=10)


@tracked
def child_killed(photo: str) -> None:
    """Kill the process that runs the job, as a computer that is out of memory does."""
    work.loses_its_process(photo)


@tracked
def worker_killed(photo: str) -> None:
    """Kill the whole cluster, so that nobody is left to say what became of the job."""
    work.loses_its_worker(photo, os.getpgrp())
