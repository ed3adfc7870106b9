"""Where the jobs of a SQLite database are now."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from django.db import Error, connections

from immortus_channels.conf import is_inline
from immortus_channels.stores.sqlite.file import JobsFile, look, register
from immortus_channels.stores.sqlite.pool import Pool

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper as Connection


class Place:
    """Asks the database now and then: it may be made anew or migrated, and its file lost, while processes run."""

    EVERY = 5.0
    """Seconds from one look to the next."""

    def __init__(self, database: str) -> None:
        """Nothing is known before the first look into the database of this alias."""
        self._database = database
        self._turn = threading.Lock()
        self._look_at = 0.0
        self._pool: Pool | None = None

    def pool(self) -> Pool | None:
        """The connections to the file; None where the database keeps its jobs itself.

        Raises StoreUnavailable when the file is missing, and what the database raises when it was never heard.
        """
        if is_inline():
            return None
        if time.monotonic() >= self._look_at:
            with self._turn:
                if time.monotonic() >= self._look_at:
                    self._look()
        return self._pool

    def forked(self) -> None:
        """In the child: connections are the parent's, and one of its threads may have held the lock."""
        self._turn = threading.Lock()
        if self._pool is not None:
            self._pool.close()

    def _look(self) -> None:
        """What the database said last counts while it does not answer."""
        database = connections[self._database]
        try:
            path, key = look(database)
        except Error:
            if not self._look_at:
                raise
        else:
            self._look_at = 0.0
            self._turn_to(None if path is None or not key else JobsFile(database=path, key=key), database)
        self._look_at = time.monotonic() + self.EVERY

    def _turn_to(self, file: JobsFile | None, database: Connection) -> None:
        old = self._pool
        if file is None:
            self._pool = None
        elif old is None or not old.is_of(file):
            register(file, database)
            self._pool = Pool(file)
        if old is not None and old is not self._pool:
            old.close()
