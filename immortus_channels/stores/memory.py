"""Jobs in this process's memory: for tests and experiments."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterable, Mapping
from functools import partial

from immortus_channels.jobs.job import Job
from immortus_channels.jobs.lifecycle import SECOND
from immortus_channels.stores.base import Filter, Position, Positions, Reading, reading_of
from immortus_channels.stores.compare_and_set import CLOCK_SLACK, ComparingStore


class MemoryStore(ComparingStore):
    """Keeps jobs as text in a dict, so that they read back as from any other store."""

    is_shared = False

    def __init__(self) -> None:
        """Begin with no jobs."""
        super().__init__()
        self._records: dict[str, str] = {}
        self._lock = threading.Lock()

    def get_many(self, job_ids: Collection[str]) -> Reading:
        """Return the jobs of these ids."""
        with self._lock:
            return self._reading(i for i in job_ids if i in self._records)

    def positions(self, job_ids: Collection[str]) -> Positions:
        """Return the positions of these ids."""
        reading = self.get_many(job_ids)
        of = {i: Position(version=job.version, lease_until=job.lease_until) for i, job in reading.jobs.items()}
        return Positions(now=reading.now, of=of)

    def renew(self, holders: Mapping[str, str], seconds: float) -> None:
        """Extend the leases of these jobs that their holders still hold."""
        with self._lock:
            until = _now() + int(seconds * SECOND)
            for job in self._reading(i for i in holders if i in self._records).jobs.values():
                if job.lease_until is not None and holders[job.job_id] == job.lease_holder:
                    self._records[job.job_id] = job.but(lease_until=until).to_record()

    def list(self, wanted: Filter, *, limit: int = 100, before: int | None = None) -> list[Job]:
        """Return the newest jobs that `wanted` admits."""
        with self._lock:
            now = _now()
            found = [j for j in self._jobs() if wanted.admits(j, now) and (before is None or j.version < before)]
        return sorted(found, key=lambda job: job.version, reverse=True)[:limit]

    def prune(self, older_than: float, *, limit: int = 1_000) -> int:
        """Delete jobs that ended long enough ago, the oldest first."""
        with self._lock:
            latest = _now() - int(older_than * SECOND)
            ended = sorted((job.finished_at, job.job_id) for job in self._jobs() if job.finished_at is not None)
            old = [job_id for at, job_id in ended if at < latest][:limit]
            for job_id in old:
                del self._records[job_id]
        return len(old)

    def remove(self, jobs: Collection[Job]) -> int:
        """Delete the records of these jobs that still have these versions."""
        with self._lock:
            kept = {job.job_id: job.version for job in self._jobs()}
            gone = [job.job_id for job in jobs if kept.get(job.job_id) == job.version]
            for job_id in gone:
                del self._records[job_id]
        return len(gone)

    def close(self) -> None:
        """Replace the lock in a child after fork: another thread of the parent may have held it."""
        self._lock = threading.Lock()

    def _replace(self, before: Job | None, after: Job, guessed: int | None) -> Reading | None:
        """Write `after` if the record still equals `before` to the letter; return what is on record if it does not."""
        with self._lock:
            reading = self._reading(i for i in [after.job_id] if i in self._records)
            kept = reading.jobs.get(after.job_id)
            if before is not None and kept is not None and not before.is_lease_known:
                before = before.but(lease_until=kept.lease_until)
                after = after if after.is_lease_known else after.but(lease_until=kept.lease_until)
            is_late = guessed is not None and abs(reading.now - guessed) > CLOCK_SLACK
            if is_late or reading.unreadable or (kept and kept.to_record()) != (before and before.to_record()):
                return reading
            self._records[after.job_id] = after.to_record()
        return None

    def _reading(self, job_ids: Iterable[str]) -> Reading:
        return reading_of(_now(), ((i, partial(Job.from_record, self._records[i])) for i in job_ids))

    def _jobs(self) -> Collection[Job]:
        return self._reading(self._records).jobs.values()


def _now() -> int:
    return time.time_ns() // 1000
