"""The statements of the database store, in the SQL that PostgreSQL, MySQL, MariaDB and SQLite share.

Not written with Django's ORM, because they also use connections that it does not know.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from django.conf import settings
from django.db import Error

from immortus_channels.jobs.job import Job, State
from immortus_channels.jobs.lifecycle import SECOND
from immortus_channels.keys import SEPARATOR
from immortus_channels.models import JobRecord
from immortus_channels.stores.base import Filter, reading_of
from immortus_channels.stores.compare_and_set import CLOCK_SLACK

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper as Connection

Row: TypeAlias = "tuple[Any, ...]"
Value: TypeAlias = "str | int | None"
Where: TypeAlias = "list[tuple[str, list[Value]]]"
Found: TypeAlias = "tuple[int, list[Row]]"
"""The database's time, and rows that begin with the job's id."""

TABLE = JobRecord._meta.db_table  # noqa: SLF001 - Django's documented API
JOB = "record, lease_until, lease_holder"
"""The columns that `to_job` takes."""
_NUMBERS = ("version", "finished_at", "lease_until")
_IDS_AT_ONCE = 10_000
_REFUSED_VALUES = frozenset({1264, 1265, 1300, 1366, 1406, 3988})
"""MySQL's errors for values that a column cannot hold, which not every driver raises as DataError."""


def _table(connection: Connection) -> str:
    """Return the table's name; with django-tenants the one in the public schema, whichever schema is searched first."""
    if not hasattr(connection, "schema_name"):
        return TABLE
    return f'"{getattr(settings, "PUBLIC_SCHEMA_NAME", "public")}".{TABLE}'


