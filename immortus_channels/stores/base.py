"""The port to where jobs live: what every store must do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from immortus_channels.jobs.job import Job, State
from immortus_channels.keys import namespace_of
from immortus_channels.logs import logger

Change = Callable[[Job | None, int], Job | None]
"""Takes the recorded job (None: unknown) and the store's time; returns the job to keep, or the same one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one read found; `now` is the store's time, microseconds since 1970.

    `jobs` lacks unknown ids, and jobs with a record that cannot be read; those are `unreadable`.
    """

    now: int
    jobs: Mapping[str, Job] = field(default_factory=dict)
    unreadable: Collection[str] = ()


def reading_of(now: int, rows: Iterable[tuple[str, Callable[[], Job]]]) -> Reading:
    """Return the jobs of these rows, pairs of an id and a reader of its record; log each record that cannot be read."""
    jobs: dict[str, Job] = {}
    unreadable: list[str] = []
    for job_id, read in rows:
        try:
            jobs[job_id] = read()
        except Exception:
            logger.exception(
                "The record of %r cannot be read; other jobs are not affected", job_id, extra={"job_id": job_id}
            )
            unreadable.append(job_id)
    return Reading(now=now, jobs=jobs, unreadable=unreadable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A job's version and lease: enough to tell whether it changed and whether it is overdue."""

    version: int
    lease_until: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Positions:
    """The positions of many jobs, with the store's time. Unknown ids are absent."""

    now: int
    of: Mapping[str, Position] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which jobs a listing returns; None means any. `job_class` is exact; `owner` is a key, and so of one namespace.

    With `namespace` None, a store may leave out the jobs of others than "".
    """

    namespace: str | None = None
    owner: str | None = None
    job_class: str | None = None
    states: Collection[State] | None = None
    overdue: bool = False

    def admits(self, job: Job, now: int) -> bool:
        """Return whether the job passes, at the store's time `now`."""
        return (
            self.namespace in (None, namespace_of(job.job_id))
            and self.owner in (None, job.owner)
            and self.job_class in (None, job.job_class)
            and (self.states is None or job.state in self.states)
            and not (self.overdue and (job.lease_until is None or now < job.lease_until))
        )


class Store(ABC):
    """Keeps jobs by id. Safe to call from any thread.

    Any failure between this process and the store is raised as `StoreUnavailable`. An unknown id raises nothing. Times
    come from the store's own clock, so that hosts need not agree on theirs.
    """

    is_shared: bool = True
    """Whether other processes see the same jobs."""

    @abstractmethod
    def get_many(self, job_ids: Collection[str]) -> Reading:
        """Return the jobs of these ids, in one round trip."""

    @abstractmethod
    def positions(self, job_ids: Collection[str]) -> Positions:
        """Return the positions of up to 1,000 ids in one round trip, without reading the jobs."""

    @abstractmethod
    def update(self, job_id: str, change: Change, *, known: Job | None = None) -> tuple[Job | None, Job | None]:
        """Apply `change` by compare-and-set on the version, again after a conflict; return the job before and after.

        `change` may be called several times and must be pure. When it returns the job that it got, the store writes
        nothing. A store may try the job as it is `known` before it reads it; a known job of version 0 says that there
        is no record. Raises UnreadableRecord.
        """

    @abstractmethod
    def renew(self, holders: Mapping[str, str], seconds: float) -> None:
        """Extend each job's lease to `seconds` from now, if the holder named (a run or sending id) still holds it.

        The job's version does not change: a lease is not part of its document.
        """

    @abstractmethod
    def list(self, wanted: Filter, *, limit: int = 100, before: int | None = None) -> list[Job]:
        """Return the newest jobs that `wanted` admits, by descending version, below version `before`."""

    @abstractmethod
    def prune(self, older_than: float, *, limit: int = 1_000) -> int:
        """Delete some jobs that ended over `older_than` seconds ago, at most `limit`; return how many, 0 at the end."""

    def remove(self, jobs: Collection[Job]) -> int:
        """Delete the records of these jobs, up to 200, that still have these versions; return how many.

        A store that cannot delete returns 0.
        """
        return 0

    def locked(self, job_ids: Collection[str]) -> Collection[str]:
        """Return those of these jobs with records that another client holds, so that a write of them waits for it.

        A store whose writes never wait returns none.
        """
        return ()

    def waits_for_caller(self) -> bool:
        """Return whether a write by another thread would have to wait for the calling thread's open transaction."""
        return False

    def claim_thread(self) -> None:  # noqa: B027 - a store without connections per thread needs nothing
        """Prepare the calling thread, which belongs to this package: a connection of its own, with short timeouts."""

    def release_thread(self) -> None:  # noqa: B027
        """Close what `claim_thread` opened in the calling thread."""

    def close(self) -> None:  # noqa: B027
        """Forget all connections; the next call opens new ones. Called in a child after fork."""
