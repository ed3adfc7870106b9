"""A job whose work is done by children of its process, in each of the ways in which Python makes them.

`python -m tests.api.children fork spawn …` prints the end of such a job for each way.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import django

from immortus_channels import JobRepository, current_job, get_job

CHILDREN, CALLS = 2, 20


def report(job_id: str, number: int) -> None:
    """What one of the children says of its parent's job, by the id."""
    for call in range(CALLS):
        job = get_job(job_id)
        job.update(advance=1)
        job.set_meta(**{f"key_{number}_{call}": number})


def report_set_up(job_id: str, number: int) -> None:
    """The same, in a child that has not inherited Django."""
    django.setup()
    report(job_id, number)


def report_by_parents_handle(job_id: str, number: int, *, job: object = None) -> None:
    """The same, by a handle that the parent made before it forked."""
    for call in range(CALLS):
        job.update(advance=1)
        job.set_meta(**{f"key_{number}_{call}": number})


def _by_process(context: object, work: Callable[[str, int], None], job_id: str) -> None:
    children = [context.Process(target=work, args=(job_id, number)) for number in range(CHILDREN)]
    for child in children:
        child.start()
    for child in children:
        child.join()


def by_billiard(job_id: str) -> None:
    """Children as Celery's own."""
    import billiard  # noqa: PLC0415 - only where Celery is

    _by_process(billiard.get_context("fork"), report, job_id)


def by_handle(job_id: str) -> None:
    """Children that have their parent's handle."""
    work = partial(report_by_parents_handle, job=current_job())
    if multiprocessing.current_process().daemon:
        return by_os_fork(job_id, work)
    return _by_process(multiprocessing.get_context("fork"), work, job_id)


def by_executor(job_id: str) -> None:
    """A pool with a spare process for each."""
    with ProcessPoolExecutor(CHILDREN, mp_context=multiprocessing.get_context("fork")) as pool:
        list(pool.map(partial(report, job_id), range(CHILDREN)))


def by_spawning_executor(job_id: str) -> None:
    """A pool whose processes set Django up, and which the handle itself is sent to."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(CHILDREN, mp_context=context, initializer=django.setup) as pool:
        list(pool.map(partial(report_by_parents_handle, job_id, job=current_job()), range(CHILDREN)))


def by_os_fork(job_id: str, work: Callable[[str, int], None] = report) -> None:
    """Children that end without any hook."""
    children = []
    for number in range(CHILDREN):
        if (child := os.fork()) == 0:
            try:
                work(job_id, number)
            finally:
                os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)


WAYS: dict[str, Callable[[str], None]] = {
    "fork": lambda job_id: _by_process(multiprocessing.get_context("fork"), report, job_id),
    "spawn": lambda job_id: _by_process(multiprocessing.get_context("spawn"), report_set_up, job_id),
    "forkserver": lambda job_id: _by_process(multiprocessing.get_context("forkserver"), report_set_up, job_id),
    "executor": by_executor,
    "spawning executor": by_spawning_executor,
    "os.fork": by_os_fork,
    "billiard": by_billiard,
    "handle": by_handle,
}
SPAWNED = ("spawn", "forkserver", "spawning executor")
"""The ways whose children inherit nothing: each begins as an interpreter of its own, which takes a second."""
FORKED = tuple(way for way in WAYS if way not in SPAWNED)


def told(job_id: str) -> list[int]:
    """How many advances and how many fields have arrived."""
    document = get_job(job_id).document
    return [int(document["current"]), sum(key.startswith("key_") for key in document)]


def main(ways: list[str]) -> None:
    """Run a job without a queue for each way, and print what has arrived of it."""
    django.setup()
    ends = {}
    for way in ways:
        with JobRepository().create().running() as job:
            job.update(current=0, total=CHILDREN * CALLS)
            WAYS[way](job.id)
        ends[way] = [get_job(job.id).state, *told(job.id)]
    sys.stdout.write(json.dumps(ends))


if __name__ == "__main__":
    from tests.api import children  # noqa: PLW0406 - what is sent to children is found by this name

    children.main(sys.argv[1:])
