"""What tests of the live path share: jobs without a queue, and watchers without a browser."""

from __future__ import annotations

import asyncio
import json
import math
import time
import uuid
from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import AnonymousUser, User

from immortus_channels import tracking
from immortus_channels.access import quotas
from immortus_channels.access.buckets import Refusals
from immortus_channels.jobs.events import (
    Cancelled,
    Enqueued,
    Event,
    Failed,
    Finished,
    Origin,
    Report,
    Reported,
    Started,
)
from immortus_channels.jobs.job import Job
from immortus_channels.jobs.lifecycle import Leases, apply
from immortus_channels.stores import get_store


class Process:
    """A job as its worker tells of it; quietly, or with pushes."""

    def __init__(self, job_id: str = "", *, owner: str | None = None, **origin: Any) -> None:
        self.job_id = job_id or uuid.uuid4().hex
        self._origin = Origin(send_id=uuid.uuid4().hex, owner=owner, **origin)
        self._steps = 0

    def tell(self, kind: type[Event], *, push: bool = True, **fields: Any) -> Job:
        """Put an event on record; without `push` nobody is told, as when every push is lost."""
        event = kind(job_id=self.job_id, job_class="shop.paint", origin=self._origin, **fields)
        if push:
            after = tracking.publish(event)
        else:
            _, after = get_store().update(self.job_id, lambda job, now: apply(job, event, now=now, leases=Leases()))
        assert after is not None
        return after

    def enqueued(self, **how: Any) -> Job:
        return self.tell(Enqueued, **how)

    def started(self, **how: Any) -> Job:
        return self.tell(Started, run_id="run", **how)

    def reported(self, current: int, message: str = "", **how: Any) -> Job:
        report = Report(step=1, current=current, total=100_000, message=message)
        return self.tell(Reported, run_id="run", report=report, **how)

    def finished(self, **how: Any) -> Job:
        return self.tell(Finished, run_id="run", **how)

    def failed(self, **how: Any) -> Job:
        return self.tell(Failed, run_id="run", code="bad_luck", **how)

    def cancelled(self, **how: Any) -> Job:
        return self.tell(Cancelled, **how)


class Page:
    """A watcher that remembers what it was told."""

    def __init__(self, user: Any = None) -> None:
        self.user = user or AnonymousUser()
        self.frames: list[str] = []
        self.over: list[str] = []
        self.refused: list[str] = []
        self.closed: int | None = None
        self.login_holds = True
        self.login_read_at = -math.inf

    def tell(self, job_id: str, frame: str) -> None:
        self.frames.append(frame)

    def withdraw(self, job_id: str) -> bool:
        return False

    def ended(self, job_id: str) -> None:
        self.over.append(job_id)

    def denied(self, job_id: str) -> None:
        self.refused.append(job_id)

    def still_logged_in(self) -> bool:
        return self.login_holds

    def close(self, code: int) -> None:
        self.closed = code

    @property
    def told(self) -> list[dict[str, Any]]:
        return [json.loads(frame) for frame in self.frames]

    @property
    def versions(self) -> list[int]:
        return [frame["job"]["version"] for frame in self.told if frame["type"] == "job"]


async def until(fact: Callable[[], object], within: float = 5.0) -> float:
    """Wait until the fact is true; the seconds it took."""
    began = time.monotonic()
    while not fact():
        if time.monotonic() - began > within:
            message = f"not true within {within} s"
            raise TimeoutError(message)
        await asyncio.sleep(0.005)
    return time.monotonic() - began


def forget_quotas() -> None:
    """As if no caller had asked for anything yet."""
    quotas._requests.clear()
    quotas._refusals = Refusals()


def logged_in(name: str) -> User:
    """A user that exists only here."""
    return User(pk=sum(name.encode()), username=name)
