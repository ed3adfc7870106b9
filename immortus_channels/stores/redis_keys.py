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

from functools import partial
from typing import TypeAlias

from immortus_channels.jobs.job import Job, dump
from immortus_channels.keys import key_of, namespace_of
from immortus_channels.stores.base import Filter

Texts: TypeAlias = "list[str]"

_FITS_OR_ANSWER = """
local kept = redis.call('HMGET', KEYS[1], 'version', 'lease', 'holder')
local fits = (kept[1] or '') == ARGV[1]
if fits and ARGV[2] ~= '-' then fits = kept[2] == ARGV[2] and kept[3] == ARGV[3] end
if fits and ARGV[4] ~= '' then
  local time = redis.call('TIME')
  fits = math.abs(time[1] * 1000000 + time[2] - ARGV[4]) <= tonumber(ARGV[5])
end
if not fits then
  local answer = redis.call('TIME')
  for _, value in ipairs(redis.call('HMGET', KEYS[1], 'job', 'lease', 'holder')) do
    answer[#answer + 1] = value or ''
  end
  return answer
end
"""
"""Returns the time, and the record, lease and holder of the job KEYS[1], unless its version is ARGV[1].

Its lease and holder must be ARGV[2] and ARGV[3], unless these are "-", and a guessed time ARGV[4], if it is not empty,
right within ARGV[5] microseconds. Of an unknown job everything is empty.
"""

WRITE = f"""{_FITS_OR_ANSWER}
local _, _, _, _, _, id, version, record, ended, lease, holder, expires, old, new, left = unpack(ARGV)
local fields = {{'version', version, 'job', record, 'ended', ended, 'lease', lease, 'holder', holder}}
redis.call('HSET', KEYS[1], unpack(fields, 1, lease == '-' and 6 or 10))
if lease == '' then redis.call('ZREM', KEYS[2], id) end
if lease ~= '' and lease ~= '-' then redis.call('ZADD', KEYS[2], lease, id) end
if expires ~= '' then redis.call('PEXPIREAT', KEYS[1], expires) elseif old ~= '' then redis.call('PERSIST', KEYS[1]) end
for i = 4, 3 + left do redis.call('ZREM', KEYS[i], id) end
for i = 4 + left, #KEYS do redis.call('ZADD', KEYS[i], version, id) end
if old ~= '' then redis.call('ZREM', KEYS[3], old) end
if new ~= '' then redis.call('ZADD', KEYS[3], ended, new) end
return nil
"""
"""Writes a job, if it fits. KEYS: the job, the leases, the ended jobs, the sets it leaves, the sets it is in.

ARGV after the first five: the job's id, version, record, end, lease ("-": as it was), holder, time of expiry in
milliseconds, its traces before and after, how many sets it leaves; empty where there is none. The record is first,
because a Redis that is full refuses a script's first write, and none that follow.
"""

REMOVE = f"""{_FITS_OR_ANSWER}
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[3], ARGV[7])
for i, key in ipairs(KEYS) do if i ~= 1 and i ~= 3 then redis.call('ZREM', key, ARGV[6]) end end
return nil
"""
"""Deletes a job, if it fits, with its entries in the sets. ARGV after the first five: its id and its traces."""

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

    def writing(self, before: Job | None, after: Job, retention: int) -> tuple[Texts, Texts]:
        """Return the keys and the arguments, after the first five, that turn `before` into `after`.

        An ended job expires `retention` ms after its end.
        """
        old, new = (self.indexes_of(job) if job else [] for job in (before, after))
        left, ended = [index for index in old if index not in new], _ended(after)
        moves_lease = before is None or lease(before) != lease(after)
        arguments = [
            *(after.job_id, str(after.version), after.to_record(), "" if ended is None else str(ended)),
            *(lease(after) if moves_lease else ("-", "-")),
            "" if ended is None else str(ended // 1000 + retention),
            *(self._traces(job) if job and _ended(job) is not None else "" for job in (before, after)),
            str(len(left)),
        ]
        return [*self._keys_of(after), *left, *new], arguments

    def removing(self, job: Job) -> tuple[Texts, Texts]:
        """Return the keys and the arguments, after the first five, that delete a job and all its index entries."""
        return [*self._keys_of(job), *self.indexes_of(job)], [job.job_id, self._traces(job)]

    def _keys_of(self, job: Job) -> Texts:
        return [self.job(job.job_id), self.leases, self.over]

    def _traces(self, job: Job) -> str:
        """Return where the job's entries are, for when its record has expired."""
        return dump([job.job_id, self.job(job.job_id), self.indexes_of(job)])

    def _key(self, *parts: str) -> str:
        return ":".join((self._tag, *parts))


def lease(job: Job) -> tuple[str, str]:
    """Return the two fields of a lease, its end and its holder; a renewal changes only these."""
    return "" if job.lease_until is None else str(job.lease_until), job.lease_holder


def _ended(job: Job) -> int | None:
    return job.finished_at if job.is_over else None
