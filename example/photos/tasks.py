"""The jobs: one that paints, one tracked by a table of its own, and one for each thing that can go wrong."""

from __future__ import annotations

import os
import signal

from celery import Task, shared_task

from immortus_channels import JobFailed, current_job, tracked
from immortus_channels.celery import TrackedTask
from photos.pace import paced
from photos.paintings import Painting


@shared_task
@tracked
def process_image(photo: str) -> None:
    """Paint the photograph, tile by tile."""
    paint(photo)


@shared_task(bind=True, base=TrackedTask, tracking_strategy="process_image_strategy")
def process_image_with_table(self: Task, photo: str) -> None:
    """Paint the photograph and tell the project's own table, as the strategy wants it."""
    painting = Painting(photo)
    for done, tile in enumerate(paced(painting.tiles), start=1):
        painting.paint(tile)
        self.strategy.update_percentage(self.job_id, 100 * done // len(painting.tiles))
    current_job().set_result(painting.finish())


@shared_task
@tracked
def fails(photo: str) -> None:
    """Give up with a reason that the person at the screen may read."""
    paint(photo, until=0.4)
    raise JobFailed("out_of_blue", "The painter ran out of blue.")


@shared_task
@tracked
def crashes(photo: str) -> None:
    """Stumble over a mistake in the code: the page says only that something went wrong."""
    paint(photo, until=0.4)
    raise RuntimeError("the easel fell over; this text is for the log only")


@shared_task(bind=True, max_retries=2)
@tracked
def retries(self: Task, photo: str) -> None:
    """Fail twice, then succeed: one job, three attempts."""
    if self.request.retries < self.max_retries:
        paint(photo, until=0.2 * (self.request.retries + 1))
        raise self.retry(countdown=2)
    paint(photo)


@shared_task
@tracked
def slow(photo: str) -> None:
    """Take a minute, so that there is time to cancel."""
    paint(photo, slower=10)


@shared_task(time_limit=4)
@tracked
def time_limit(photo: str) -> None:
    """Run into Celery's hard time limit: the process is killed in the middle of a tile."""
    paint(photo, slower=10)


@shared_task
@tracked
def child_killed(photo: str) -> None:
    """Kill the process that runs the job, as a computer that is out of memory does."""
    paint(photo, until=0.4)
    os.kill(os.getpid(), signal.SIGKILL)


@shared_task(bind=True)
@tracked
def worker_killed(self: Task, photo: str) -> None:
    """Kill the whole worker, so that nobody is left to say what became of the job.

    Redis gives the message to another worker after an hour; that one does the job, and the lost job is found again.
    """
    worker = os.getppid()
    if os.getpgid(worker) != worker:
        raise JobFailed("shared_group", "The worker does not lead a process group of its own; use `make demo`.")
    if self.request.delivery_info.get("redelivered"):
        paint(photo)
        return
    paint(photo, until=0.4)
    os.killpg(worker, signal.SIGKILL)


def paint(photo: str, *, until: float = 1, slower: float = 1) -> None:
    """Paint up to the part `until` of the photograph; the whole is published as the job's result."""
    job = current_job()
    painting = Painting(photo)
    tiles = painting.tiles
    steps = job.track(paced(tiles, slower=slower), total=len(tiles), message="Painting")
    for painted, tile in enumerate(steps):
        if painted >= len(tiles) * until:
            return
        job.set_meta(preview=painting.paint(tile))
    job.set_result(painting.finish())
