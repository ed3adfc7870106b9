"""The jobs as Celery's tasks."""

from __future__ import annotations

import os

from celery import Task, shared_task

from immortus_channels import tracked
from immortus_channels.celery import TrackedTask
from photos import work


@shared_task
@tracked
def process_image(photo: str) -> None:
    """Paint the photograph, tile by tile."""
    work.paint(photo)


@shared_task(bind=True, base=TrackedTask, tracking_strategy="process_image_strategy")
def process_image_with_table(self: Task, photo: str) -> None:
    """Paint the photograph and tell the project's own table, as the strategy wants it."""
    for percentage in work.percentages(photo):
        self.strategy.update_percentage(self.job_id, percentage)


@shared_task
@tracked
def fails(photo: str) -> None:
    """Give up with a reason that the person at the screen may read."""
    work.fails(photo)


@shared_task
@tracked
def crashes(photo: str) -> None:
    """Stumble over a mistake in the code."""
    work.crashes(photo)


@shared_task(bind=True, max_retries=2)
@tracked
def retries(self: Task, photo: str) -> None:
    """Fail twice, then succeed: one job, three attempts."""
    if self.request.retries < self.max_retries:
        work.paint(photo, until=0.2 * (self.request.retries + 1))
        raise self.retry(countdown=2)
    work.paint(photo)


@shared_task
@tracked
def slow(photo: str) -> None:
    """Take a minute, so that there is time to cancel."""
    work.paint(photo, slower=10)


@shared_task(time_limit=4)
@tracked
def time_limit(photo: str) -> None:
    """Run into Celery's hard time limit: the process is killed in the middle of a tile."""
    work.paint(photo, slower=10)


@shared_task
@tracked
def child_killed(photo: str) -> None:
    """Kill the process that runs the job, as a computer that is out of memory does."""
    work.loses_its_process(photo)


@shared_task(bind=True)
@tracked
def worker_killed(self: Task, photo: str) -> None:
    """Kill the whole worker, so that nobody is left to say what became of the job.

    Redis gives the message to another worker after an hour; that one does the job, and the lost job is found again.
    """
    if self.request.delivery_info.get("redelivered"):
        work.paint(photo)
    else:
        work.loses_its_worker(photo, os.getppid())
