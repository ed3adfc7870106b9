"""Sockets on which nothing happens: how fast they open, their memory, the processor time to keep and re-check them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks.processes import Child, cpu_seconds, resident_bytes
from benchmarks.publishers import publish
from benchmarks.rows import OURS, Row, Scale, at_most
from benchmarks.sockets import hold
from benchmarks.world import IDLE, PLAIN, System, World, measured
from benchmarks.world import OURS as OUR_SYSTEM

SOCKETS = 5000
SECONDS = 11
"""Long enough for two re-checks."""
WARM = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """What sockets cost while nothing changes: how many open in a second, bytes of each, percent of a core for all."""

    opened: float
    bytes_each: float
    percent: float


def rows(world: World, scale: Scale) -> Iterator[Row]:
    """The rows of this family; memory does not vary from round to round, so there is one."""
    count = scale.of(SOCKETS, 200)
    own = [f"idle-{number}" for number in range(count)]
    shared = [f"idle-{number % 50}" for number in range(count)]
    systems = measured(scale, scale.choice((OUR_SYSTEM, PLAIN, IDLE), quick=(OUR_SYSTEM, IDLE)))
    rests = {system.name: _rest(world, scale, system, own) for system in systems}
    opened = {name: rest.opened for name, rest in rests.items()}
    yield Row(what=f"opening {SOCKETS:,} sockets, each on a job of its own", unit="1/s", figures=opened)
    memory = {name: rest.bytes_each for name, rest in rests.items()}
    yield Row(what="memory per idle socket", unit="bytes", figures=memory, bounds=(at_most(1.15, PLAIN.name),))
    costs = {name: rest.percent for name, rest in rests.items()}
    if scale.is_full:
        costs["ours, 50 jobs"] = _rest(world, scale, OUR_SYSTEM, shared).percent
    yield Row(what=f"{SOCKETS:,} idle sockets, each on a job of its own", unit="% of a core", figures=costs)
    if IDLE.name in costs:
        more = {OURS: costs[OURS] - costs[IDLE.name]}
        yield Row(what="more than the idle consumer's", unit="% of a core", figures=more, bounds=(at_most(5),))


def _rest(world: World, scale: Scale, system: System, jobs: Sequence[str]) -> Rest:
    with ExitStack() as stack:
        web = stack.enter_context(world.web(system))
        if system.kind == "ours":
            begun = stack.enter_context(Child(world.publishing(system), publish, "ours", sorted(set(jobs)), 1, 0))
            begun.wait()
        _hold(stack, world, web.port, system, jobs[:WARM])
        before = resident_bytes(web.pid)
        opening = _hold(stack, world, web.port, system, jobs)
        time.sleep(scale.seconds(4) + len(jobs) / 2000)
        bytes_each = (resident_bytes(web.pid) - before) / len(jobs)
        cpu, begin = cpu_seconds(web.pid), time.monotonic()
        time.sleep(scale.seconds(SECONDS))
        percent = (cpu_seconds(web.pid) - cpu) / (time.monotonic() - begin) * 100
    return Rest(opened=len(jobs) / opening, bytes_each=bytes_each, percent=percent)


def _hold(stack: ExitStack, world: World, port: int, system: System, jobs: Sequence[str]) -> float:
    """Keep sockets open until the stack is closed; the seconds that opening them took."""
    child = stack.enter_context(Child({}, hold, port, system.path, jobs, world.cookie))
    return float(child.wait())
