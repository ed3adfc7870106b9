"""What the jobs do, whichever queue runs them: one paints, and one for each thing that can go wrong.

How each queue declares them as tasks is in `queues/`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

from immortus_channels import JobFailed, current_job
from photos.pace import paced
from photos.paintings import Painting


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


def percentages(photo: str) -> Iterator[int]:
    """Paint, for a strategy that wants to be told itself: yield how much is done after each tile."""
    painting = Painting(photo)
    for done, tile in enumerate(paced(painting.tiles), start=1):
        painting.paint(tile)
        yield 100 * done // len(painting.tiles)
    current_job().set_result(painting.finish())


def fails(photo: str) -> None:
    """Give up with a reason that the person at the screen may read."""
    paint(photo, until=0.4)
    raise JobFailed("out_of_blue", "The painter ran out of blue.")


def crashes(photo: str) -> None:
    """Stumble over a mistake in the code: the page says only that something went wrong."""
    paint(photo, until=0.4)
    raise RuntimeError("the easel fell over; this text is for the log only")


def succeeds_at(attempt: int, photo: str) -> None:
    """Fail in the attempts before this one; the queue decides when the next one begins."""
    if current_job().attempt < attempt:
        paint(photo, until=0.2 * current_job().attempt)
        raise RuntimeError("the canvas is still wet")
    paint(photo)


def loses_its_process(photo: str) -> None:
    """Kill the process that runs the job, as a computer that is out of memory does; if it is run again, paint."""
    if current_job().attempt > 1:
        paint(photo)
        return
    paint(photo, until=0.4)
    os.kill(os.getpid(), signal.SIGKILL)


def loses_its_worker(photo: str, worker: int) -> None:
    """Kill the whole worker, whose main process is `worker`, as a power cut does; if the job is run again, paint."""
    if current_job().attempt > 1:
        paint(photo)
        return
    if os.getpgid(worker) != worker:
        raise JobFailed("shared_group", "The worker does not lead a process group of its own; use `make demo`.")
    paint(photo, until=0.4)
    os.killpg(worker, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)  # for a process of the worker that has a group of its own
