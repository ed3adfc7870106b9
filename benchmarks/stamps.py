"""When a change was on record, by the machine's monotonic clock, which all of its processes share."""

from __future__ import annotations

import time
from typing import TypeAlias

from immortus_channels.jobs import Job
from immortus_channels.stores.base import Change
from immortus_channels.stores.redis import RedisStore

Stamps: TypeAlias = "dict[tuple[str, int], float]"

STAMPS: Stamps = {}
"""Of this process: (job, current) → seconds."""


def stamp(job: str, current: int) -> None:
    """Note that the job is at `current` now; the first one counts."""
    STAMPS.setdefault((job, current), time.monotonic())


class StampedRedisStore(RedisStore):
    """A Redis store that notes the end of each write."""

    def update(self, job_id: str, change: Change, *, known: Job | None = None) -> tuple[Job | None, Job | None]:
        """Apply the change and stamp it."""
        before, after = super().update(job_id, change, known=known)
        if after is not None and after is not before:
            stamp(job_id, int(after.current))
        return before, after


class CountingRedisStore(RedisStore):
    """A Redis store that counts its writes."""

    writes = 0

    def update(self, job_id: str, change: Change, *, known: Job | None = None) -> tuple[Job | None, Job | None]:
        """Apply the change and count it."""
        type(self).writes += 1
        return super().update(job_id, change, known=known)
