"""What those pay whom nobody follows, beside a site without the package, or with receivers that do nothing."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from statistics import median
from typing import Any

from benchmarks.processes import Talk, call, resident_bytes
from benchmarks.rows import OURS, Rounds, Row, Scale, at_most, percentile
from benchmarks.world import World

MICRO = 1e6
BATCHES = 60
"""A figure is the median of so many: the machine itself stops now and then."""
BATCH = 10
"""Calls of a batch where two sets of receivers take turns in one process."""
WITHOUT = "without the package"
IDLY = "receivers that do nothing"
PACKAGE = {OURS: "", WITHOUT: "none"}
SIGNALS = ("before_task_publish", "after_task_publish", "task_prerun", "task_success", "task_postrun")
"""What Celery signals of a task that goes well, in the process that sends it and in the one that runs it."""


def rows(world: World, scale: Scale) -> Iterator[Row]:
    """The rows of this family: each quantity, and what we add to one of the others in the same round."""
    rounds = Rounds()
    measured = {
        "a request that starts no job": (_time_requests, WITHOUT, "µs", at_most(2)),
        "a sending of an untracked task": (_time_sendings, IDLY, "µs", at_most(2)),
        "a run of an untracked task": (_time_runs, IDLY, "µs", at_most(2)),
        "django.setup()": (_time_setup, WITHOUT, "ms", at_most(12)),
        "memory of a worker with nothing tracked": (_megabytes, WITHOUT, "MB", at_most(1)),
    }
    for _ in range(scale.rounds):
        for what, (function, beside, *_rest) in measured.items():
            figures = _figures(world, scale, function, beside)
            for system, figure in figures.items():
                rounds.add(what, system, figure)
            rounds.add(_more(what, beside), OURS, figures[OURS] - figures[beside])
    for what, (_function, beside, unit, bound) in measured.items():
        yield rounds.row(what, unit)
        yield rounds.row(_more(what, beside), unit, bound)


def _figures(world: World, scale: Scale, function: Callable[[Talk, int], Any], beside: str) -> Mapping[str, float]:
    """Both figures of one round: of one process where receivers take turns, else of a process for each system."""
    if beside == IDLY:
        return dict(call(world.environ(BENCH_PACKAGE=PACKAGE[OURS]), function, scale.of(1500, 40)))
    count = scale.of(200, 40)
    return {system: call(world.environ(BENCH_PACKAGE=PACKAGE[system]), function, count) for system in (OURS, beside)}


def _more(what: str, beside: str) -> str:
    return f"{what}: more than {beside}"


def _time_requests(_: Talk, count: int) -> float:
    """A view that answers at once, behind session, login and the middleware."""
    from django.core.handlers.wsgi import WSGIHandler
    from django.test import RequestFactory

    handler, factory = WSGIHandler(), RequestFactory(headers={"host": "127.0.0.1"})

    def request() -> None:
        assert handler.get_response(factory.get("/hello")).content == b"hello"

    return _microseconds(request, count)


def _time_sendings(_: Talk, count: int) -> Mapping[str, float]:
    """A message to a broker in this process's memory, which has sent no job."""
    from benchmarks.site.celery import local, nothing

    def purge() -> None:
        with local.connection_for_write() as connection:
            connection.default_channel.queue_purge(local.conf.task_default_queue)

    return _in_turns(nothing.delay, count, between=purge)


def _time_runs(_: Talk, count: int) -> Mapping[str, float]:
    """What a worker's process does with a message, from the first signal to the last."""
    return _in_turns(_runner(), count)


def _runner() -> Callable[[], None]:
    from celery.app.trace import build_tracer

    from benchmarks.site.celery import local, nothing

    local.finalize()
    local.set_current()  # as a worker does
    task = local.tasks[nothing.name]  # `nothing` is a proxy, which no worker runs
    run = build_tracer(task.name, task, app=local)

    def message() -> None:
        job_id = str(uuid.uuid4())
        run(job_id, (), {}, {"id": job_id, "task": task.name, "delivery_info": {}, "hostname": "bench"})

    return message


def _in_turns(
    function: Callable[[], object], count: int, *, between: Callable[[], None] = lambda: None
) -> Mapping[str, float]:
    """The microseconds of a call with our receivers, and with others that do nothing in their places.

    Batches take turns in one process, as two processes differ by more than what is sought. The lower quartile of their
    processor time is what the machine's other work does not touch.
    """
    from celery import signals

    ours = {getattr(signals, name): list(getattr(signals, name).receivers) for name in SIGNALS}
    for signal in ours:
        signal.receivers.clear()
        signal.connect(lambda sender, **_: None, weak=False)  # noqa: ARG005 - Celery names it
    systems = [(OURS, ours), (IDLY, {signal: list(signal.receivers) for signal in ours})]
    times: dict[str, list[float]] = {OURS: [], IDLY: []}
    for _ in range(count):
        between()
        for system, receivers in random.sample(systems, 2):
            for signal, connected in receivers.items():
                signal.receivers[:] = connected
                signal.sender_receivers_cache.clear()
            function()
            begin = time.thread_time()
            for _number in range(BATCH):
                function()
            times[system].append((time.thread_time() - begin) / BATCH * MICRO)
    return {system: percentile(figures, 0.25) or 0 for system, figures in times.items()}


def _time_setup(_: Talk, count: int) -> float:
    """The time of `django.setup()`, in milliseconds, where nobody has imported Celery; the median of some processes."""
    code = "import time, django; t = time.perf_counter(); django.setup(); print((time.perf_counter() - t) * 1000)"
    run = partial(subprocess.run, [sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return median(float(run().stdout) for _ in range(max(count // 20, 5)))


def _megabytes(_: Talk, count: int) -> float:
    """The memory of a process that has sent and run untracked tasks."""
    from benchmarks.site.celery import nothing

    run = _runner()
    for _number in range(max(count // 40, 1)):
        nothing.delay()
        run()
    return resident_bytes(os.getpid()) / 1e6


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
