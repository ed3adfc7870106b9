"""What tracking adds to a job on each task queue: sent by a process, and run by the queue's own worker."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.processes import Talk, call
from benchmarks.rows import OURS, Rounds, Row, Scale, at_most
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
TABLE = "django-dramatiq's table"
STORES: Mapping[str, dict[str, Any] | None] = {"Redis": None, "PostgreSQL": {"BACKEND": "database"}}
BARE, FOLLOWED, TOLD = "bare", "followed", "told"
ROUNDS = 5
WORKER = 300.0
"""Seconds in which a worker has run all jobs."""

Times = Mapping[str, Mapping[str, float]]
"""Milliseconds of a job's sending and of its run, from fetched to acknowledged, by the kind of its task."""


def rows(world: World, scale: Scale) -> Iterator[Row]:
    """The rows of this family."""
    rounds = Rounds()
    with PostgresServer() as postgres, RedisServer() as broker:
        environ = {
            "BENCH_DATABASE": json.dumps(postgres.database),
            "SUITE_POSTGRES": json.dumps(postgres.database),
            "SUITE_REDIS": broker.url,
            "IMMORTUS_SUITE_FOLDER": str(world.var),
        }
        for unit, figure in call({**world.environ(), **environ}, _time_units, scale.of(2000, 200)).items():
            rounds.add(unit, OURS, figure)
            yield rounds.row(unit, "ms")
        for place, store in STORES.items():
            added: dict[str, float] = {}
            for queue, driver in QUEUES.items():
                times = _times(world.environ(store=store, **environ), driver, scale, (BARE, FOLLOWED, TOLD))
                beside = _table_times(world.environ(store=store, **environ), scale) if queue == "Dramatiq" else {}
                for step, of in times.items():
                    what = f"{queue}, {place} store: what tracking adds to {step}"
                    rounds.add(what, OURS, of[FOLLOWED] - of[BARE])
                    added.setdefault(step, of[FOLLOWED] - of[BARE])
                    rounds.add(what, "untracked", of[BARE])
                    if TOLD in of:
                        rounds.add(what, "its users' own way", of[TOLD] - of[BARE])
                    if step in beside:
                        rounds.add(what, TABLE, beside[step][BARE] - of[BARE])
                    bounds = []
                    if queue != FIRST:
                        rounds.add(what, FIRST, added[step])
                        bounds = [at_most(1.2, FIRST)]
                    yield rounds.row(what, "ms", *bounds)


def _table_times(environ: Mapping[str, str], scale: Scale) -> Times:
    return _times(environ, "DramatiqWithTable", scale, (BARE,))


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
    notes = Path(environ["BENCH_VAR"]) / f"notes-{time.monotonic_ns()}"
    environ = {
        **environ,
        "DJANGO_SETTINGS_MODULE": "benchmarks.site.queues.settings",
        "IMMORTUS_SUITE_DRIVER": f"{DRIVERS}.{driver}",
        "BENCH_NOTES": str(notes),
    }
    sending, sent = call(environ, _send, kinds, scale.of(2000 // ROUNDS, 20))
    return {"its sending": sending, "its run": _run(environ, driver, notes, sent)}


def _send(_: Talk, kinds: Sequence[str], count: int) -> tuple[dict[str, float], int]:
    """Send jobs, the first round to warm up; return the medians, and how many were sent."""
    from django.conf import settings
    from django.core.management import call_command

    from benchmarks.site.queues import tasks

    call_command("migrate", verbosity=0)
    driver = settings.DRIVER
    driver.setup()
    kinds = [kind for kind in kinds if kind != TOLD or hasattr(driver, "tell")]
    times: dict[str, list[float]] = defaultdict(list)
    for number in range(1 + ROUNDS):
        for kind in kinds[number % len(kinds) :] + kinds[: number % len(kinds)]:
            task = getattr(tasks, kind)
            took = [_milliseconds(lambda task=task: driver.send(task)) for _ in range(count)]
            times[kind] += took if number else []
    return {kind: median(took) for kind, took in times.items()}, (1 + ROUNDS) * len(kinds) * count


def _run(environ: Mapping[str, str], driver: str, notes: Path, sent: int) -> dict[str, float]:
    """Return how long a worker takes from the beginning of a job to that of the next one of its kind."""
    os.environ["SUITE_REDIS"] = environ["SUITE_REDIS"]
    from importlib import import_module

    command = [sys.executable, "-m", *getattr(import_module(DRIVERS), driver)().command()]
    worker = Process(command, {**os.environ, **environ}, notes.with_suffix(".log"), ROOT)
    try:
        lines = _lines(notes, sent)
    except TimeoutError as error:
        error.add_note(f"{driver} said: {worker.output[-4000:]}")
        raise
    finally:
        worker.stop()
    cycles: dict[str, list[float]] = defaultdict(list)
    for (kind, began), (following, ended) in pairwise(lines[len(lines) // (1 + ROUNDS) :]):
        if kind == following:
            cycles[kind].append((ended - began) / NANO * MILLI)
    return {kind: median(times) for kind, times in cycles.items()}


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
