"""What tracking adds to a job on each task queue: sent by a process, and run by the queue's own worker."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.processes import Talk, call
from benchmarks.rows import OURS, Row, Scale, at_most
from benchmarks.world import World
from tests.servers import PostgresServer, RedisServer
from tests.site import ROOT, Process

MILLI = 1e3
NANO = 1e9
DRIVERS = "benchmarks.site.queues.drivers"
QUEUES = {
    "Celery": "Celery",
    "RQ": "RQ",
    "Dramatiq": "Dramatiq",
    "Huey": "Huey",
    "Django-Q2": "DjangoQ2",
    "django-tasks-db": "DjangoTasks",
    "Procrastinate": "Procrastinate",
}
"""The queues, and the names of their drivers; the figures of the first are what the others are held against."""
FIRST = "Celery"
HOOKED = {**QUEUES, "RQ": "RQInOneProcess"}
"""The drivers for the hooks of untracked jobs; Celery's signals are measured by the family `untracked`."""
TABLE = "django-dramatiq's table"
BY_ITSELF = "the queue's own means"
STORES: Mapping[str, dict[str, Any] | None] = {"Redis": None, "PostgreSQL": {"BACKEND": "database"}}
BARE, FOLLOWED, TOLD = "bare", "followed", "told"
KINDS = (BARE, FOLLOWED, TOLD)
ROUNDS = 5
JOBS = 2000
"""Jobs of a queue with three kinds of tasks, beside those of a first round that does not count."""
WORKER = 300.0
"""Seconds in which a worker has run all jobs."""

Times = Mapping[str, Mapping[str, float]]
"""Milliseconds of a job's sending and of its run, from fetched to acknowledged, by the kind of its task."""


def rows(world: World, scale: Scale) -> Iterator[Row]:
    """The rows of this family."""
    with PostgresServer() as postgres, RedisServer() as broker:
        environ = {
            "BENCH_DATABASE": json.dumps(postgres.database),
            "SUITE_POSTGRES": json.dumps(postgres.database),
            "SUITE_REDIS": broker.url,
            "IMMORTUS_SUITE_FOLDER": str(world.var),
        }
        for unit, figure in call({**world.environ(), **environ}, _time_units, scale.of(2000, 200)).items():
            yield Row(what=unit, unit="ms", figures={OURS: figure})
        for place in scale.choice(tuple(STORES), quick=("Redis",)):
            yield from _added(world.environ(store=STORES[place], **environ), f"{place} store", scale)
        yield from _hooks(world.environ(**environ), scale)


def _added(environ: Mapping[str, str], place: str, scale: Scale) -> Iterator[Row]:
    """What tracking adds to the two halves of a job's way, beside what it adds to Celery's, and to bare jobs."""
    of_first: Mapping[str, float] = {}
    for queue, driver in QUEUES.items():
        times = _times(environ, driver, scale, KINDS)
        added = {step: of[FOLLOWED] - of[BARE] for step, of in times.items()}
        of_first = of_first or added
        in_table = _times(environ, "DramatiqWithTable", scale, (BARE,)) if queue == "Dramatiq" else {}
        for step, of in times.items():
            figures = {OURS: added[step], FIRST: of_first[step], "untracked": of[BARE]}
            if TOLD in of:
                figures[BY_ITSELF] = of[TOLD] - of[BARE]
            if in_table:
                figures[TABLE] = in_table[step][BARE] - of[BARE]
            if queue == FIRST:
                del figures[FIRST]
            what = f"{queue}, {place}: added to {step}"
            yield Row(what=what, unit="ms", figures=figures, bounds=(at_most(1.2, FIRST),) if queue != FIRST else ())


def _hooks(environ: Mapping[str, str], scale: Scale) -> Iterator[Row]:
    for queue, driver in HOOKED.items():
        if queue != FIRST:
            sending, run = _hook_times(environ, driver, scale.of(100_000, 1000))
            name = f"{queue}: hooks of an untracked"
            yield Row(what=f"{name} sending", unit="µs", figures={OURS: sending}, bounds=(at_most(5),))
            yield Row(what=f"{name} run", unit="µs", figures={OURS: run}, bounds=(at_most(3),))


def _time_units(_: Talk, count: int) -> dict[str, float]:
    """What a bare round trip to Redis takes, and an UPDATE of one row in PostgreSQL that is committed by itself."""
    import psycopg
    from redis import Redis

    database = json.loads(os.environ["BENCH_DATABASE"])
    named = {"host": database["HOST"], "port": database["PORT"], "user": database["USER"], "dbname": database["NAME"]}
    with Redis.from_url(os.environ["BENCH_REDIS"]) as redis, psycopg.connect(**named, autocommit=True) as connection:
        connection.execute("CREATE TABLE unit (id int PRIMARY KEY, value int)")
        connection.execute("INSERT INTO unit VALUES (1, 0)")
        return {
            "a round trip to Redis": _median(lambda: redis.set("unit", "1"), count),
            "an UPDATE in PostgreSQL": _median(lambda: connection.execute("UPDATE unit SET value = value + 1"), count),
        }


