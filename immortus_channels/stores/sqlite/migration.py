"""How the file of the jobs comes to be: `migrate` makes it, migrates it, and moves the database's own jobs there."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import sys
from collections.abc import Collection, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from django.db import DEFAULT_DB_ALIAS, Error, connections, transaction
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder

from immortus_channels.conf import is_under_test
from immortus_channels.exceptions import StoreNotFound
from immortus_channels.models import JobRecord
from immortus_channels.stores import get_store
from immortus_channels.stores.sqlite.file import APP, KEYS, JobsFile, look, register
from immortus_channels.stores.sqlite.store import SQLiteStore

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper as Connection

logger = logging.getLogger("immortus_channels")

_AT_ONCE = 500
_COLUMNS = [field.attname for field in JobRecord._meta.concrete_fields if not field.primary_key]  # noqa: SLF001


def migrate_file(*, using: str, verbosity: int = 1, stdout: TextIO | None = None, **_: object) -> None:
    """After `migrate` or `flush` of the database `using`: make and migrate the file of its jobs, if it is to have one.

    Where that fails it is logged, and the database keeps its jobs itself; the project's own migrations stand.
    """
    database = connections[using]
    if using != DEFAULT_DB_ALIAS or database.vendor != "sqlite" or KEYS not in database.introspection.table_names():
        return
    if is_under_test():
        _execute(database, f"DELETE FROM {KEYS}")  # noqa: S608
    elif _is_for_this_store():
        path, key = look(database)
        if path is not None and _is_made(path, key, database) and verbosity > 0:
            (stdout or sys.stdout).write("  Jobs are kept in a file of their own, beside the database.\n")


def take_back(database: Connection) -> None:
    """Put the jobs of the file into the database again, and delete the file once that is committed."""
    if database.alias != DEFAULT_DB_ALIAS or database.vendor != "sqlite":
        return
    path, key = look(database)
    if path is None or key is None:
        return
    file = JobsFile(database=path, key=key)
    if not file.path.exists():
        return
    register(file, database)
    for records in _batches(file.alias):
        _copy(records, database.alias)
    connections[file.alias].close()
    transaction.on_commit(partial(_remove, file), using=database.alias)


def _is_for_this_store() -> bool:
    try:
        return isinstance(get_store(), SQLiteStore)
    except StoreNotFound:
        return False


def _is_made(path: Path, key: str | None, database: Connection) -> bool:
    """Whether the file was not there and is now, with the database's jobs; one that was made in vain is gone again."""
    file = JobsFile(database=path, key=key or secrets.token_hex(8))
    is_missing = not file.path.exists()
    register(file, database)
    try:
        if not (_create(file, database) if is_missing else _migrate(file, database)):
            return False
        if key is None:
            _execute(database, f"INSERT INTO {KEYS} (id, key) VALUES (1, %s)", file.key)  # noqa: S608
        _move(database, file)
    except (OSError, Error) as error:
        logger.warning(_REFUSED, file.path, error)
        if is_missing:
            _remove(file)
        return False
    finally:
        connections[file.alias].close()
    return is_missing


def _move(database: Connection, file: JobsFile) -> None:
    for records in _batches(database.alias):
        _copy(records, file.alias)
        JobRecord.objects.using(database.alias).filter(pk__in=[record.pk for record in records]).delete()


_REFUSED = (
    "%s, the file for jobs, cannot be made or migrated (%s). A database without one keeps its jobs itself, and there, "
    "what is written of a job fails a transaction that has read and not yet written (database is locked). Let whoever "
    "runs `migrate` write to the folder, and run it again."
)


def _create(file: JobsFile, database: Connection) -> bool:
    """Make the file, in the journal mode WAL where that can be had, and migrate it; whether it is one for jobs."""
    for mode in ("WAL", "DELETE"):
        _touch(file)
        try:
            _execute(connections[file.alias], f"PRAGMA journal_mode = {mode}")
            return _migrate(file, database)
        except Error:
            if mode == "DELETE":
                raise
            _remove(file)
    return False


def _touch(file: JobsFile) -> None:
    """Make it for whoever may use the database: `migrate` may be run by somebody else, such as root."""
    file.path.touch(exist_ok=False)
    shutil.copymode(file.database, file.path)
    theirs = file.database.stat()
    with suppress(AttributeError, PermissionError):  # Windows, and whoever owns the database only by its group
        os.chown(file.path, theirs.st_uid, theirs.st_gid)


def _remove(file: JobsFile) -> None:
    connections[file.alias].close()
    for suffix in ("", "-wal", "-shm", "-journal"):
        with suppress(OSError):
            Path(f"{file.path}{suffix}").unlink()


def _migrate(file: JobsFile, database: Connection) -> bool:
    """Bring the file to where the database is; not while that is on the way to another release."""
    executor = MigrationExecutor(connections[file.alias])
    newest = executor.loader.graph.leaf_nodes(APP)
    if not newest or not set(newest) <= MigrationRecorder(database).applied_migrations().keys():
        return False
    if executor.migration_plan(newest):
        executor.migrate(newest)
    return True


def _batches(alias: str) -> Iterator[list[JobRecord]]:
    last = ""
    while records := list(JobRecord.objects.using(alias).filter(pk__gt=last).order_by("pk")[:_AT_ONCE]):
        yield records
        last = records[-1].pk


def _copy(records: Collection[JobRecord], alias: str) -> None:
    """Put each there unless a newer one is."""
    there = JobRecord.objects.using(alias)
    versions = dict(there.filter(pk__in=[record.pk for record in records]).values_list("pk", "version"))
    newer = [record for record in records if record.version > versions.get(record.pk, -1)]
    there.bulk_create(newer, update_conflicts=True, unique_fields=["job_id"], update_fields=_COLUMNS)


def _execute(connection: Connection, sql: str, *parameters: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
