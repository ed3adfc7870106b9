"""Jobs in Redis (6.2 or newer) or Valkey.

What is kept, all keys behind one hash tag, so that a script may touch several of them on any server:

    {prefix}:job:<job_id>   hash: version, job (the record), lease, holder, ended; expires after the retention
    {prefix}:all            sorted set: job id by version; likewise :owner:<owner>, :class:<class>, :state:<state>
    {prefix}:leases         sorted set: job id by the end of its lease
    {prefix}:over           sorted set: what there is of a job (its id and sets) by the time it ended, for pruning

One hash tag is one slot: on a Redis Cluster this store lives on one node, and wants a client address that finds it.
Use `maxmemory-policy noeviction` (or `volatile-*`): an evicted job is an unknown one.
"""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeAlias

from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from immortus_channels.conf import settings
from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.jobs import Job, dump
from immortus_channels.lifecycle import SECOND
from immortus_channels.stores.base import Change, Filter, Position, Positions, Reading, Store

Texts: TypeAlias = "list[str]"
Values: TypeAlias = "list[bytes]"

logger = logging.getLogger(__name__)

_CONFLICTS = 100
_PRUNED_AT_ONCE = 200
_OVERDUE_AT_ONCE = 1_000
_PAGE = 50

_COMPARE_AND_SET = """
local kept = redis.call('HMGET', KEYS[1], 'version', 'lease', 'holder')
for position, expected in ipairs(cjson.decode(ARGV[1])) do
  if (kept[position] or '') ~= expected then return 0 end
end
for _, command in ipairs(cjson.decode(ARGV[2])) do redis.call(unpack(command)) end
return 1
"""
"""Runs the commands ARGV[2] if the job KEYS[1] still has the version (and lease and holder) ARGV[1]."""

_RENEW = """
local time = redis.call('TIME')
local lease = string.format('%.0f', time[1] * 1000000 + time[2] + ARGV[1])
for i = 2, #KEYS do
  local kept = redis.call('HMGET', KEYS[i], 'lease', 'holder')
  if kept[2] and kept[2] == ARGV[2 * i - 1] and kept[1] ~= '' then
    redis.call('HSET', KEYS[i], 'lease', lease)
    redis.call('ZADD', KEYS[1], lease, ARGV[2 * i - 2])
  end
end
"""
"""Moves leases to ARGV[1] microseconds from now; then follow an id and a holder for each of KEYS[2…]."""

_PRUNE = """
local old = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[1], 'LIMIT', 0, ARGV[2])
for _, entry in ipairs(old) do
  local id, key, sets = unpack(cjson.decode(entry))
  local ended = redis.call('HGET', key, 'ended')
  if not ended or (ended ~= '' and tonumber(ended) < tonumber(ARGV[1])) then
    redis.call('DEL', key)
    for _, set in ipairs(sets) do redis.call('ZREM', set, id) end
  end
  redis.call('ZREM', KEYS[1], entry)
end
return #old
"""
"""Forgets up to ARGV[2] jobs that ended before ARGV[1], expired ones too; spares those that came back to life."""

_FORGET = """
for i = 2, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 0 then redis.call('ZREM', KEYS[1], ARGV[i - 1]) end
end
"""
"""Takes the ids ARGV whose jobs KEYS[2…] are no more out of the sorted set KEYS[1]."""


