"""The store of a project whose default database is SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from django.db import DEFAULT_DB_ALIAS, DataError, Error, IntegrityError, connections

from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.jobs.job import Job
from immortus_channels.stores.database import DatabaseStore
from immortus_channels.stores.sqlite.file import can_have_one
from immortus_channels.stores.sqlite.place import Place
from immortus_channels.stores.sqlite.pool import Pool

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper as Connection


def database_store(using: str | None = None) -> DatabaseStore:
    """Return the store in the database `using`, or in the default one; beside that, in a file, if it is SQLite."""
    has_file = using is None and can_have_one(connections[DEFAULT_DB_ALIAS])
    return SQLiteStore() if has_file else DatabaseStore(using or DEFAULT_DB_ALIAS)


class SQLiteStore(DatabaseStore):
    """Keeps jobs in the file beside a database that its key names, or in the database itself if it has no key.

    A database in memory has no key, nor has a test runner's: any process that opens it finds its jobs in it.
    """

    def __init__(self, database: str = DEFAULT_DB_ALIAS) -> None:
        """Begin without having asked the database."""
        super().__init__(database)
        self._place = Place(database)

    @property
    def using(self) -> str:
        """The alias in Django's `connections` of the file, or of the database. Raises StoreUnavailable."""
        pool = self._file_pool()
        return self._using if pool is None else pool.file.alias

    @property
    def path(self) -> Path | None:
        """The file; None if the database keeps the jobs itself. Raises StoreUnavailable."""
        pool = self._file_pool()
        return None if pool is None else pool.file.path

    def waits_for_caller(self) -> bool:
        """Return whether this is inside `atomic()` without a file, or while that is not known."""
        if not connections[self._using].in_atomic_block:
            return False
        try:
            return self._file_pool() is None
        except StoreUnavailable:
            return True

    def close(self) -> None:
        """Leave the parent's connections to the parent."""
        super().close()
        self._place.after_fork()

    def _file_pool(self) -> Pool | None:
        """Return the connections to the file; None if the database keeps the jobs itself."""
        try:
            return self._place.pool()
        except Error as error:
            msg = (
                f"The database {self._using!r} does not say where its jobs are ({error}); "
                "if it is not migrated, run: manage.py migrate immortus_channels"
            )
            raise StoreUnavailable(msg) from error

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        """Yield a connection, for one statement; raise all but conflicts and bad values as `StoreUnavailable`."""
        pool = self._file_pool()
        if pool is None:
            with super()._connected() as connection:
                yield connection
            return
        try:
            with pool.lend() as connection:
                yield connection
        except (IntegrityError, DataError):
            raise
        except Error as error:
            msg = f"{pool.file.path}, which keeps the jobs, failed: {error}"
            hint = "; if it is old, run: manage.py migrate immortus_channels" if "no such" in str(error) else ""
            raise StoreUnavailable(msg + hint) from error

    def _prune_a_little(self, after: Job) -> None:
        """Prune, also inside the caller's transaction, which does not include the file."""
        if self._file_pool() is None:
            super()._prune_a_little(after)
        else:
            super(DatabaseStore, self)._prune_a_little(after)
