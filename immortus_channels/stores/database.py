"""Jobs in a table of the project's own database.

Plain SQL of the kind that PostgreSQL, MySQL, MariaDB and SQLite share, because every statement also goes through
connections that Django's ORM does not know (see `DatabaseStore.claim_thread`).
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from django.db import DEFAULT_DB_ALIAS, Error, IntegrityError, ProgrammingError, connections, transaction
from django.db.transaction import TransactionManagementError

from immortus_channels.conf import settings
from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.jobs import Job, State
from immortus_channels.lifecycle import SECOND
from immortus_channels.models import JobRecord
from immortus_channels.stores.base import Change, Filter, Position, Positions, Reading, Store

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper as Connection

Row: TypeAlias = "tuple[Any, ...]"
Value: TypeAlias = "str | int | None"
Where: TypeAlias = "list[tuple[str, list[Value]]]"

logger = logging.getLogger(__name__)

TABLE = JobRecord._meta.db_table  # noqa: SLF001 - Django's documented API
TIMEOUT = 2
"""Seconds that a claimed thread waits for a connection, a lock or an answer."""
_CONFLICTS = 100
_IDS_AT_ONCE = 10_000
_PRUNED_AT_ONCE = 1_000
_HOLDERS_AT_ONCE = 200
"""SQLite nests a chain of ORs, to a depth of 1,000 at most."""


class DatabaseStore(Store):
    """Keeps jobs in the database `using`, in autocommit; inside the caller's `atomic()`, under a savepoint.

    A claimed thread has a connection of its own. Behind PgBouncer add `options` to its `ignore_startup_parameters`,
    or the claimed connection, whose timeouts travel there, is refused.
    """

    def __init__(self, using: str = DEFAULT_DB_ALIAS) -> None:
        """Use the database of this alias."""
        self.using = using
        self._own: dict[tuple[int, int], Connection] = {}

    def get_many(self, job_ids: Collection[str]) -> Reading:
        """The jobs of these ids, by one query."""
        with self._connected() as connection:
            now, rows = _select(connection, "record, lease_until, lease_holder", job_ids)
        return Reading(now=now, jobs={row[0]: _job(*row[1:]) for row in rows})

    def positions(self, job_ids: Collection[str]) -> Positions:
        """The positions of these ids, by one query."""
        with self._connected() as connection:
            now, rows = _select(connection, "version, lease_until", job_ids)
        return Positions(now=now, of={row[0]: Position(version=row[1], lease_until=row[2]) for row in rows})

    def update(self, job_id: str, change: Change) -> tuple[Job | None, Job | None]:
        """Apply `change` by compare-and-set, again on conflict; the job before and after."""
        for _ in range(_CONFLICTS):
            try:
                with self._connected() as connection:
                    now, rows = _select(connection, "record, lease_until, lease_holder", [job_id])
                    before = _job(*rows[0][1:]) if rows else None
                    after = change(before, now)
                    if after is None or after is before:
                        return before, before
                    is_kept = _insert(connection, after) if before is None else _replace(connection, before, after)
            except IntegrityError:  # another process created the record after we had looked for it
                continue
            if is_kept:
                self._prune_a_little(after, connection)
                return before, after
        msg = f"The job {job_id!r} was changed by others {_CONFLICTS} times while it was to be changed here."
        raise StoreUnavailable(msg)

    def renew(self, holders: Mapping[str, str], seconds: float) -> None:
        """Move the lease of each job whose holder is given, by one statement for up to 200."""
        pairs = sorted(holders.items())
        for start in range(0, len(pairs), _HOLDERS_AT_ONCE):
            some = pairs[start : start + _HOLDERS_AT_ONCE]
            which = " OR ".join(["job_id = %s AND lease_holder = %s"] * len(some))
            with self._connected() as connection:
                until = f"{_now(connection)} + {int(seconds * SECOND)}"
                sql = f"UPDATE {TABLE} SET lease_until = {until} WHERE lease_until IS NOT NULL AND ({which})"  # noqa: S608
                _execute(connection, sql, [text for pair in some for text in pair])

    def list(self, wanted: Filter, *, limit: int = 100, before: int | None = None) -> list[Job]:
        """The newest jobs that `wanted` lets through, by queries that an index answers."""
        found: list[Job] = []
        with self._connected() as connection:
            for where in _searches(wanted, before, _now(connection)):
                found += _newest(connection, where, _order(wanted), limit)
        return sorted(found, key=lambda job: job.version, reverse=True)[:limit]

    def prune(self, older_than: float, *, limit: int | None = None) -> int:
        """Delete jobs that were over long enough ago, the oldest first, up to 1,000 by one statement."""
        total = 0
        while limit is None or total < limit:
            size = _PRUNED_AT_ONCE if limit is None else min(_PRUNED_AT_ONCE, limit - total)
            with self._connected() as connection:
                gone = _delete_oldest(connection, older_than, size)
            total += gone
            if gone < size:
                break
        return total

    def waits_for_caller(self) -> bool:
        """On SQLite, whose transactions lock the whole database, inside `atomic()`."""
        connection = connections[self.using]
        return connection.vendor == "sqlite" and connection.in_atomic_block

    def claim_thread(self) -> None:
        """Give the calling thread a connection that is no one else's and never waits longer than `TIMEOUT`."""
        self.release_thread()
        self._own[_this_thread()] = _impatient(connections[self.using])

    def release_thread(self) -> None:
        """Close the calling thread's own connection."""
        own = self._own.pop(_this_thread(), None)
        if own is not None:
            own.close()

    def close(self) -> None:
        """Close the calling thread's own connection.

        Those inherited over a fork are kept, unused: some drivers say goodbye to the server when one is deleted.
        """
        self.release_thread()

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        """A connection for one read and at most one write; what goes wrong is `StoreUnavailable`, conflicts aside."""
        own = self._own.get(_this_thread())
        connection = own or connections[self.using]
        savepoint = transaction.atomic(using=self.using) if connection.in_atomic_block else nullcontext()
        try:
            with savepoint:
                yield connection
        except IntegrityError:
            raise
        except Error as error:
            _close_if_dead(connection, is_own=own is not None)
            raise StoreUnavailable(self._explained(error)) from error

    def _explained(self, error: Error) -> str:
        is_about_sql = isinstance(error, ProgrammingError) and not isinstance(error, TransactionManagementError)
        if is_about_sql or "no such" in str(error):
            return (
                f"The table {TABLE} in the database {self.using!r} cannot be used ({error}); if it is missing or old, "
                f"run: manage.py migrate immortus_channels --database={self.using}"
            )
        return f"The database {self.using!r} did not do what was asked: {error}"

    def _prune_a_little(self, after: Job, connection: Connection) -> None:
        """About every hundredth time that a job ends (a version ends in microseconds), forget some old ones."""
        if not after.is_over or after.version % 100 or connection.in_atomic_block:
            return
        try:
            self.prune(settings.RETENTION, limit=100)
        except StoreUnavailable:
            logger.warning("Old jobs could not be pruned.", exc_info=True)


