"""Where the jobs of a SQLite database are now."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from django.db import Error, connections

from immortus_channels.conf import is_inline
from immortus_channels.stores.sqlite.file import JobsFile, path_and_key, register
from immortus_channels.stores.sqlite.pool import Pool

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper as Connection


class Place:
    """Asks the database now and then: it may be recreated or migrated, and its file lost, while processes run."""

    EVERY = 5.0
    """Seconds from one query to the next."""

    def __init__(self, database: str) -> None:
        """Begin without having asked the database of this alias."""
        self._database = database
        self._turn = threading.Lock()
        self._ask_at = 0.0
        self._pool: Pool | None = None

    def pool(self) -> Pool | None:
        """Return the connections to the file; None if the database keeps its jobs itself.

        Raises StoreUnavailable if the file is missing, and what the database raises if it has never answered.
        """
        if is_inline():
            return None
        if time.monotonic() >= self._ask_at:
            with self._turn:
                if time.monotonic() >= self._ask_at:
                    self._ask()
        return self._pool

    def after_fork(self) -> None:
        """Replace, in a child after fork, the parent's connections and the lock, which one of its threads may hold."""
        self._turn = threading.Lock()
        if self._pool is not None:
            self._pool.close()

    def _ask(self) -> None:
        """Ask the database; while it does not answer, its last answer counts."""
        database = connections[self._database]
        try:
            path, key = path_and_key(database)
        except Error:
            if not self._ask_at:
                raise
        else:
            self._ask_at = 0.0
            self._switch_to(None if path is None or not key else JobsFile(database=path, key=key), database)
        self._ask_at = time.monotonic() + self.EVERY

    def _switch_to(self, file: JobsFile | None, database: Connection) -> None:
        old = self._pool
        if file is None:
            self._pool = None
        elif old is None or not old.is_of(file):
            register(file, database)
            self._pool = Pool(file)
        if old is not None and old is not self._pool:
            old.close()
