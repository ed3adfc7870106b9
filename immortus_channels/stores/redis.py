"""Jobs in Redis (6.2 or newer) or Valkey; `redis_keys` describes the keys."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeAlias

from immortus_channels.conf import settings
from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.jobs.job import Job
from immortus_channels.jobs.lifecycle import SECOND
from immortus_channels.stores import redis_keys as layout
from immortus_channels.stores.base import Filter, Position, Positions, Reading, reading_of
from immortus_channels.stores.compare_and_set import CLOCK_SLACK, ComparingStore
from immortus_channels.stores.redis_connection import (
    ERRORS,
    Addresses,
    Client,
    Clients,
    Options,
    Target,
    explain,
    impatient,
    run_script,
)
from immortus_channels.stores.redis_keys import Texts

Values: TypeAlias = "list[bytes]"

_PRUNED_AT_ONCE = 200
_OVERDUE_AT_ONCE = 1_000
_PAGE = 50


class RedisStore(ComparingStore):
    """Keeps jobs in the Redis at `url`, in the one that `sentinels` call `master_name`, or in a Redis Cluster.

    `cluster_nodes` are some of its nodes; the client finds the others. `prefix` begins every key. `options` are
    redis-py's, `sentinel_kwargs` those for the sentinels. The store never retries, and never waits for longer than
    `socket_timeout` seconds at a time: the writer retries, and a page should learn of a failure at once. Connections
    open when needed.
    """

    def __init__(  # noqa: PLR0913 - what "OPTIONS" may say
        self,
        url: str | None = None,
        prefix: str = "immortus",
        socket_timeout: float = 0.5,
        *,
        sentinels: Addresses = (),
        master_name: str | None = None,
        sentinel_kwargs: Options | None = None,
        cluster_nodes: Addresses = (),
        **options: Any,
    ) -> None:
        """Raise ValueError for addresses that redis-py cannot use, TypeError for an option that it does not have."""
        super().__init__()
        self._layout = layout.Layout(prefix)
        target = Target(
            url=url,
            sentinels=sentinels,
            master_name=master_name,
            sentinel_kwargs=sentinel_kwargs or {},
            cluster_nodes=cluster_nodes,
        )
        self._clients = Clients(target.opener({**impatient(socket_timeout), **options, "decode_responses": False}))

    def get_many(self, job_ids: Collection[str]) -> Reading:
        """Return the jobs of these ids, by one script."""
        return _reading(*self._read(job_ids, "job", "lease", "holder"))

    def positions(self, job_ids: Collection[str]) -> Positions:
        """Return the positions of these ids, by one script: a command for each would cost three times as much here."""
        now, found = self._read(job_ids, "version", "lease")
        of = {i: Position(version=int(version), lease_until=_number(lease)) for i, (version, lease) in found.items()}
        return Positions(now=now, of=of)

    def renew(self, holders: Mapping[str, str], seconds: float) -> None:
        """Extend the leases of these jobs that their holders still hold, by one script."""
        keys = [self._layout.leases, *map(self._layout.job, holders)]
        pairs = [text for pair in holders.items() for text in pair]
        self._run(layout.RENEW, keys, [str(int(seconds * SECOND)), *pairs])

    def list(self, wanted: Filter, *, limit: int = 100, before: int | None = None) -> list[Job]:
        """Return the newest jobs that `wanted` admits; of overdue jobs, among the 1,000 longest overdue."""
        found: dict[str, Job] = {}
        for index in self._shortest(self._layout.ways_to(wanted)):
            found |= self._find_in(index, wanted, limit, before)
        return sorted(found.values(), key=lambda job: job.version, reverse=True)[:limit]

    def prune(self, older_than: float, *, limit: int = _PRUNED_AT_ONCE) -> int:
        """Delete jobs that ended long enough ago, and the index entries of those that expired, by one script."""
        size = min(limit, _PRUNED_AT_ONCE)
        return int(self._run(layout.PRUNE, [self._layout.over], [str(int(older_than * SECOND)), str(size)]))

    def remove(self, jobs: Collection[Job]) -> int:
        """Delete these jobs and their index entries if they still have these versions; one script each."""
        gone = 0
        for job in jobs:
            gone += self._run_if_unchanged(layout.REMOVE, job, *self._layout.removing(job)) is None
        return gone

    def close(self) -> None:
        """Close this process's connections; a parent's are left to the parent."""
        self._clients.close()

    # Between here and Redis

    @contextmanager
    def _redis(self) -> Iterator[Client]:
        """Yield a client for the calling thread alone; raise any error as `StoreUnavailable`."""
        try:
            with self._clients.one() as client:
                yield client
        except ERRORS as error:
            msg = f"Redis failed: {explain(error)}"
            raise StoreUnavailable(msg) from error

    def _run(self, script: str, keys: Texts, arguments: Texts) -> Any:
        with self._redis() as client:
            return run_script(client, script, keys, arguments)

    def _read(self, job_ids: Collection[str], *names: str) -> tuple[int, dict[str, Values]]:
        """Return Redis' time, and these fields of the jobs that exist among these."""
        ids = list(job_ids)
        keys = [self._layout.leases, *map(self._layout.job, ids)]
        seconds, micros, *values = self._run(layout.READ, keys, [*names])
        rows = (values[start : start + len(names)] for start in range(0, len(values), len(names)))
        found = {job_id: row for job_id, row in zip(ids, rows, strict=True) if row[0]}
        return _time(seconds, micros), found

    def _replace(self, before: Job | None, after: Job, guessed: int | None) -> Reading | None:
        """Write `after` by one script, which compares first, and answers with what is on record if that differs."""
        compared = before is not None and before.is_lease_known and layout.lease(before) != layout.lease(after)
        writing = self._layout.writing(before, after, int(settings.RETENTION * 1000))
        answer = self._run_if_unchanged(layout.WRITE, before, *writing, compares_lease=compared, guessed=guessed)
        if answer is None:
            return None
        seconds, micros, *values = answer
        return _reading(_time(seconds, micros), {after.job_id: values} if values[0] else {})

    def _run_if_unchanged(  # noqa: PLR0913 - what the scripts compare, and what they do then
        self,
        script: str,
        before: Job | None,
        keys: Texts,
        arguments: Texts,
        *,
        compares_lease: bool = False,
        guessed: int | None = None,
    ) -> Any:
        """Run a script that changes a job if it is still as `before`; return None then, else what it answers."""
        version = "" if before is None else str(before.version)
        lease = layout.lease(before) if before is not None and compares_lease else ("-", "-")
        time = "" if guessed is None else str(guessed)
        return self._run(script, keys, [version, *lease, time, str(CLOCK_SLACK), *arguments])

    # Listing

    def _shortest(self, ways: Sequence[Texts]) -> Texts:
        """Return the sorted sets that hold all wanted jobs with the fewest others."""
        if len(ways) == 1:
            return ways[0]
        sizes = iter(self._run(layout.SIZES, [*itertools.chain(*ways)], []))
        lengths = [sum(itertools.islice(sizes, len(way))) for way in ways]
        return ways[lengths.index(min(lengths))]

    def _find_in(self, index: str, wanted: Filter, limit: int, before: int | None) -> dict[str, Job]:
        """Return at least the `limit` newest wanted jobs of a sorted set, if it has as many."""
        found: dict[str, Job] = {}
        start, size = 0, max(limit, _PAGE)
        while len(found) < limit:
            page = self._page(index, before, start, size)
            reading = self.get_many(page)
            gone = [job_id for job_id in page if job_id not in reading.jobs and job_id not in reading.unreadable]
            self._forget(index, gone)
            start += len(page) - len(gone)  # the rest has moved up by what was forgotten
            found |= {
                job_id: job
                for job_id, job in reading.jobs.items()
                if wanted.admits(job, reading.now) and (before is None or job.version < before)
            }
            if len(page) < size or index == self._layout.leases:
                break
        return found

    def _page(self, index: str, before: int | None, start: int, size: int) -> Texts:
        """Return the ids in a sorted set, newest first; of the leases, those that ended first."""
        with self._redis() as client:
            if index == self._layout.leases:
                return _texts(client.zrange(index, 0, _OVERDUE_AT_ONCE - 1))
            newest = "+inf" if before is None else f"({before}"
            return _texts(client.zrevrangebyscore(index, newest, "-inf", start=start, num=size))

    def _forget(self, index: str, job_ids: Texts) -> None:
        """Remove expired jobs from a sorted set."""
        if job_ids:
            self._run(layout.FORGET, [index, *map(self._layout.job, job_ids)], job_ids)


def _texts(values: Values) -> Texts:
    return [value.decode() for value in values]


def _time(seconds: bytes, micros: bytes) -> int:
    return int(seconds) * SECOND + int(micros)


def _reading(now: int, found: Mapping[str, Values]) -> Reading:
    return reading_of(now, ((job_id, partial(_job, *values)) for job_id, values in found.items()))


def _number(text: bytes) -> int | None:
    return int(text) if text else None


def _job(record: bytes, lease: bytes, holder: bytes) -> Job:
    """Return the recorded job with its lease, which is renewed only in its own fields."""
    return Job.from_record(record).but(lease_until=_number(lease), lease_holder=holder.decode())