def _median(function: Any, count: int) -> float:
    return median(_milliseconds(function) for _ in range(count))


def _milliseconds(function: Any) -> float:
    begin = time.perf_counter()
    function()
    return (time.perf_counter() - begin) * MILLI


# A queue


def _times(environ: Mapping[str, str], driver: str, scale: Scale, kinds: Sequence[str]) -> Times:
    """Send jobs of all kinds in turns, and then have a worker run them."""
    environ = _project(environ, driver)
    sending, sent = call(environ, _send, kinds, scale.of(JOBS // ROUNDS // len(KINDS), 8))
    return {"its sending": sending, "its run": _cycles(_notes_of_worker(environ, driver, sent))}


def _project(environ: Mapping[str, str], driver: str) -> dict[str, str]:
    return {
        **environ,
        "DJANGO_SETTINGS_MODULE": "benchmarks.site.queues.settings",
        "IMMORTUS_SUITE_DRIVER": f"{DRIVERS}.{driver}",
        "BENCH_NOTES": str(Path(environ["BENCH_VAR"]) / f"notes-{time.monotonic_ns()}"),
    }


def _hook_times(environ: Mapping[str, str], driver: str, count: int) -> tuple[float, float]:
    """Return what the hooks of a sending and of a run take, in microseconds; those of a first one may do more."""
    environ = {**_project(environ, driver), "BENCH_HOOKS": str(count)}
    sending = call(environ, _send_hooked, count)
    return sending, float(_notes_of_worker(environ, driver, 3)[-1][0])


def _send_hooked(_: Talk, count: int) -> float:
    driver = _prepared()
    from benchmarks.site.queues import hooked, tasks

    for _number in range(3):
        hooked.forget()
        driver.send(tasks.hooks)
    return hooked.microseconds(count)


def _prepared() -> Any:
    from django.conf import settings
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    settings.DRIVER.setup()
    return settings.DRIVER


def _send(_: Talk, kinds: Sequence[str], count: int) -> tuple[dict[str, float], int]:
    """Send jobs, the first round to warm up; return the medians, and how many were sent."""
    driver = _prepared()
    from benchmarks.site.queues import tasks

    kinds = [kind for kind in kinds if kind != TOLD or hasattr(driver, "tell")]
    times: dict[str, list[float]] = defaultdict(list)
    for number in range(1 + ROUNDS):
        for kind in kinds[number % len(kinds) :] + kinds[: number % len(kinds)]:
            task = getattr(tasks, kind)
            took = [_milliseconds(lambda task=task: driver.send(task)) for _ in range(count)]
            times[kind] += took if number else []
    return {kind: median(took) for kind, took in times.items()}, (1 + ROUNDS) * len(kinds) * count


def _cycles(lines: Sequence[tuple[str, int]]) -> dict[str, float]:
    """Return the medians from the beginning of a job to that of the next one of its kind, the first round left out."""
    cycles: dict[str, list[float]] = defaultdict(list)
    for (kind, began), (following, ended) in pairwise(lines[len(lines) // (1 + ROUNDS) :]):
        if kind == following:
            cycles[kind].append((ended - began) / NANO * MILLI)
    return {kind: median(times) for kind, times in cycles.items()}


def _notes_of_worker(environ: Mapping[str, str], driver: str, sent: int) -> list[tuple[str, int]]:
    """Have a worker run all jobs; return what they have noted."""
    notes = Path(environ["BENCH_NOTES"])
    command = [sys.executable, "-m", *getattr(import_module(DRIVERS), driver)().command()]
    worker = Process(command, {**os.environ, **environ}, notes.with_suffix(".log"), ROOT)
    try:
        return _lines(notes, sent)
    except TimeoutError as error:
        error.add_note(f"{driver} said: {worker.output[-4000:]}")
        raise
    finally:
        worker.stop()


def _lines(notes: Path, count: int) -> list[tuple[str, int]]:
    """Wait for that many notes."""
    until = time.monotonic() + WORKER
    while time.monotonic() < until:
        lines = notes.read_text().split("\n")[:-1] if notes.exists() else []
        if len(lines) >= count:
            return [(kind, int(began)) for kind, began in (line.split() for line in lines)]
        time.sleep(0.2)
    msg = f"{len(lines)} of {count} jobs were run within {WORKER:g} s"
    raise TimeoutError(msg)
