"""What those pay whom nobody follows, beside a site without the package, or with receivers that do nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median

from benchmarks.processes import Talk, call, resident_bytes
from benchmarks.rows import OURS, Rounds, Row, Scale, at_most
from benchmarks.world import World

MICRO = 1e6
BATCHES = 60
"""A figure is the median of so many: the machine itself stops now and then."""
WITHOUT = "without the package"
IDLY = "receivers that do nothing"
SYSTEMS = {OURS: "", WITHOUT: "none", IDLY: "receivers"}


def rows(world: World, scale: Scale) -> Iterator[Row]:
    """The rows of this family: each quantity, and what we add to one of the others in the same round."""
    rounds = Rounds()
    measured = {
        "a request that starts no job": (_time_requests, WITHOUT, "µs", at_most(2)),
        "a sending of an untracked task": (_time_sendings, IDLY, "µs", at_most(2)),
        "a run of an untracked task": (_time_runs, IDLY, "µs", at_most(2)),
        "a call of a tracked function that no job makes": (_time_calls, WITHOUT, "µs", at_most(1)),
        "django.setup()": (_time_setup, WITHOUT, "ms", at_most(12)),
        "memory of a worker with nothing tracked": (_megabytes, WITHOUT, "MB", at_most(1)),
    }
    for _ in range(scale.rounds):
        for what, (function, beside, *_rest) in measured.items():
            figures = {}
            for system in (OURS, beside):
                environ = world.environ(BENCH_PACKAGE=SYSTEMS[system])
                figures[system] = call(environ, function, scale.of(200, 40))
                rounds.add(what, system, figures[system])
            rounds.add(_more(what, beside), OURS, figures[OURS] - figures[beside])
    for what, (_function, beside, unit, bound) in measured.items():
        yield rounds.row(what, unit)
        yield rounds.row(_more(what, beside), unit, bound)


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


def _time_sendings(_: Talk, count: int) -> float:
    """A message to a broker in this process's memory."""
    from benchmarks.site.celery import nothing

    _connect_idle_receivers()
    return _microseconds(nothing.delay, count)


def _time_runs(_: Talk, count: int) -> float:
    """What a worker's process does with a message, from the first signal to the last."""
    from celery.app.trace import build_tracer

    from benchmarks.site.celery import local, nothing

    _connect_idle_receivers()
    local.finalize()
    task = local.tasks[nothing.name]  # `nothing` is a proxy, which no worker runs
    run = build_tracer(task.name, task, app=local)

    def message() -> None:
        job_id = str(uuid.uuid4())
        run(job_id, (), {}, {"id": job_id, "task": task.name, "delivery_info": {}, "hostname": "bench"})

    return _microseconds(message, count)


def _time_calls(_: Talk, count: int) -> float:
    """A function that does nothing, with the mark where there is one."""

    def work(number: int, *, times: int) -> None:
        """Do nothing."""

    if os.environ["BENCH_PACKAGE"] == SYSTEMS[OURS]:
        from immortus_channels import tracked

        work = tracked(work)
    return _microseconds(lambda: work(1, times=2), count)


def _connect_idle_receivers() -> None:
    """Connect a receiver that does nothing to each signal of a task that goes well, where that is what is measured."""
    from celery import signals

    if os.environ["BENCH_PACKAGE"] != SYSTEMS[IDLY]:
        return
    for name in ("before_task_publish", "after_task_publish", "task_prerun", "task_success", "task_postrun"):
        getattr(signals, name).connect(lambda sender, **_: None, weak=False)  # noqa: ARG005 - Celery names it


def _time_setup(_: Talk, count: int) -> float:
    """The time of `django.setup()`, in milliseconds, where nobody has imported Celery; the median of some processes."""
    code = "import time, django; t = time.perf_counter(); django.setup(); print((time.perf_counter() - t) * 1000)"
    run = partial(subprocess.run, [sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return median(float(run().stdout) for _ in range(max(count // 20, 5)))


def _megabytes(_: Talk, count: int) -> float:
    """The memory of a process that has sent and run untracked tasks."""
    _time_sendings(_, 1)
    _time_runs(_, max(count // 40, 1))
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
