"""From the store to the socket: latency, many watchers of one job, and as many documents as one process can send."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from benchmarks.processes import Child, cpu_seconds
from benchmarks.publishers import publish
from benchmarks.rows import Rounds, Row, Scale, at_least, at_most, percentile
from benchmarks.sockets import Arrival, Seen, watch
from benchmarks.stamps import Stamps
from benchmarks.world import CELERY_PROGRESS, CORE, DAPHNE, FLOOR, NO_LAYER, OURS, PLAIN, System, Web, World, measured

ALL = (FLOOR, OURS, DAPHNE, CORE, NO_LAYER, PLAIN, CELERY_PROGRESS)
IN_SHORT = (FLOOR, OURS)
IN_CROWD = (FLOOR, OURS, DAPHNE, PLAIN, CELERY_PROGRESS)
WARM_UP = 0.5
"""Seconds of a load that are not counted: connections are opened then."""
WATCHERS = 200
FLOOD = 400.0
"""Changes a second that no process can tell 200 watchers of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Jobs with a watcher each, or one with many, changed in turn; ours can do without its store."""

    jobs: Sequence[str]
    watchers: int
    rate: float
    seconds: float
    stores: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a load: seconds from store to socket, the share of sockets that saw the end, documents a second."""

    latencies: list[float]
    ended: float
    rate: float
    cpu: float

    def milliseconds(self, share: float) -> float | None:
        """A percentile of the latencies."""
        value = percentile(self.latencies, share)
        return None if value is None else value * 1000


def run(world: World, web: Web, system: System, load: Load) -> Outcome:
    """Put the load on a running server: publisher and watchers are processes of their own."""
    watched = [load.jobs[number % len(load.jobs)] for number in range(load.watchers)]
    kind = "pushes" if system.kind == "ours" and not load.stores else system.kind
    with (
        Child(world.publishing(system), publish, kind, load.jobs, load.rate, load.seconds) as publisher,
        Child({}, watch, web.port, system.path, watched, world.cookie) as watchers,
    ):
        publisher.wait()
        watchers.wait()
        watchers.go()
        watchers.wait()
        time.sleep(0.3 + len(load.jobs) / 1000)  # groups are joined beside the answer
        watchers.go()
        before = cpu_seconds(web.pid)
        publisher.go()
        stamps: Stamps = publisher.wait()
        seen: Seen = watchers.wait()
        cpu = cpu_seconds(web.pid) - before
    latencies = list(_latencies(watched, stamps, seen.arrivals))
    return Outcome(latencies=latencies, ended=seen.ended / load.watchers, rate=seen.rate, cpu=cpu)


def _latencies(watched: Sequence[str], stamps: Stamps, arrivals: Sequence[Arrival]) -> Iterator[float]:
    """Per change and socket, the seconds until the socket was sent it or something newer: what was lost is late."""
    first = min(stamps.values(), default=0.0)
    changes: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for (job, current), at in sorted(stamps.items(), key=lambda item: item[0][1]):
        if current > 0 and at > first + WARM_UP:
            changes[job].append((current, at))
    pending = [deque(changes[job]) for job in watched]
    for number, current, at in arrivals:
        waiting = pending[number]
        while waiting and waiting[0][0] <= current:
            yield at - waiting.popleft()[1]


def rows(world: World, scale: Scale) -> Iterator[Row]:
    """The rows of this family."""
    rounds = Rounds()
    for number in range(scale.rounds):
        for system in measured(scale, scale.choice(ALL, quick=IN_SHORT)):
            with world.web(system) as web:
                name = f"{number}-{system.kind}-{system.server}-{system.layer}"
                _round(rounds, scale, system, name, partial(run, world, web, system))
    yield rounds.row("store → socket, p50", "ms", at_most(1.6, FLOOR.name))
    yield rounds.row("store → socket, p99", "ms", at_most(1.6, FLOOR.name))
    yield rounds.row("200 watchers, 20 changes/s: final states", "share", at_least(1))
    yield rounds.row("200 watchers, 20 changes/s: p50", "ms", at_most(1.3, FLOOR.name), at_most(1 / 5, PLAIN.name))
    yield rounds.row("documents/s to 200 watchers", "1/s", at_least(0.8, FLOOR.name), at_least(5, PLAIN.name))


def _round(rounds: Rounds, scale: Scale, system: System, name: str, load: Callable[[Load], Outcome]) -> None:
    """One system's turn."""
    one = load(Load(jobs=[f"{name}-one"], watchers=1, rate=40, seconds=scale.seconds(2)))
    rounds.add("store → socket, p50", system.name, one.milliseconds(0.5))
    rounds.add("store → socket, p99", system.name, one.milliseconds(0.99))
    if system not in IN_CROWD:
        return
    watchers = scale.of(WATCHERS, 40)
    crowd = load(Load(jobs=[f"{name}-crowd"], watchers=watchers, rate=20, seconds=scale.seconds(2.5)))
    rounds.add("200 watchers, 20 changes/s: final states", system.name, crowd.ended)
    rounds.add("200 watchers, 20 changes/s: p50", system.name, crowd.milliseconds(0.5))
    job = [f"{name}-flood"]
    flood = load(Load(jobs=job, watchers=watchers, rate=FLOOD, seconds=scale.seconds(1.5), stores=False))
    rounds.add("documents/s to 200 watchers", system.name, flood.rate)
