"""Many jobs: a watcher each at a thousand changes a second, and what a change costs among ten thousand running jobs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from statistics import median

from benchmarks.processes import Talk, call
from benchmarks.push import Load, run
from benchmarks.rows import OURS, Rounds, Row, Scale, at_most
from benchmarks.world import FLOOR, PLAIN, System, World
from benchmarks.world import OURS as OUR_SYSTEM

CHANGES = 1000.0
"""A second, over all jobs."""
MANY, MOST = 1000, 5000
RUNNING = (10, 10_000)


def rows(world: World, scale: Scale) -> Iterator[Row]:
    """The rows of this family."""
    rounds = Rounds()
    for jobs in scale.choice((MANY, MOST), quick=(MANY,)):
        what = f"{jobs:,} jobs with a watcher each, 1,000 changes/s: p99"
        beside = (FLOOR, PLAIN) if scale.is_full and jobs == MANY else (FLOOR,)
        for system in (*beside, OUR_SYSTEM):
            rounds.add(what, system.name, _p99(world, scale, system, jobs))
        yield rounds.row(what, "ms", at_most(50))
    few, many = RUNNING
    what = f"a change among {many:,} running jobs, over one among {few}"
    for number in range(scale.rounds):
        counts = (few, scale.of(many, 500))
        costs = [call(world.environ(), _time_changes, f"{number}-{count}", count) for count in counts]
        rounds.add(what, OURS, costs[1] / costs[0])
    yield rounds.row(what, "×", at_most(1.2))


def _p99(world: World, scale: Scale, system: System, jobs: int) -> float | None:
    """The 99th percentile of the latencies, in milliseconds."""
    count = scale.of(jobs, 50)
    names = [f"{system.kind}-{jobs}-{number}" for number in range(count)]
    with world.web(system) as web:
        load = Load(jobs=names, watchers=count, rate=scale.of(round(CHANGES), 100), seconds=scale.seconds(3))
        return run(world, web, system, load).milliseconds(0.99)


def _time_changes(_: Talk, prefix: str, count: int) -> float:
    """The median time until a change of one job is on record while so many run, on record and in this process."""
    from immortus_channels import tracking
    from immortus_channels.events import Origin, Updated

    runs = []
    for number in range(count):
        job_id = f"running-{prefix}-{number}"
        run_ = tracking.make_run(job_id=job_id, job_class="benchmark", run_id=job_id, origin=Origin(send_id=job_id))
        tracking.begin(run_)
        runs.append(run_)
    changes = [
        partial(tracking.publish, Updated(job_id=runs[number * 7 % count].job_id, current=number + 1))
        for number in range(500)
    ]
    return median(_seconds(changes))


def _seconds(changes: Sequence[partial[object]]) -> Iterator[float]:
    for change in changes:
        begin = time.perf_counter()
        change()
        yield time.perf_counter() - begin
