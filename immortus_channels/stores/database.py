"""Jobs in a table of the project's own database."""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

from django.db import DEFAULT_DB_ALIAS, DataError, Error, IntegrityError, ProgrammingError, connections, transaction
from django.db.transaction import TransactionManagementError

from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.jobs.job import Job
from immortus_channels.stores import sql
from immortus_channels.stores.base import Filter, Position, Positions, Reading, reading_of
from immortus_channels.stores.claimed import Claimed, claimed_connection
from immortus_channels.stores.compare_and_set import ComparingStore

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper as Connection

_HOLDERS_AT_ONCE = 200
"""SQLite nests a chain of ORs, at most 1,000 deep."""


class DatabaseStore(ComparingStore):
    """Keeps jobs in the database `using`, in autocommit; inside the caller's `atomic()`, under a savepoint.

    A claimed thread has a connection of its own, with statements that time out.
    """

    def __init__(self, using: str = DEFAULT_DB_ALIAS) -> None:
        """Raise ValueError if `DATABASES` has no such alias."""
        if using not in connections:
            msg = f"DATABASES has no {using!r}, only {', '.join(map(repr, connections))}"
            raise ValueError(msg)
        super().__init__()
        self._using = using
        self._own: dict[tuple[int, int], Claimed] = {}

    @property
    def using(self) -> str:
        """The alias of the database."""
        return self._using

    def get_many(self, job_ids: Collection[str]) -> Reading:
        """Return the jobs of these ids, by one query."""
        with self._connected() as connection:
            return _reading(*sql.select(connection, sql.JOB, job_ids))

    def positions(self, job_ids: Collection[str]) -> Positions:
        """Return the positions of these ids, by one query."""
        with self._connected() as connection:
            now, rows = sql.select(connection, "version, lease_until", job_ids)
        return Positions(now=now, of={row[0]: Position(version=row[1], lease_until=row[2]) for row in rows})

    def renew(self, holders: Mapping[str, str], seconds: float) -> None:
        """Extend the leases of these jobs that their holders still hold, by one statement for up to 200."""
        pairs = sorted(holders.items())
        for start in range(0, len(pairs), _HOLDERS_AT_ONCE):
            with self._connected() as connection:
                sql.renew(connection, pairs[start : start + _HOLDERS_AT_ONCE], seconds)

    def list(self, wanted: Filter, *, limit: int = 100, before: int | None = None) -> list[Job]:
        """Return the newest jobs that `wanted` admits, by queries that an index answers."""
        with self._connected() as connection:
            return sql.newest(connection, wanted, limit, before)

    def prune(self, older_than: float, *, limit: int = 1_000) -> int:
        """Delete jobs that ended long enough ago, the oldest first, by one statement."""
        with self._connected() as connection:
            return sql.delete_oldest(connection, older_than, limit)

    def remove(self, jobs: Collection[Job]) -> int:
        """Delete the records of these jobs that still have these versions, by one statement."""
        if not jobs:
            return 0
        with self._connected() as connection:
            return sql.delete(connection, jobs)

    def locked(self, job_ids: Collection[str]) -> Collection[str]:
        """Return those of these jobs with locked rows, by two queries; none if the database cannot tell."""
        with self._connected() as connection:
            return sql.locked(connection, job_ids)

    def waits_for_caller(self) -> bool:
        """Return whether this is inside `atomic()` on SQLite, where a transaction locks the whole database."""
        connection = connections[self.using]
        return connection.vendor == "sqlite" and connection.in_atomic_block

    def claim_thread(self) -> None:
        """Give the calling thread a connection of its own that never waits for long."""
        self.release_thread()
        self._own[_this_thread()] = claimed_connection(connections[self._using])

    def release_thread(self) -> None:
        """Close the calling thread's own connection."""
        own = self._own.pop(_this_thread(), None)
        if own is not None:
            own.close()

    def close(self) -> None:
        """Close the calling thread's own connection.

        Connections inherited over a fork are kept, unused: some drivers end the server's session when one is deleted.
        """
        self.release_thread()

    def _connection(self) -> Connection:
        """Return the calling thread's own connection, or Django's."""
        return self._own.get(_this_thread()) or connections[self.using]

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        """Yield the connection, for one statement; raise all but conflicts and bad values as `StoreUnavailable`."""
        own = self._own.get(_this_thread())
        connection = own or connections[self.using]
        try:
            with own.limited() if own else self._savepoint(connection):
                yield connection
        except (IntegrityError, DataError):
            raise  # a conflict, or a value that a retry will not make acceptable
        except Error as error:
            _close_if_dead(connection, is_own=own is not None)
            if sql.refuses_value(connection, error):
                raise DataError(*error.args) from error
            raise StoreUnavailable(self._explain(error)) from error

    def _savepoint(self, connection: Connection) -> AbstractContextManager[None]:
        return transaction.atomic(using=self.using) if connection.in_atomic_block else nullcontext()

    def _explain(self, error: Error) -> str:
        is_about_sql = isinstance(error, ProgrammingError) and not isinstance(error, TransactionManagementError)
        if is_about_sql or "no such" in str(error):
            return (
                f"The table {sql.TABLE} in the database {self.using!r} cannot be used ({error}); "
                f"if it is missing or old, run: manage.py migrate immortus_channels --database={self.using}"
            )
        return f"The database {self.using!r} failed: {error}"

    def _replace(self, before: Job | None, after: Job, guessed: int | None) -> Reading | None:
        """Write `after` by one statement with `before` in its conditions; return what is there if they do not hold."""
        try:
            with self._connected() as connection:
                if before is None:
                    found = sql.insert(connection, after, guessed)
                else:
                    found = sql.compare_and_set(connection, before, after, guessed)
                return None if found is None else _reading(*found)
        except IntegrityError:  # there is a record, and this database cannot answer with it
            return self.get_many([after.job_id])

    def _prune_a_little(self, after: Job) -> None:
        """Prune, unless in the caller's transaction."""
        if not self._connection().in_atomic_block:
            super()._prune_a_little(after)


def _reading(now: int, rows: Iterable[sql.Row]) -> Reading:
    return reading_of(now, ((row[0], partial(sql.to_job, *row[1:])) for row in rows))


# Connections


def _this_thread() -> tuple[int, int]:
    return os.getpid(), threading.get_ident()


def _close_if_dead(connection: Connection, *, is_own: bool) -> None:
    """After an error, close the connection if it is no longer usable, so that the next call opens a new one."""
    is_open = connection.connection is not None and not connection.in_atomic_block
    if is_own or (is_open and not connection.is_usable()):
        connection.close()