class RedisStore(Store):
    """Keeps jobs in the Redis at `url`; `prefix` begins every key.

    `options` are redis-py's. Nothing is retried and nothing waits for longer than `socket_timeout` seconds at a
    time: the writer retries, and a page that asks is better told at once. Connections are opened when needed.
    """

    def __init__(
        self,
        url: str = "redis://localhost:6379/0",
        prefix: str = "immortus",
        socket_timeout: float = 0.5,
        **options: Any,
    ) -> None:
        """Raise ValueError if `url` is none that redis-py understands."""
        self._url = url
        self._tag = f"{{{prefix}}}"
        self._options = {
            "socket_timeout": socket_timeout,
            "socket_connect_timeout": min(socket_timeout, 0.5),
            "retry": Retry(NoBackoff(), 0),
            **options,
            "decode_responses": False,
        }
        self._connect()

    def get_many(self, job_ids: Collection[str]) -> Reading:
        """The jobs of these ids, by one pipeline."""
        now, found = self._read(job_ids, "job", "lease", "holder")
        return Reading(now=now, jobs={i: _job(*values) for i, values in found.items()})

    def positions(self, job_ids: Collection[str]) -> Positions:
        """The positions of these ids, by one pipeline."""
        now, found = self._read(job_ids, "version", "lease")
        of = {i: Position(version=int(version), lease_until=_number(lease)) for i, (version, lease) in found.items()}
        return Positions(now=now, of=of)

    def update(self, job_id: str, change: Change) -> tuple[Job | None, Job | None]:
        """Apply `change` by compare-and-set, again on conflict: two round trips when there is none."""
        for _ in range(_CONFLICTS):
            reading = self.get_many([job_id])
            before = reading.jobs.get(job_id)
            after = change(before, reading.now)
            if after is None or after is before:
                return before, before
            if self._replace(before, after):
                self._prune_a_little(after)
                return before, after
        msg = f"The job {job_id!r} was changed by others {_CONFLICTS} times while it was to be changed here."
        raise StoreUnavailable(msg)

    def renew(self, holders: Mapping[str, str], seconds: float) -> None:
        """Move the lease of each job whose holder is given, by one script."""
        keys = [self._key("leases"), *map(self._job_key, holders)]
        pairs = [text for pair in holders.items() for text in pair]
        self._run(_RENEW, keys, [str(int(seconds * SECOND)), *pairs])

    def list(self, wanted: Filter, *, limit: int = 100, before: int | None = None) -> list[Job]:
        """The newest jobs that `wanted` lets through; of those overdue, of the 1,000 longest overdue."""
        found: dict[str, Job] = {}
        for index in self._indexes_for(wanted):
            found |= self._found_in(index, wanted, limit, before)
        return sorted(found.values(), key=lambda job: job.version, reverse=True)[:limit]

    def prune(self, older_than: float, *, limit: int | None = None) -> int:
        """Forget jobs that were over long enough ago, and what is left of those that expired, the oldest first."""
        latest = self.get_many([]).now - int(older_than * SECOND)
        total = 0
        while limit is None or total < limit:
            size = _PRUNED_AT_ONCE if limit is None else min(_PRUNED_AT_ONCE, limit - total)
            gone = int(self._run(_PRUNE, [self._key("over")], [str(latest), str(size)]))
            total += gone
            if gone < size:
                break
        return total

    def close(self) -> None:
        """Close this process's connections; a parent's are left to the parent."""
        if self._pid == os.getpid():
            self._client.close()
        self._connect()

    # Between here and Redis

    def _connect(self) -> None:
        self._pid = os.getpid()
        self._client: Redis[bytes] = Redis.from_url(self._url, **self._options)

    @contextmanager
    def _redis(self) -> Iterator[Redis[bytes]]:
        """The client of this process; what goes wrong is `StoreUnavailable`."""
        if self._pid != os.getpid():
            self._connect()
        try:
            yield self._client
        except RedisError as error:
            msg = f"Redis did not do what was asked: {error or type(error).__name__}"
            raise StoreUnavailable(msg) from error

    def _run(self, script: str, keys: Texts, arguments: Texts) -> Any:
        """Run a script by its hash, or send it if the server does not know it (any more)."""
        with self._redis() as client:
            return client.register_script(script)(keys=keys, args=arguments)

    def _read(self, job_ids: Collection[str], *names: str) -> tuple[int, dict[str, Values]]:
        """Redis' time, and these fields of those of these jobs that there are."""
        ids = list(job_ids)
        with self._redis() as client, client.pipeline(transaction=False) as pipeline:
            pipeline.time()
            for job_id in ids:
                pipeline.hmget(self._job_key(job_id), *names)
            (seconds, micros), *rows = pipeline.execute()
        found = {job_id: row for job_id, row in zip(ids, rows, strict=True) if row[0] is not None}
        return seconds * SECOND + micros, found

    def _replace(self, before: Job | None, after: Job) -> bool:
        """Whether the job was still as it was read.

        A change that leaves the lease alone must not undo a renewal, and one that moves it (a job called overdue)
        was decided on the lease that it read: then a renewal is a conflict.
        """
        moves_lease = before is None or _lease(before) != _lease(after)
        expected = [str(before.version) if before else ""]
        if before and moves_lease:
            expected += _lease(before).values()
        commands = [*self._writing(after, moves_lease=moves_lease), *self._indexing(before, after)]
        keys = sorted({str(command[1]) for command in commands} - {self._job_key(after.job_id)})
        keys = [self._job_key(after.job_id), *keys]
        return bool(self._run(_COMPARE_AND_SET, keys, [dump(expected), dump(commands)]))

    # What a write consists of

    def _writing(self, job: Job, *, moves_lease: bool) -> Iterator[Texts]:
        key = self._job_key(job.job_id)
        ended = _ended(job)
        fields = {"version": str(job.version), "job": job.to_record(), "ended": "" if ended is None else str(ended)}
        if moves_lease:
            fields |= _lease(job)
        # First of all, because a Redis that is full refuses a script's first write, and none that follow.
        yield ["HSET", key, *(text for field in fields.items() for text in field)]
        if moves_lease:
            leases = self._key("leases")
            if job.lease_until is None:
                yield ["ZREM", leases, job.job_id]
            else:
                yield ["ZADD", leases, str(job.lease_until), job.job_id]
        if ended is None:
            yield ["PERSIST", key]
        else:
            yield ["PEXPIREAT", key, str(ended // 1000 + int(settings.RETENTION * 1000))]

    def _indexing(self, before: Job | None, after: Job) -> Iterator[Texts]:
        old, new = (self._indexes_of(job) if job else [] for job in (before, after))
        for index in old:
            if index not in new:
                yield ["ZREM", index, after.job_id]
        for index in new:
            yield ["ZADD", index, str(after.version), after.job_id]
        over = self._key("over")
        if before and _ended(before) is not None:
            yield ["ZREM", over, self._traces(before)]
        if (ended := _ended(after)) is not None:
            yield ["ZADD", over, str(ended), self._traces(after)]

    def _indexes_of(self, job: Job) -> Texts:
        owned = [] if job.owner is None else [self._key("owner", job.owner)]
        return [self._key("all"), self._key("class", job.job_class), self._key("state", job.state), *owned]

    def _traces(self, job: Job) -> str:
        """Where the job is to be found, for when its record has expired."""
        return dump([job.job_id, self._job_key(job.job_id), self._indexes_of(job)])

    def _prune_a_little(self, after: Job) -> None:
        """About every hundredth time that a job ends (a version ends in microseconds), forget some old ones."""
        if not after.is_over or after.version % 100:
            return
        try:
            self.prune(settings.RETENTION, limit=100)
        except StoreUnavailable:
            logger.warning("Old jobs could not be pruned.", exc_info=True)

    # Listing

    def _indexes_for(self, wanted: Filter) -> Texts:
        """The sorted sets in which everything wanted is, the narrowest there are."""
        if wanted.overdue:
            return [self._key("leases")]
        if wanted.owner is not None:
            return [self._key("owner", wanted.owner)]
        if wanted.states is not None:
            return [self._key("state", state) for state in sorted(set(wanted.states))]
        return [self._key("all") if wanted.job_class is None else self._key("class", wanted.job_class)]

    def _found_in(self, index: str, wanted: Filter, limit: int, before: int | None) -> dict[str, Job]:
        """At least the `limit` newest jobs of a sorted set that are wanted, if it has as many."""
        found: dict[str, Job] = {}
        gone: Texts = []
        for page in self._pages(index, limit, before):
            reading = self.get_many(page)
            gone += [job_id for job_id in page if job_id not in reading.jobs]
            found |= {
                job_id: job
                for job_id, job in reading.jobs.items()
                if wanted.admits(job, reading.now) and (before is None or job.version < before)
            }
            if len(found) >= limit:
                break
        self._forget(index, gone)
        return found

    def _pages(self, index: str, limit: int, before: int | None) -> Iterator[Texts]:
        """The ids in a sorted set, newest first; of the leases, those that ended first."""
        if index == self._key("leases"):
            with self._redis() as client:
                yield _texts(client.zrange(index, 0, _OVERDUE_AT_ONCE - 1))
            return
        newest = "+inf" if before is None else f"({before}"
        size = max(limit, _PAGE)
        for start in itertools.count(step=size):
            with self._redis() as client:
                page = _texts(client.zrevrangebyscore(index, newest, "-inf", start=start, num=size))
            yield page
            if len(page) < size:
                return

    def _forget(self, index: str, job_ids: Texts) -> None:
        """Take out of a sorted set what has expired."""
        if job_ids:
            self._run(_FORGET, [index, *map(self._job_key, job_ids)], job_ids)

    def _key(self, *parts: str) -> str:
        return ":".join((self._tag, *parts))

    def _job_key(self, job_id: str) -> str:
        return self._key("job", job_id)


def _lease(job: Job) -> dict[str, str]:
    return {"lease": "" if job.lease_until is None else str(job.lease_until), "holder": job.lease_holder}


def _ended(job: Job) -> int | None:
    return job.finished_at if job.is_over else None


def _texts(values: Values) -> Texts:
    return [value.decode() for value in values]


def _number(text: bytes) -> int | None:
    return int(text) if text else None


def _job(record: bytes, lease: bytes, holder: bytes) -> Job:
    """The job on record with its lease, which is renewed in its own fields only."""
    return replace(Job.from_record(record), lease_until=_number(lease), lease_holder=holder.decode())
