"""The task's side: what tracking costs the job. Beside a bare loop, tqdm, and celery-progress' call."""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.processes import Talk, call
from benchmarks.rows import OURS, Rounds, Row, Scale, at_least, at_most
from benchmarks.world import World
from tests.servers import PostgresServer, RedisServer

NANO, MILLI = 1e9, 1e3
CHANGES = ("sending", "start", "end", "start and end")
END = "its end"
HUNG_JOB = 0.15
"""Seconds that each of the jobs takes whose Redis hangs."""


def rows(world: World, scale: Scale) -> Iterator[Row]:
    """The rows of this family."""
    yield from _loops(world, scale)
    yield from _changes(world, scale)
    yield from _hung(world, scale)


# Loops


def _loops(world: World, scale: Scale) -> Iterator[Row]:
    rounds = Rounds()
    store = world.environ(store=world.redis_store("benchmarks.stamps.CountingRedisStore"))
    for _ in range(scale.rounds):
        for what, system, figure in call(store, _time_loops, scale.of(1_000_000, 300_000)):
            rounds.add(what, system, figure)
    yield rounds.row("track(), per item over a bare loop", "ns", at_most(100), at_most(0.5, "tqdm"))
    yield rounds.row("update(current=n), per call over a bare loop", "ns", at_most(300))
    yield rounds.row("writes of those updates, per 0.2 s", "writes", at_most(1.0))
    yield rounds.row("the last of those updates is exact", "share", at_least(1))


def _time_loops(_: Talk, count: int) -> list[tuple[str, str, float]]:
    """Loops over the same numbers, in one job."""
    from tqdm import tqdm

    from benchmarks.stamps import CountingRedisStore
    from immortus_channels import JobRepository, get_job

    tqdm.set_lock(threading.RLock())  # its own would leave a semaphore behind where a process is killed
    track, update = "track(), per item over a bare loop", "update(current=n), per call over a bare loop"
    with JobRepository().create().running() as job, Path(os.devnull).open("w") as null:
        bare = _seconds(range(count))
        tracked = _seconds(job.track(range(count)))
        watched = _seconds(tqdm(range(count), file=null))
        job.update(current=0, total=count)
        time.sleep(0.5)
        writes = CountingRedisStore.writes
        seconds = _seconds_of_calls(lambda n: job.update(current=n + 1), count)
        empty = _seconds_of_calls(lambda _: None, count)
        time.sleep(0.5)
        writes = CountingRedisStore.writes - writes
    # The first is written at once and the last after the loop: they are not the pace.
    return [
        (track, OURS, (tracked - bare) / count * NANO),
        (track, "tqdm", (watched - bare) / count * NANO),
        (update, OURS, (seconds - empty) / count * NANO),
        ("writes of those updates, per 0.2 s", OURS, max(writes - 2, 0) / (seconds / 0.2)),
        ("the last of those updates is exact", OURS, float(get_job(job.job_id).document["current"] == count)),
    ]


def _seconds(items: Iterable[int]) -> float:
    begin = time.perf_counter()
    for _ in items:
        pass
    return time.perf_counter() - begin


def _seconds_of_calls(function: Callable[[int], None], count: int) -> float:
    begin = time.perf_counter()
    for number in range(count):
        function(number)
    return time.perf_counter() - begin


# State changes


def _changes(world: World, scale: Scale) -> Iterator[Row]:
    rounds, jobs = Rounds(), scale.of(200, 20)
    with PostgresServer() as server:
        database = json.dumps(server.database)
        stored = world.environ(store={"BACKEND": "database"}, BENCH_DATABASE=database)
        call(stored, _migrate)
        for _ in range(scale.rounds):
            of_progress = call(world.environ("core"), _time_celery_progress, jobs)
            for place, environ in (("Redis", world.environ()), ("PostgreSQL", stored)):
                for change, figure in call(environ, _time_changes, jobs):
                    rounds.add(f"the {change} of a task, {place} store", OURS, figure)
                    if change == "end":
                        rounds.add(f"the start of a task, {place} store", END, figure)
            for change in CHANGES:
                rounds.add(f"the {change} of a task, Redis store", "celery-progress", of_progress)
    for change in CHANGES:
        bounds = [at_most(1.15, END)] if change == "start" else []
        redis = [at_most(1), at_most(1 / 8, "celery-progress")] if change in ("start", "end") else []
        yield rounds.row(f"the {change} of a task, Redis store", "ms", *redis, *bounds)
        yield rounds.row(f"the {change} of a task, PostgreSQL store", "ms", at_most(3), *bounds)


def _migrate(_: Talk) -> None:
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


def _time_changes(_: Talk, jobs: int) -> list[tuple[str, float]]:
    """The median times that sender and task wait for a job's changes to be on record, in milliseconds."""
    _change()
    time.sleep(0.5)
    all_times = [times for _ in range(jobs) if (times := _change()) is not None]
    return [(change, median(times)) for change, times in zip(CHANGES, zip(*all_times, strict=True), strict=True)]


