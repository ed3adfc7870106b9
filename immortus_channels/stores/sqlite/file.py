"""Which file keeps the jobs of a SQLite database, and how Django knows it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from django.db import connections, router

from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.models import JobsFileKey

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper as Connection

APP = "immortus_channels"
KEYS = JobsFileKey._meta.db_table  # noqa: SLF001 - Django's documented API
TIMEOUT = 2
"""Seconds that a statement waits for a lock of the file."""
_PATIENCE = 0.1
"""Seconds that a query for the key waits for the database's lock: the calling thread itself may hold it."""
_PREFIX = "immortus."


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsFile:
    """The file beside a SQLite database that keeps that database's jobs."""

    database: Path
    """Absolute, as SQLite names it."""
    key: str
    """A random text that the database keeps: a database that is deleted and made again has another key and file."""

    @property
    def path(self) -> Path:
        """Where the file is, or is to be."""
        return self.database.with_name(f"{self.database.name}-jobs-{self.key}")

    @property
    def alias(self) -> str:
        """The file's name in Django's `connections`."""
        return f"{_PREFIX}{self.key}"

    @property
    def inode(self) -> tuple[int, int]:
        """Device and inode, which tell the file from another of its name. Raises StoreUnavailable if it is missing."""
        try:
            found = self.path.stat()
        except OSError as error:
            msg = (
                f"{self.path}, which keeps the jobs of {self.database.name}, cannot be reached here "
                f"({error.strerror}). Processes that share the database must share its folder; if the file is "
                "lost, run: manage.py migrate immortus_channels"
            )
            raise StoreUnavailable(msg) from error
        return found.st_dev, found.st_ino


def can_have_one(database: Connection) -> bool:
    """Return whether this is Django's SQLite: similar databases, encrypted or remote, keep their jobs themselves."""
    if database.vendor != "sqlite":
        return False
    from django.db.backends.sqlite3 import base  # noqa: PLC0415 - if Python has no SQLite, it cannot be imported

    return getattr(database, "Database", None) is base.DatabaseWrapper.Database


def path_and_key(ordinary: Connection) -> tuple[Path | None, str | None]:
    """Return this SQLite database's path, None in memory, and its key: None or empty if it keeps its jobs itself.

    Read through a connection of its own: the ordinary one may be in a transaction, and the read would join it. Raises
    what the database raises, for instance if it is not migrated.
    """
    if ordinary.is_in_memory_db():  # type: ignore[attr-defined]
        return None, None
    with _open(ordinary) as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT file, (SELECT key FROM {KEYS}) FROM pragma_database_list WHERE name = 'main'")  # noqa: S608
        path, key = cursor.fetchone()
    return (Path(path) if path else None), key


@contextmanager
def _open(ordinary: Connection) -> Iterator[Connection]:
    ordinary_settings = ordinary.settings_dict
    patient = {**ordinary_settings, "OPTIONS": {**ordinary_settings["OPTIONS"], "timeout": _PATIENCE}}
    with closing(type(ordinary)(patient, ordinary.alias)) as connection:
        yield connection


def register(file: JobsFile, ordinary: Connection) -> None:
    """Add the file to `connections`, as `DATABASES` does not list it; it has the engine of its database."""
    if file.alias not in connections.settings:
        # A copy: Django's own dict is the setting itself.
        connections.settings = {**connections.settings, file.alias: _settings(file, ordinary)}
    if not any(isinstance(known, JobsFileRouter) for known in router.routers):
        router.routers.insert(0, JobsFileRouter())


def _settings(file: JobsFile, ordinary: Connection) -> dict[str, Any]:
    theirs = ordinary.settings_dict
    options = {name: value for name, value in theirs["OPTIONS"].items() if name != "transaction_mode"}
    return {
        **theirs,
        "NAME": _uri(file.path, theirs["NAME"]),
        "OPTIONS": {**options, "timeout": TIMEOUT, "init_command": "PRAGMA synchronous=NORMAL"},
        "ATOMIC_REQUESTS": False,
        "AUTOCOMMIT": True,
        # A test runner that finds the file makes no database for it.
        "TEST": {**theirs["TEST"], "MIRROR": ordinary.alias},
    }


def _uri(path: Path, theirs: object) -> str:
    """Return the file's URI, which opens but never creates it, with the VFS of the database's own URI."""
    query = theirs.partition("?")[2] if isinstance(theirs, str) and theirs.startswith("file:") else ""
    kept = {name: value for name, value in parse_qsl(query) if name in ("vfs", "nolock", "psow")}
    return f"{path.as_uri()}?{urlencode({'mode': 'rw', **kept})}"


class JobsFileRouter:
    """Lets only this app migrate its file, which the project's routers do not know."""

    def allow_migrate(self, db: str, app_label: str, **_: object) -> bool | None:
        """Return whether the app belongs there; None for all other databases."""
        return app_label == APP if db.startswith(_PREFIX) else None