def clock(connection: Connection) -> str:
    """Return SQL for the database's clock in microseconds; SQLite has no server, so its clock is ours.

    The clock stands still within a statement, so that an index can be searched with it.
    """
    match connection.vendor:
        case "postgresql":
            return "(EXTRACT(EPOCH FROM statement_timestamp()) * 1000000)::bigint"
        case "mysql":
            return "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))"
    return str(time.time_ns() // 1000)


def refuses_value(connection: Connection, error: Error) -> bool:
    """Return whether the database refuses a value, however often it is tried."""
    return connection.vendor == "mysql" and not _REFUSED_VALUES.isdisjoint(error.args[:1])


def _execute(connection: Connection, sql: str, parameters: Sequence[Value]) -> int:
    """Return how many rows the statement touched."""
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return int(cursor.rowcount)


def _fetch(connection: Connection, sql: str, parameters: Sequence[Value]) -> list[Row]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return list(cursor.fetchall())


def select(connection: Connection, columns: str, job_ids: Collection[str]) -> Found:
    """Return the database's time, and `job_id` and `columns` of the jobs that exist among these."""
    ids = list(job_ids)
    now: int | None = None
    rows: list[Row] = []
    for start in range(0, max(len(ids), 1), _IDS_AT_ONCE):
        some: list[Value] = [*ids[start : start + _IDS_AT_ONCE]] or [None]
        marks = ", ".join(["%s"] * len(some))
        found = _fetch(
            connection,
            f"SELECT clock.now, job_id, {columns} FROM (SELECT {clock(connection)} AS now) clock "  # noqa: S608
            f"LEFT JOIN {_table(connection)} ON job_id IN ({marks})",
            some,
        )
        now = found[0][0] if now is None else now
        rows += [row[1:] for row in found if row[1] is not None]
    return now or 0, rows


def to_job(record: str, lease_until: int | None, lease_holder: str) -> Job:
    """Return the recorded job with its lease, which is renewed only in its columns."""
    return Job.from_record(record).but(lease_until=lease_until, lease_holder=lease_holder)


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


def insert(connection: Connection, job: Job, guessed: int | None) -> Found | None:
    """Write a new row if there is none, and a guessed time is about right; return None if it did, else what is there.

    Raises IntegrityError if there is a row and the database is another than PostgreSQL.
    """
    row = {"job_id": job.job_id, **_columns(job), **_lease(job)}
    marks, conflict = ["%s"] * len(row), ""
    if _answers(connection):
        marks = [f"CAST(%s AS {'bigint' if name in _NUMBERS else 'text'})" for name in row]
        conflict = "ON CONFLICT DO NOTHING"
    conditions, parameters = _join(_is_now(connection, guessed))
    sql = (
        f"INSERT INTO {_table(connection)} ({', '.join(row)}) "  # noqa: S608
        f"SELECT {', '.join(marks)} FROM (SELECT 1) one WHERE {conditions} {conflict}"
    )
    return _write(connection, job.job_id, sql, [*row.values(), *parameters])


def compare_and_set(connection: Connection, before: Job, after: Job, guessed: int | None) -> Found | None:
    """Write a row if it is unchanged since it was read, and a guessed time is about right.

    Return None if it did, else what is there.
    """
    new = _columns(after)
    where: Where = [("job_id = %s", [before.job_id]), ("version = %s", [before.version])]
    if _lease(after) != _lease(before):
        new |= _lease(after)
        if before.is_lease_known:
            where += [_is("lease_until", before.lease_until), _is("lease_holder", before.lease_holder)]
    conditions, parameters = _join([*where, *_is_now(connection, guessed)])
    assignments = ", ".join(f"{name} = %s" for name in new)
    sql = f"UPDATE {_table(connection)} SET {assignments} WHERE {conditions}"  # noqa: S608
    return _write(connection, before.job_id, sql, [*new.values(), *parameters])


def _is_now(connection: Connection, guessed: int | None) -> Where:
    return [] if guessed is None else [(f"ABS({clock(connection)} - %s) <= %s", [guessed, CLOCK_SLACK])]


def _answers(connection: Connection) -> bool:
    """Return whether one statement can both write and, where it did not, say what is there."""
    return connection.vendor == "postgresql"


def _write(connection: Connection, job_id: str, sql: str, parameters: Sequence[Value]) -> Found | None:
    """Run a statement that writes one row; return None if it did, else what is there."""
    if not _answers(connection):
        return None if _execute(connection, sql, parameters) == 1 else select(connection, JOB, [job_id])
    rows = _fetch(
        connection,
        f"WITH written AS ({sql} RETURNING 1) "  # noqa: S608
        f"SELECT EXISTS (SELECT 1 FROM written), {clock(connection)}, job_id, {JOB} "
        f"FROM (SELECT 1) one LEFT JOIN {_table(connection)} ON job_id = %s AND NOT EXISTS (SELECT 1 FROM written)",
        [*parameters, job_id],
    )
    is_written, now, *_ = rows[0]
    return None if is_written else (now, [row[2:] for row in rows if row[2] is not None])


def _is(column: str, value: Value) -> tuple[str, list[Value]]:
    return (f"{column} IS NULL", []) if value is None else (f"{column} = %s", [value])


def _join(where: Where) -> tuple[str, list[Value]]:
    conditions = " AND ".join(condition for condition, _ in where) or "1 = 1"
    return conditions, [parameter for _, parameters in where for parameter in parameters]


def _searches(connection: Connection, wanted: Filter, before: int | None) -> Iterator[Where]:
    """Yield the conditions of each query of a listing; each query walks along one index.

    Owner and overdue are narrow enough to filter the rest. Class and state are not: they share an index, in which the
    jobs of one class and state are in order of version, so that each state is a query.
    """
    order, now = _order(wanted), clock(connection)
    older: Where = [] if before is None else [(f"{order} < %s", [before])]
    older += _within(wanted.namespace, is_indexed=connection.vendor == "postgresql")
    states = wanted.states
    if wanted.overdue:
        yield [(f"lease_until <= {now}", []), *_hide(wanted, "owner", "job_class"), *older]
    elif wanted.owner is not None:
        yield [_is("owner", wanted.owner), *_hide(wanted, "job_class"), *older]
    elif wanted.job_class is not None:
        for state in State if states is None else set(states):
            yield [_is("job_class", wanted.job_class), _is("state", state), *older]
    elif states is not None:
        for state in set(states):
            yield [_is("state", state), *older]
    else:
        yield older


def _within(namespace: str | None, *, is_indexed: bool) -> Where:
    """Return the condition for the jobs of a namespace; PostgreSQL's index of ids finds texts by how they begin."""
    if namespace is None:
        return []
    if not namespace:
        return [("job_id NOT LIKE %s", [f"%{SEPARATOR}%"])]
    begin = f"{namespace}{SEPARATOR}"
    if is_indexed:
        return [("job_id LIKE %s", [_SPECIAL.sub(r"\\\g<0>", begin) + "%"])]
    return [("SUBSTR(job_id, 1, %s) = %s", [len(begin), begin])]


_SPECIAL = re.compile(r"[\\%_]")


def _order(wanted: Filter) -> str:
    """Return what a listing is sorted by: not the index of all versions where few of the rows are wanted."""
    return "version + 0" if wanted.overdue else "version"


def _hide(wanted: Filter, *columns: str) -> Where:
    """Return the conditions on these columns, without their indexes: SQLite, without statistics, picks a wrong one."""
    values = {"owner": wanted.owner, "job_class": wanted.job_class}
    where: Where = [
        (f"SUBSTR({column}, 1) = %s", [value]) for column in columns if (value := values.get(column)) is not None
    ]
    if wanted.states is not None:
        marks = ", ".join(["%s"] * len(wanted.states)) or "NULL"
        where.append((f"SUBSTR(state, 1) IN ({marks})", list(wanted.states)))
    return where


def newest(connection: Connection, wanted: Filter, limit: int, before: int | None) -> list[Job]:
    """Return the newest jobs that `wanted` admits, below version `before`."""
    found: list[Job] = []
    for where in _searches(connection, wanted, before):
        conditions, parameters = _join(where)
        sql = (
            f"SELECT job_id, {JOB} FROM {_table(connection)} "  # noqa: S608
            f"WHERE {conditions} ORDER BY {_order(wanted)} DESC LIMIT {int(limit)}"
        )
        rows = _fetch(connection, sql, parameters)
        found += reading_of(0, ((row[0], partial(to_job, *row[1:])) for row in rows)).jobs.values()
    return sorted(found, key=lambda job: job.version, reverse=True)[:limit]


def renew(connection: Connection, holders: Sequence[tuple[str, str]], seconds: float) -> None:
    """Extend the leases of these jobs that the named holders hold."""
    which = " OR ".join(["job_id = %s AND lease_holder = %s"] * len(holders))
    until = f"{clock(connection)} + {int(seconds * SECOND)}"
    sql = f"UPDATE {_table(connection)} SET lease_until = {until} WHERE lease_until IS NOT NULL AND ({which})"  # noqa: S608
    _execute(connection, sql, [text for pair in holders for text in pair])


def delete(connection: Connection, jobs: Collection[Job]) -> int:
    """Delete the rows of these jobs that still have these versions; return how many did."""
    which = " OR ".join(["job_id = %s AND version = %s"] * len(jobs))
    parameters: list[Value] = [value for job in jobs for value in (job.job_id, job.version)]
    return _execute(connection, f"DELETE FROM {_table(connection)} WHERE {which}", parameters)  # noqa: S608


def locked(connection: Connection, job_ids: Collection[str]) -> set[str]:
    """Return those of these jobs with rows that another client has locked; none if rows have no locks to skip."""
    if not connection.features.has_select_for_update_skip_locked:
        return set()
    known = {row[0] for row in select(connection, "version", job_ids)[1]}
    marks = ", ".join(["%s"] * len(known)) or "NULL"
    sql = f"SELECT job_id FROM {_table(connection)} WHERE job_id IN ({marks}) FOR UPDATE SKIP LOCKED"  # noqa: S608
    return known - {row[0] for row in _fetch(connection, sql, [*known])}


def delete_oldest(connection: Connection, older_than: float, limit: int) -> int:
    """Delete up to `limit` rows; the outer condition spares a job that has come back to life meanwhile."""
    is_old = f"finished_at < {clock(connection)} - {int(older_than * SECOND)}"
    first = f"ORDER BY finished_at LIMIT {limit}"
    sql = f"DELETE FROM {_table(connection)} WHERE {is_old} {first}"  # noqa: S608
    if connection.vendor != "mysql":  # only MySQL deletes in order, and it repeats a subquery for each row
        oldest = f"SELECT job_id FROM {_table(connection)} WHERE {is_old} {first}"  # noqa: S608
        sql = f"DELETE FROM {_table(connection)} WHERE {is_old} AND job_id IN ({oldest})"  # noqa: S608
    return _execute(connection, sql, [])