def _change() -> tuple[float, ...] | None:
    """How long the changes of a job took that was sent and then waited; None when the store took them too late."""
    from benchmarks.homes import events
    from immortus_channels import tracking
    from immortus_channels.stores import get_store

    origin = events.Origin(send_id=str(uuid.uuid4()))
    about = {"job_id": origin.send_id, "job_class": "benchmark"}
    headers: list[dict[str, Any]] = []
    runs: list[Any] = []

    def send() -> None:
        job = tracking.publish(events.Enqueued(**about, origin=origin))
        headers.append(_header(origin, job))

    def start() -> None:
        runs.append(_begin(headers[0], origin, about))

    sending = _milliseconds(send)
    time.sleep(0.002)  # a task does something else: the push of one change is no part of the next
    starting = _milliseconds(start)
    time.sleep(0.002)
    ending = _milliseconds(lambda: tracking.end(runs[0], events.Finished))
    time.sleep(0.002)
    job = get_store().get_many([origin.send_id]).jobs.get(origin.send_id)
    return (sending, starting, ending, starting + ending) if job is not None and job.is_over else None


def _header(origin: Any, job: Any) -> dict[str, Any]:
    """What travels with the message, of a build whose messages tell of the record."""
    try:
        from benchmarks.homes import messages
    except ImportError:
        return {}
    return {} if job is None else messages.with_record(messages.to_header(origin), job)


def _begin(header: dict[str, Any], origin: Any, about: dict[str, str]) -> Any:
    """The run that a worker makes of such a message, begun."""
    from immortus_channels import tracking

    run = tracking.make_run(**about, run_id=origin.send_id, origin=origin)
    if header:
        from benchmarks.homes import messages

        tracking.begin(run, known=messages.job_in(header, **about))
    else:
        tracking.begin(run)
    return run


def _time_celery_progress(_: Talk, jobs: int) -> float:
    """The median time of a call of celery-progress' WebSocket recorder."""
    from benchmarks.publishers import CeleryProgress

    publisher = CeleryProgress()
    return median(_milliseconds(partial(publisher.change, str(uuid.uuid4()), 1)) for _ in range(jobs))


def _milliseconds(function: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    function()
    return (time.perf_counter() - begin) * MILLI


# Redis hung


def _hung(world: World, scale: Scale) -> Iterator[Row]:
    longest, slower = "longest call of a task while Redis hangs", "job slowed by tracking once that is known"
    rounds = Rounds()
    for _ in range(scale.rounds):
        with RedisServer() as redis:
            environ = world.environ(store={"BACKEND": "redis", "OPTIONS": {"url": redis.url}}, BENCH_REDIS=redis.url)
            call_s, slowed = call(environ, _time_hung, redis.pid, scale.seconds(HUNG_JOB))
        rounds.add(longest, OURS, call_s)
        rounds.add(slower, OURS, slowed * 100)
    yield rounds.row(longest, "s", at_most(0.5))
    yield rounds.row(slower, "%", at_most(2))


def _time_hung(_: Talk, redis_pid: int, seconds: float) -> tuple[float, float]:
    """The longest call, and the share by which jobs that know of the trouble are slower than without tracking."""
    import signal

    count = _calibrated(seconds)
    times: list[float] = []
    _tracked_job(1, [])
    os.kill(redis_pid, signal.SIGSTOP)
    _tracked_job(1, times)
    slower = []
    for _number in range(20):  # in turns, and short: the machine itself is slower at one time than at another
        bare = _timed(lambda: _work(count))
        slower.append(_timed(lambda: _tracked_job(count, times)) / bare - 1)
    os.kill(redis_pid, signal.SIGCONT)
    return max(times), median(slower)


def _tracked_job(count: int, times: list[float]) -> None:
    """A job that tells of each of its steps; the time of every call is kept."""
    from benchmarks.homes import events
    from immortus_channels import tracking

    job_id = str(uuid.uuid4())
    run = tracking.make_run(job_id=job_id, job_class="benchmark", run_id=job_id, origin=None)
    times.append(_timed(lambda: tracking.begin(run)))
    for number in range(count):
        _step()
        times.append(_timed(lambda: run.update(current=number + 1, total=count)))  # noqa: B023 - called at once
    times.append(_timed(lambda: run.set_meta({"done": True})))
    times.append(_timed(lambda: tracking.end(run, events.Finished)))


def _work(count: int) -> None:
    for _ in range(count):
        _step()


def _step() -> None:
    """About a millisecond of work."""
    sum(range(50_000))


def _calibrated(seconds: float) -> int:
    return max(round(seconds / (_timed(lambda: _work(100)) / 100)), 1)


def _timed(function: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin
