"""Three minutes of one queue, whose workers are killed every twenty seconds, and whose Redis goes away once."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from immortus_channels.testing.queues.driver import Driver
from immortus_channels.testing.queues.world import ENDS, Worker, World
from tests.servers import RedisServer
from tests.soak import verdicts

SECONDS = float(os.environ.get("SOAK_QUEUE_SECONDS", "180"))
JOBS = int(os.environ.get("SOAK_QUEUE_JOBS", "500"))
TASK = "leaves_traces"
KILL_EVERY = 20.0
REDIS_AWAY = 3.0
IN_TIME = 65.0
"""Seconds after the last kill in which each end must be told right."""
DRAINED, QUIET = 60.0, 5.0
"""Seconds more, at most, in which what still waits may be run, until no run has begun for so many: the rest is lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Soaked:
    """A queue, and how many of its workers work at four jobs at once."""

    driver: type[Driver]
    workers: int = 2
    on_redis: bool = False


class Campaign:
    """A queue at work, and what is done to it."""

    def __init__(self, soaked: Soaked, folder: Path) -> None:
        self._soaked, self._folder = soaked, folder
        self._redis = RedisServer(keeps_data=True) if soaked.on_redis else None
        self._over = threading.Event()
        self._workers: list[Worker] = []
        self._kills: list[float] = []
        self._sent: list[str] = []
        self._not_sent: list[str] = []

    def run(self) -> dict[str, Any]:
        """Go through it; the report."""
        driver = self._soaked.driver
        with World.running(self._driver(), f"{driver.__module__}.{driver.__qualname__}", self._folder) as self._world:
            self._workers = [self._world.start_worker() for _ in range(self._soaked.workers)]
            harming = threading.Thread(target=self._harm)
            harming.start()
            try:
                self._send()
            finally:
                harming.join()
            return self._judge()

    def _driver(self) -> Driver:
        """The queue's driver, on a Redis whose data survives."""
        redis = self._redis
        if redis is None:
            return self._soaked.driver()

        class OnOurs(self._soaked.driver):  # type: ignore[name-defined,misc]
            @contextmanager
            def services(self) -> Iterator[Mapping[str, str]]:
                with redis:
                    yield {"SUITE_REDIS": redis.url, "SUITE_BROKER": redis.url}

        driver: Driver = OnOurs()
        return driver

    def _send(self) -> None:
        """Send jobs of 0.2 to 2 s, most of them short, until half a minute before the end."""
        chance, begin, lasting = random.Random(1), time.monotonic(), max(SECONDS - 30, 10)
        for number in range(JOBS):
            time.sleep(max(begin + number * lasting / JOBS - time.monotonic(), 0))
            seconds = 0.2 + 1.8 * chance.random() ** 4
            try:
                self._sent.append(self._world.send(TASK, f"{number}", seconds))
            except RuntimeError as error:
                self._not_sent.append(str(error)[:200])

    # Harm

    def _harm(self) -> None:
        """Kill all workers, then one, and so on; and Redis once, in the middle."""
        begin = time.monotonic()
        times = [n * KILL_EVERY for n in range(1, int(SECONDS / KILL_EVERY) + 1)]
        for number, at in enumerate(times):
            self._keep_up(begin + at)
            self._kill(range(len(self._workers)) if number % 2 == 0 else [number // 2 % len(self._workers)])
            if self._redis is not None and number == len(times) // 2:
                self._redis.kill()
                time.sleep(REDIS_AWAY)
                self._redis.start()
        self._last = time.monotonic()

    def _keep_up(self, until: float) -> None:
        """Start a worker in the place of each that has ended by itself, as a supervisor does."""
        while True:
            for number, worker in enumerate(self._workers):
                if not worker.is_running:
                    self._workers[number] = self._world.start_worker()
            if time.monotonic() >= until:
                return
            time.sleep(min(1.0, max(until - time.monotonic(), 0)))

    def _kill(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            self._kills.append(time.time())
            self._workers[number].kill()
            self._kills.append(time.time())
            self._workers[number] = self._world.start_worker()

    # Judging

    def _judge(self) -> dict[str, Any]:
        documents = self._documents_in_time()
        in_time = self._verdicts(documents)
        self._drain()
        later = self._verdicts(self._look(documents))
        lines, runs = self._lines(), verdicts.traces(self._folder)
        wrong = {job_id: one for job_id, one in {**later, **in_time}.items() if one.startswith(verdicts.WRONG)}
        wrong |= {job_id: "wrong: finished, and then more" for job_id in lines if verdicts.goes_back(lines[job_id])}
        return {
            "jobs": JOBS,
            "sending_raised": len(self._not_sent),
            "kills": len(self._kills) // 2,
            "redis_restarts": int(self._redis is not None),
            "runs": sum(map(len, runs.values())),
            "runs_cut_off": sum(run.ended is None for each in runs.values() for run in each),
            "run_again": sum(document["attempt"] > 1 for document in documents.values()),
            "ends_in_time": dict(sorted(Counter(in_time.values()).items())),
            "ends": dict(sorted(Counter(later.values()).items())),
            "messages_lost": Counter(later.values())["waits"],
            "wrong": len(wrong),
            "unfollowed_runs": len(runs.get("None", ())),
            "unknown": len(set(self._sent) - set(documents)),
            "examples": [
                (
                    job_id,
                    one,
                    [(line["state"], line["attempt"]) for line in lines.get(job_id, ())],
                    str(runs.get(job_id)),
                )
                for job_id, one in list(wrong.items())[:20]
            ],
            "raised": self._not_sent[:3],
        }

    def _documents_in_time(self) -> dict[str, dict[str, Any]]:
        """Return every job's document as a page gets it, once all are over or time is up.

        Not before what the last kill has cut off cannot be at work any more: the judge knows it by its age.
        """
        found: dict[str, dict[str, Any]] = {}
        while True:
            self._keep_up(time.monotonic())
            # those whose sending has raised are on record too
            known = dict.fromkeys([*self._sent, *self._lines()])
            found |= self._look(job_id for job_id in known if found.get(job_id, {}).get("state") not in ENDS)
            is_over = all(document["state"] in ENDS for document in found.values())
            if is_over and time.monotonic() > self._last + verdicts.LONGEST:
                return found
            if time.monotonic() > self._last + IN_TIME:
                return self._look(found)
            time.sleep(1)

    def _look(self, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        return {job_id: document for job_id in ids if (document := self._world.ask("look", job_id)) is not None}

    def _lines(self) -> dict[str, list[dict[str, Any]]]:
        """Return what was told of each job that leaves traces, in order."""
        found: dict[str, list[dict[str, Any]]] = {}
        for line in sorted(self._world.told.lines(), key=lambda line: line["version"]):
            if line["job_class"].endswith(TASK):
                found.setdefault(line["job_id"], []).append(line)
        return found

    def _drain(self) -> None:
        until = time.monotonic() + DRAINED
        while time.monotonic() < until:
            runs = verdicts.traces(self._folder).values()
            if max((run.began for each in runs for run in each), default=0) < time.time() - QUIET:
                return
            self._keep_up(time.monotonic())
            time.sleep(1)

    def _verdicts(self, documents: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
        lines, runs, now = self._lines(), verdicts.traces(self._folder), time.time()
        return {
            job_id: verdicts.verdict(
                [*lines[job_id], document], runs.get(job_id, ()), self._kills, now, self._says(document)
            )
            for job_id, document in documents.items()
        }

    def _says(self, document: Mapping[str, Any]) -> str:
        """What the queue's own record says of a job that has failed; nothing of one whose sending has raised."""
        is_sent = document["state"] == "failed" and document["job_id"] in self._sent
        return str(self._world.ask("says", document["job_id"])) if is_sent else ""
