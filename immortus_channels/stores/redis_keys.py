"""The layout of keys in Redis, and the scripts that keep it.

All keys share one hash tag, so that a script may touch several of them on any server:

    {prefix}:job:<job_id>   hash: version, job (the record), lease, holder, ended; expires after the retention
    {prefix}:all            sorted set: job id by version; likewise :owner:<owner>, :class:<class>, :state:<state>;
                            `all`, <class> and <state> are keys of their namespace, as ids and owners are
    {prefix}:leases         sorted set: job id by the end of its lease
    {prefix}:over           sorted set: each ended job's traces (its id, key and sets) by its end, for pruning

One hash tag is one slot: on a Redis Cluster this store lives on one node, and has one clock. A script that needs no key
is given one, so that a Cluster's client finds that node.
Use `maxmemory-policy noeviction` (or `volatile-*`): an evicted job is an unknown one.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TypeAlias

from immortus_channels.jobs.job import Job, dump
from immortus_channels.keys import key_of, namespace_of
from immortus_channels.stores.base import Filter

Texts: TypeAlias = "list[str]"

COMPARE_AND_SET = """
local fits = true
if ARGV[3] then
  local time = redis.call('TIME')
  fits = math.abs(time[1] * 1000000 + time[2] - ARGV[3]) <= tonumber(ARGV[4])
end
local kept = redis.call('HMGET', KEYS[1], 'version', 'lease', 'holder')
for position, expected in ipairs(cjson.decode(ARGV[1])) do
  fits = fits and (kept[position] or '') == expected
