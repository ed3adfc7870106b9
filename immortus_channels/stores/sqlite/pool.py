"""Open connections to the jobs file."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from django.db import connections

from immortus_channels.stores.sqlite.file import JobsFile

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper as Connection

_inherited: list[Connection] = []
"""A parent's connections, kept unused: SQLite forbids a child even to close them."""


class Pool:
    """Lends a connection for one statement in autocommit, to any thread.

    Opening one takes longer than most statements, and Django would do it for each request.
    """

    KEPT = 8

    def __init__(self, file: JobsFile) -> None:
        """Open nothing yet. Raises StoreUnavailable if the file is missing."""
        self.file = file
        self._inode = file.inode
        self._free: deque[Connection] = deque()
        self._pid = os.getpid()

    def is_of(self, file: JobsFile | None) -> bool:
        """Return whether this is the file, and not a replacement of the same name."""
        return file == self.file and file.inode == self._inode

    @contextmanager
    def lend(self) -> Iterator[Connection]:
        """Yield a connection that no other thread uses meanwhile; close it after an error, so that it opens again."""
        try:
            connection = self._free.pop()
        except IndexError:
            connection = self._new()
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        finally:
            connection.queries_log.clear()  # Django clears its own with each request
            self._take_back(connection)

    def _new(self) -> Connection:
        connection: Connection = connections.create_connection(self.file.alias)
        connection.inc_thread_sharing()
        return connection

    def _take_back(self, connection: Connection) -> None:
        if len(self._free) < self.KEPT:
            self._free.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        """Close what is not lent; in a child after fork, forget it."""
        while self._free:
            connection = self._free.pop()
            if self._pid == os.getpid():
                connection.close()
            else:
                _inherited.append(connection)
        if self._pid != os.getpid():
            self._forget_djangos()

    def _forget_djangos(self) -> None:
        """Forget the connection that the forking thread has opened by the alias."""
        for connection in connections.all(initialized_only=True):
            if connection.alias == self.file.alias:
                _inherited.append(connection)
                del connections[self.file.alias]
