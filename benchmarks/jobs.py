"""Many jobs: a watcher each at a thousand changes a second, and what a change costs among ten thousand running jobs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from statistics import median

from benchmarks.processes import Child, Talk
from benchmarks.push import Load, run
from benchmarks.rows import OURS, Rounds, Row, Scale, at_most
from benchmarks.world import FLOOR, PLAIN, System, World, measured
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
        for system in measured(scale, (*beside, OUR_SYSTEM)):
            rounds.add(what, system.name, _p99(world, scale, system, jobs))
        yield rounds.row(what, "ms", at_most(50))
    yield _among(world, scale)


def _among(world: World, scale: Scale) -> Row:
    """What a change costs among many running jobs, over what it costs among few: two processes that take turns."""
    few, many = RUNNING
    rounds, what = Rounds(), f"a change among {many:,} running jobs, over one among {few}"
    alone = world.redis_store() | {"OPTIONS": {"url": f"redis://127.0.0.1:{world.redis.port}/1"}}
    with (
        Child(world.environ(store=alone), _time_changes, few, scale.rounds) as small,
        Child(world.environ(), _time_changes, scale.of(many, 500), scale.rounds) as large,
    ):
        large.wait()
        small.wait()
        for _ in range(scale.rounds):
            costs = [_turn(child) for child in (small, large)]
            rounds.add(what, OURS, costs[1] / costs[0])
    return rounds.row(what, "×", at_most(1.2))


def _turn(child: Child) -> float:
    child.go()
    return float(child.wait())


def _p99(world: World, scale: Scale, system: System, jobs: int) -> float | None:
    """The 99th percentile of the latencies, in milliseconds."""
    count = scale.of(jobs, 50)
    names = [f"{system.kind}-{jobs}-{number}" for number in range(count)]
    with world.web(system) as web:
        load = Load(jobs=names, watchers=count, rate=scale.of(round(CHANGES), 100), seconds=scale.seconds(3))
        return run(world, web, system, load).milliseconds(0.99)


def _time_changes(talk: Talk, count: int, rounds: int) -> None:
    """Tell, round by round, the median time until a change of one of so many running jobs is on record."""
    from benchmarks.homes import events
    from immortus_channels import tracking

    jobs = [f"running-{count}-{number}" for number in range(count)]
    for job in jobs:
        tracking.begin(
            tracking.make_run(job_id=job, job_class="benchmark", run_id=job, origin=events.Origin(send_id=job))
        )
    talk.ready()
    for round_ in range(rounds):
        changes = [
            partial(
                tracking.publish,
                events.Updated(job_id=jobs[number * 7 % count], current=round_ * 500 + number + 1),
            )
            for number in range(500)
        ]
        talk.ready(median(_seconds(changes)))


def _seconds(changes: Sequence[partial[object]]) -> Iterator[float]:
    for change in changes:
        begin = time.perf_counter()
        change()
        yield time.perf_counter() - begin
