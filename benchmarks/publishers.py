"""Publishers: how each system's worker changes a job and pushes that, with the moment at which it was on record.

Imported in children only, whose Django is set up.
"""

from __future__ import annotations

import json
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.conf import settings
from redis import Redis

from benchmarks.processes import Talk
from benchmarks.sockets import document
from benchmarks.stamps import STAMPS, Stamps, stamp

OWNER = "1"
JOB_CLASS = "benchmark"


class Publisher(ABC):
    """Changes jobs; `stamp` is called where the store has taken a change, or where there is none, before the push."""

    def begin(self, jobs: Sequence[str]) -> None:  # noqa: B027 - most have nothing to begin
        """Let the jobs run."""

    @abstractmethod
    def change(self, job: str, current: int) -> None:
        """Move a job on to `current`."""

    @abstractmethod
    def finish(self, job: str) -> None:
        """End a job."""

    def close(self) -> None:  # noqa: B027
        """Send what is left."""


class Immortus(Publisher):
    """Ours, by the way that every change goes; the store stamps."""

    def __init__(self) -> None:
        from immortus_channels import tracking

        self._tracking = tracking

    def begin(self, jobs: Sequence[str]) -> None:
        """Tell of a run per job."""
        from benchmarks.homes import events

        for job in jobs:
            origin = events.Origin(send_id=job, owner=OWNER)
            event = events.Started(job_id=job, job_class=JOB_CLASS, run_id=job, origin=origin)
            self._tracking.publish(event, wait=5)

    def change(self, job: str, current: int) -> None:
        """Hand the change to the writer."""
        from benchmarks.homes import events

        self._tracking.publish(events.Updated(job_id=job, job_class=JOB_CLASS, current=current), wait=0)

    def finish(self, job: str) -> None:
        """Hand the end to the writer."""
        from benchmarks.homes import events

        self._tracking.publish(events.Finished(job_id=job, job_class=JOB_CLASS, run_id=job), wait=0)

    def close(self) -> None:
        """Wait for the writer."""
        self._tracking.drain()


class Pushes(Immortus):
    """Ours, without the store: where the server is to be measured, not how fast one process can write."""

    def __init__(self) -> None:
        from benchmarks.homes import broadcaster

        super().__init__()
        self._broadcaster = broadcaster.Broadcaster()

    def change(self, job: str, current: int) -> None:
        """Push a document as the writer does."""
        from immortus_channels.jobs import Job, State

        version = time.time_ns() // 1000
        self._broadcaster.send(
            Job(job_id=job, job_class=JOB_CLASS, state=State.RUNNING, version=version, current=current)
        )

    def close(self) -> None:
        """Wait for the writer, which tells the end."""
        super().close()
        self._broadcaster.close()


class CeleryProgress(Publisher):
    """celery-progress' WebSocket recorder, on a task of a real Celery application with its results in Redis."""

    def __init__(self) -> None:
        from celery import Task
        from celery_progress.websockets.backend import WebSocketProgressRecorder

        from benchmarks.site.celery import app

        class StampedTask(Task):  # type: ignore[misc]
            def update_state(self, *, state: str, meta: dict[str, Any]) -> None:
                super().update_state(state=state, meta=meta)
                stamp(self.request.id, meta["current"])

        def task() -> None:
            """Nothing: it is its request that counts."""

        self.task = app.task(name="benchmarks.task", base=StampedTask)(task)
        self.recorder = WebSocketProgressRecorder(self.task)

    def change(self, job: str, current: int) -> None:
        """What its users call."""
        self.task.push_request(id=job)
        self.recorder.set_progress(current, 1_000_000)
        self.task.pop_request()

    def finish(self, job: str) -> None:
        """What its receiver of `task_postrun` does."""
        from celery_progress.backend import KnownResult, Progress

        data = Progress(KnownResult(job, "done", "SUCCESS")).get_info()
        self.recorder.push_update(job, data=data, final=True)


class Plain(Publisher):
    """A group send per change, as the Channels documentation does it outside of consumers; it stores nothing."""

    def change(self, job: str, current: int) -> None:
        """Send."""
        stamp(job, current)
        self._send(job, document(job, current))

    def finish(self, job: str) -> None:
        """Send the last one."""
        self._send(job, document(job, -1, "finished"))

    def _send(self, job: str, text: str) -> None:
        message = {"type": "job.changed", "job": json.loads(text)}
        async_to_sync(get_channel_layer().group_send)(f"job_{job}", message)


class Floor(Publisher):
    """A PUBLISH per change; it stores nothing."""

    def __init__(self) -> None:
        self._redis = Redis.from_url(settings.REDIS)

    def change(self, job: str, current: int) -> None:
        """Publish."""
        stamp(job, current)
        self._redis.publish(f"floor.{job}", document(job, current))

    def finish(self, job: str) -> None:
        """Publish the last one."""
        self._redis.publish(f"floor.{job}", document(job, -1, "finished"))


KINDS: dict[str, type[Publisher]] = {
    "ours": Immortus,
    "pushes": Pushes,
    "celery-progress": CeleryProgress,
    "plain": Plain,
    "floor": Floor,
}


def publish(talk: Talk, kind: str, jobs: Sequence[str], rate: float, seconds: float) -> Stamps:
    """Change the jobs in turn, so many times a second if it can; ready when they run, at the end with the stamps."""
    logging.disable(logging.INFO)
    publisher = KINDS[kind]()
    publisher.begin(jobs)
    talk.ready()
    begin, number = time.monotonic(), 0
    while (now := time.monotonic()) < begin + seconds:
        time.sleep(max(begin + number / rate - now, 0))
        publisher.change(jobs[number % len(jobs)], number + 1)
        number += 1
    time.sleep(0.3)
    for job in jobs:
        publisher.finish(job)
    publisher.close()
    return STAMPS