# Connections


def _this_thread() -> tuple[int, int]:
    return os.getpid(), threading.get_ident()


def _impatient(ordinary: Connection) -> Connection:
    """A new connection to the same database as it is named now, under test or not, with short timeouts."""
    theirs = ordinary.settings_dict
    options = {name: value for name, value in theirs["OPTIONS"].items() if name != "pool"}
    ours = {
        "OPTIONS": options | _timeouts(ordinary.vendor, options),
        "AUTOCOMMIT": True,
        "CONN_MAX_AGE": None,
        "CONN_HEALTH_CHECKS": False,
    }
    return type(ordinary)({**theirs, **ours}, ordinary.alias)


def _timeouts(vendor: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The `OPTIONS` that make each driver and server give up in time."""
    match vendor:
        case "postgresql":
            limits = f"-c statement_timeout={TIMEOUT}s -c lock_timeout={TIMEOUT}s"
            return {
                "connect_timeout": TIMEOUT,
                "tcp_user_timeout": TIMEOUT * 1000,
                "options": f"{options.get('options', '')} {limits}".strip(),
            }
        case "mysql":
            return dict.fromkeys(("connect_timeout", "read_timeout", "write_timeout"), TIMEOUT)
        case "sqlite":
            return {"timeout": TIMEOUT}
    return {}


def _close_if_dead(connection: Connection, *, is_own: bool) -> None:
    """After an error, let the next call open a new connection if this one is of no more use."""
    is_open = connection.connection is not None and not connection.in_atomic_block
    if is_own or (is_open and not connection.is_usable()):
        connection.close()


# Statements


def _now(connection: Connection) -> str:
    """SQL for the database's clock in microseconds; SQLite has no server, its clock is ours.

    It stands still within a statement, so that an index can be searched with it.
    """
    match connection.vendor:
        case "postgresql":
            return "(EXTRACT(EPOCH FROM statement_timestamp()) * 1000000)::bigint"
        case "mysql":
            return "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))"
    return str(time.time_ns() // 1000)


def _execute(connection: Connection, sql: str, parameters: Sequence[Value]) -> int:
    """How many rows the statement touched."""
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return int(cursor.rowcount)


def _fetch(connection: Connection, sql: str, parameters: Sequence[Value]) -> list[Row]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return list(cursor.fetchall())


def _select(connection: Connection, columns: str, job_ids: Collection[str]) -> tuple[int, list[Row]]:
    """The database's time, and `job_id` and `columns` of those of these jobs that there are."""
    ids = list(job_ids)
    now: int | None = None
    rows: list[Row] = []
    for start in range(0, max(len(ids), 1), _IDS_AT_ONCE):
        some: list[Value] = [*ids[start : start + _IDS_AT_ONCE]] or [None]
        marks = ", ".join(["%s"] * len(some))
        found = _fetch(
            connection,
            f"SELECT clock.now, job_id, {columns} FROM (SELECT {_now(connection)} AS now) clock "  # noqa: S608
            f"LEFT JOIN {TABLE} ON job_id IN ({marks})",
            some,
        )
        now = found[0][0] if now is None else now
        rows += [row[1:] for row in found if row[1] is not None]
    return now or 0, rows


def _job(record: str, lease_until: int | None, lease_holder: str) -> Job:
    """The job on record with its lease, which is renewed in its columns only."""
    return replace(Job.from_record(record), lease_until=lease_until, lease_holder=lease_holder)


def _columns(job: Job) -> dict[str, Value]:
    return {
        "job_class": job.job_class,
        "state": job.state.value,
        "owner": job.owner,
        "version": job.version,
        "finished_at": job.finished_at if job.is_over else None,
        "record": job.to_record(),
    }


def _lease(job: Job) -> dict[str, Value]:
    return {"lease_until": job.lease_until, "lease_holder": job.lease_holder}


def _insert(connection: Connection, job: Job) -> bool:
    row = {"job_id": job.job_id, **_columns(job), **_lease(job)}
    marks = ", ".join(["%s"] * len(row))
    sql = f"INSERT INTO {TABLE} ({', '.join(row)}) VALUES ({marks})"  # noqa: S608
    return _execute(connection, sql, list(row.values())) == 1


def _replace(connection: Connection, before: Job, after: Job) -> bool:
    """Whether the row was still as it was read.

    A change that leaves the lease alone must not undo a renewal, and one that moves it (a job called overdue)
    was decided on the lease that it read: then a renewal is a conflict.
    """
    new = _columns(after)
    where: Where = [("job_id = %s", [before.job_id]), ("version = %s", [before.version])]
    if _lease(after) != _lease(before):
        new |= _lease(after)
        where += [_is("lease_until", before.lease_until), _is("lease_holder", before.lease_holder)]
    conditions, parameters = _joined(where)
    assignments = ", ".join(f"{name} = %s" for name in new)
    sql = f"UPDATE {TABLE} SET {assignments} WHERE {conditions}"  # noqa: S608
    return _execute(connection, sql, [*new.values(), *parameters]) == 1


def _is(column: str, value: Value) -> tuple[str, list[Value]]:
    return (f"{column} IS NULL", []) if value is None else (f"{column} = %s", [value])


def _joined(where: Where) -> tuple[str, list[Value]]:
    conditions = " AND ".join(condition for condition, _ in where) or "1 = 1"
    return conditions, [parameter for _, parameters in where for parameter in parameters]


def _searches(wanted: Filter, before: int | None, now: str) -> Iterator[Where]:
    """The conditions of each query of a listing, which is a walk along one index.

    Owner and overdue are narrow enough to filter the rest. Class and state are not: they share an index, in which the
    jobs of one class and state are in order of version, so that each state is a query.
    """
    order = _order(wanted)
    older: Where = [] if before is None else [(f"{order} < %s", [before])]
    states = wanted.states
    if wanted.overdue:
        yield [(f"lease_until <= {now}", []), *_hidden(wanted, "owner", "job_class"), *older]
    elif wanted.owner is not None:
        yield [_is("owner", wanted.owner), *_hidden(wanted, "job_class"), *older]
    elif wanted.job_class is not None:
        for state in State if states is None else set(states):
            yield [_is("job_class", wanted.job_class), _is("state", state), *older]
    elif states is not None:
        for state in set(states):
            yield [_is("state", state), *older]
    else:
        yield older


def _order(wanted: Filter) -> str:
    """What a listing is sorted by: not the index of all versions where few rows of any are wanted."""
    return "version + 0" if wanted.overdue else "version"


def _hidden(wanted: Filter, *columns: str) -> Where:
    """The conditions on these columns, without their indexes: SQLite, having no statistics, picks the wrong one."""
    values = {"owner": wanted.owner, "job_class": wanted.job_class}
    where: Where = [
        (f"SUBSTR({column}, 1) = %s", [value]) for column in columns if (value := values.get(column)) is not None
    ]
    if wanted.states is not None:
        marks = ", ".join(["%s"] * len(wanted.states)) or "NULL"
        where.append((f"SUBSTR(state, 1) IN ({marks})", list(wanted.states)))
    return where


def _newest(connection: Connection, where: Where, order: str, limit: int) -> list[Job]:
    conditions, parameters = _joined(where)
    sql = (
        f"SELECT record, lease_until, lease_holder FROM {TABLE} "  # noqa: S608
        f"WHERE {conditions} ORDER BY {order} DESC LIMIT {int(limit)}"
    )
    return [_job(*row) for row in _fetch(connection, sql, parameters)]


def _delete_oldest(connection: Connection, older_than: float, limit: int) -> int:
    """Delete up to `limit` rows; the outer condition spares a job that has come back to life meanwhile."""
    is_old = f"finished_at < {_now(connection)} - {int(older_than * SECOND)}"
    oldest = f"SELECT job_id FROM {TABLE} WHERE {is_old} ORDER BY finished_at LIMIT {limit}"  # noqa: S608
    # MySQL takes a LIMIT in a subquery of IN only when it is one level further down.
    sql = f"DELETE FROM {TABLE} WHERE {is_old} AND job_id IN (SELECT job_id FROM ({oldest}) oldest)"  # noqa: S608
    return _execute(connection, sql, [])
