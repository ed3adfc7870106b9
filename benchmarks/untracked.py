"""What those pay whom nobody follows: a request, a sending and a run of an untracked task, beside a site without us."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from statistics import median

from benchmarks.processes import Talk, call
from benchmarks.rows import OURS, Rounds, Row, Scale
from benchmarks.world import World

MICRO = 1e6
BATCHES = 60
"""A figure is the median of so many: the machine itself stops now and then."""
WITHOUT = "without the package"


def rows(world: World, scale: Scale) -> Iterator[Row]:
    """The rows of this family."""
    rounds = Rounds()
    measured = {
        "a request that starts no job": _time_requests,
        "a sending of an untracked task": _time_sendings,
        "a run of an untracked task": _time_runs,
    }
    systems = {OURS: "", **({WITHOUT: "none"} if scale.with_peers else {})}
    for _ in range(scale.rounds):
        for what, function in measured.items():
            for system, package in systems.items():
                environ = world.environ(BENCH_PACKAGE=package)
                rounds.add(what, system, call(environ, function, scale.of(200, 40)))
    for what in measured:
        yield rounds.row(what, "µs")


def _time_requests(_: Talk, count: int) -> float:
    """A view that answers at once, behind session, login and the middleware."""
    from django.core.handlers.wsgi import WSGIHandler
    from django.test import RequestFactory

    handler, factory = WSGIHandler(), RequestFactory(headers={"host": "127.0.0.1"})

    def request() -> None:
        assert handler.get_response(factory.get("/hello")).content == b"hello"

    return _microseconds(request, count)


def _time_sendings(_: Talk, count: int) -> float:
    """A message to a broker in this process's memory."""
    from benchmarks.site.celery import nothing

    return _microseconds(nothing.delay, count)


def _time_runs(_: Talk, count: int) -> float:
    """What a worker's process does with a message, from the first signal to the last."""
    from celery.app.trace import build_tracer

    from benchmarks.site.celery import local, nothing

    local.finalize()
    run = build_tracer(nothing.name, nothing, app=local)

    def message() -> None:
        job_id = str(uuid.uuid4())
        run(job_id, (), {}, {"id": job_id, "task": nothing.name, "delivery_info": {}, "hostname": "bench"})

    return _microseconds(message, count)


def _microseconds(function: Callable[[], object], count: int) -> float:
    """The median over the batches of what one call takes."""
    for _ in range(count):
        function()
    times = []
    for _ in range(BATCHES):
        begin = time.perf_counter()
        for _number in range(count):
            function()
        times.append(time.perf_counter() - begin)
    return median(times) / count * MICRO