end
if not fits then
  local answer = redis.call('TIME')
  for _, value in ipairs(redis.call('HMGET', KEYS[1], 'job', 'lease', 'holder')) do
    answer[#answer + 1] = value or ''
  end
  return answer
end
for _, command in ipairs(cjson.decode(ARGV[2])) do redis.call(unpack(command)) end
return nil
"""
"""Runs the commands ARGV[2] if the job KEYS[1] still has the version (and lease and holder) ARGV[1]; returns nil then.

A guessed time ARGV[3], if given, must also be right within ARGV[4] microseconds. If it does not fit, the script returns
the time, and the record, lease and holder of the job, empty for an unknown one.
"""

READ = """
local answer = redis.call('TIME')
for i = 2, #KEYS do
  for _, value in ipairs(redis.call('HMGET', KEYS[i], unpack(ARGV))) do answer[#answer + 1] = value or '' end
end
return answer
"""
"""Returns the time, then the fields ARGV of each of KEYS[2…], empty for unknown jobs."""

SIZES = """
local sizes = {}
for i, key in ipairs(KEYS) do sizes[i] = redis.call('ZCARD', key) end
return sizes
"""
"""Returns the size of each of the sorted sets KEYS."""

RENEW = """
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
"""Extends leases to ARGV[1] microseconds from now; an id and a holder follow for each of KEYS[2…]."""

PRUNE = """
local time = redis.call('TIME')
local latest = time[1] * 1000000 + time[2] - ARGV[1]
local old = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('(%.0f', latest), 'LIMIT', 0, ARGV[2])
for _, entry in ipairs(old) do
  local id, key, sets = unpack(cjson.decode(entry))
  local ended = redis.call('HGET', key, 'ended')
  if not ended or (ended ~= '' and tonumber(ended) < latest) then
    redis.call('DEL', key)
    for _, set in ipairs(sets) do redis.call('ZREM', set, id) end
  end
  redis.call('ZREM', KEYS[1], entry)
end
return #old
"""
"""Deletes up to ARGV[2] jobs that ended over ARGV[1] microseconds ago, expired ones too.

It spares those that came back to life.
"""

FORGET = """
for i = 2, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 0 then redis.call('ZREM', KEYS[1], ARGV[i - 1]) end
end
"""
"""Removes from the sorted set KEYS[1] the ids ARGV of jobs KEYS[2…] that no longer exist."""


class Layout:
    """The names of the keys behind one prefix, and the commands that write a job."""

    def __init__(self, prefix: str) -> None:
        """Name the sets that exist only once."""
        self._tag = f"{{{prefix}}}"
        self.leases = self._key("leases")
        self.over = self._key("over")

    def job(self, job_id: str) -> str:
        """Return the key of a job."""
        return self._key("job", job_id)

    def indexes_of(self, job: Job) -> Texts:
        """Return the sorted sets that hold a job by its version."""
        owned = [] if job.owner is None else [self._key("owner", job.owner)]
        names = partial(key_of, namespace_of(job.job_id))
        every, job_class, state = names("all"), names(job.job_class), names(job.state)
        return [self._key(every), self._key("class", job_class), self._key("state", state), *owned]

    def ways_to(self, wanted: Filter) -> list[Texts]:
        """Return the alternatives for a listing: each is a list of sorted sets that together hold all wanted jobs."""
        if wanted.overdue:
            return [[self.leases]]
        ways, names = [], partial(key_of, wanted.namespace or "")
        if wanted.owner is not None:
            ways.append([self._key("owner", wanted.owner)])
        if wanted.job_class is not None:
            ways.append([self._key("class", names(wanted.job_class))])
        if wanted.states is not None:
            ways.append([self._key("state", names(state)) for state in sorted(set(wanted.states))])
        return ways or [[self._key(names("all"))]]

    def writing(self, before: Job | None, after: Job, retention: int) -> list[Texts]:
        """Return the commands that turn `before` into `after`; an ended job expires `retention` ms after its end."""
        moves_lease = before is None or lease(before) != lease(after)
        return [*self._record(after, retention, moves_lease=moves_lease), *self._indexing(before, after)]

    def removing(self, job: Job) -> list[Texts]:
        """Return the commands that delete a job and all its index entries."""
        sets = [self.leases, *self.indexes_of(job)]
        return [
            ["DEL", self.job(job.job_id)],
            *(["ZREM", index, job.job_id] for index in sets),
            ["ZREM", self.over, self._traces(job)],
        ]

    def _record(self, job: Job, retention: int, *, moves_lease: bool) -> Iterator[Texts]:
        key, ended = self.job(job.job_id), _ended(job)
        fields = {"version": str(job.version), "job": job.to_record(), "ended": "" if ended is None else str(ended)}
        if moves_lease:
            fields |= lease(job)
        # First of all, because a Redis that is full refuses a script's first write, and none that follow.
        yield ["HSET", key, *(text for field in fields.items() for text in field)]
        if moves_lease and job.lease_until is None:
            yield ["ZREM", self.leases, job.job_id]
        elif moves_lease:
            yield ["ZADD", self.leases, str(job.lease_until), job.job_id]
        if ended is None:
            yield ["PERSIST", key]
        else:
            yield ["PEXPIREAT", key, str(ended // 1000 + retention)]

    def _indexing(self, before: Job | None, after: Job) -> Iterator[Texts]:
        old, new = (self.indexes_of(job) if job else [] for job in (before, after))
        for index in old:
            if index not in new:
                yield ["ZREM", index, after.job_id]
        for index in new:
            yield ["ZADD", index, str(after.version), after.job_id]
        if before and _ended(before) is not None:
            yield ["ZREM", self.over, self._traces(before)]
        if (ended := _ended(after)) is not None:
            yield ["ZADD", self.over, str(ended), self._traces(after)]

    def _traces(self, job: Job) -> str:
        """Return where the job's entries are, for when its record has expired."""
        return dump([job.job_id, self.job(job.job_id), self.indexes_of(job)])

    def _key(self, *parts: str) -> str:
        return ":".join((self._tag, *parts))


def lease(job: Job) -> dict[str, str]:
    """Return the two fields of a lease; a renewal changes only these."""
    return {"lease": "" if job.lease_until is None else str(job.lease_until), "holder": job.lease_holder}


def _ended(job: Job) -> int | None:
    return job.finished_at if job.is_over else None
