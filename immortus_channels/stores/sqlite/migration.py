"""How the jobs file is made: `migrate` creates it, migrates it, and moves the database's own jobs into it."""

from __future__ import annotations

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
from django.db.migrations.loader import MigrationLoader

from immortus_channels.conf import is_inline
from immortus_channels.logs import logger
from immortus_channels.models import JobRecord
from immortus_channels.stores import get_store
from immortus_channels.stores.sqlite.file import APP, KEYS, JobsFile, can_have_one, path_and_key, register
from immortus_channels.stores.sqlite.store import SQLiteStore

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper as Connection

_AT_ONCE = 500
_COLUMNS = [field.attname for field in JobRecord._meta.concrete_fields if not field.primary_key]  # noqa: SLF001


def migrate_file(*, using: str, verbosity: int = 1, stdout: TextIO | None = None, **_: object) -> None:
    """Make and migrate the jobs file of the database `using` after `migrate` or `flush`, if it is to have one.

    A failure is logged, and the database keeps its jobs itself; the project's own migrations stand.
    """
    database = connections[using]
    if not _may_have_one(database) or KEYS not in database.introspection.table_names():
        return
    if is_inline():
        if not _has_file(database):
            _keep("", database)
    elif _is_for_this_store() and _is_migrated(database):
        try:
            is_new = _make(database)
        except (OSError, Error) as error:
            logger.warning(_REFUSED, database.settings_dict["NAME"], error)
            return
        if is_new and verbosity > 0:
            (stdout or sys.stdout).write("  Jobs are kept in a file of their own, beside the database.\n")


_REFUSED = (
    "The file for the jobs of %s cannot be made or migrated (%s). Until it exists, the database keeps its jobs "
    "itself, and each write of a job fails any transaction that has read and not yet written (database is "
    "locked). Allow the user who runs `migrate` to write to the folder, and run it again."
)


def take_back(database: Connection) -> None:
    """Move the jobs of the file back into the database, and delete the file once that is committed."""
    if not _may_have_one(database):
        return
    path, key = path_and_key(database)
    if path is None or not key:
        return
    file = JobsFile(database=path, key=key)
    if not file.path.exists():
        return
    register(file, database)
    for records in _batches(file.alias):
        _copy(records, database.alias)
    connections[file.alias].close()
    transaction.on_commit(partial(_remove, file), using=database.alias)


def _may_have_one(database: Connection) -> bool:
    return database.alias == DEFAULT_DB_ALIAS and can_have_one(database)


def _has_file(database: Connection) -> bool:
    """Whether there is a file of this database's jobs: a project that writes inline for a while is to find it again."""
    with database.cursor() as cursor:
        cursor.execute(f"SELECT key FROM {KEYS} WHERE key <> ''")  # noqa: S608
        if cursor.fetchone() is None:
            return False
    path, key = path_and_key(database)
    return path is not None and key is not None and JobsFile(database=path, key=key).path.exists()


def _is_for_this_store() -> bool:
    try:
        return isinstance(get_store(), SQLiteStore)
    except Exception:  # noqa: BLE001 - a store of the project's own may raise anything; a check reports it
        return False


def _is_migrated(database: Connection) -> bool:
    """Return whether the database has all migrations of this release, and is not on the way to others."""
    loader = MigrationLoader(database)
    newest = loader.graph.leaf_nodes(APP)
    return bool(newest) and set(newest) <= loader.applied_migrations.keys()


def _make(database: Connection) -> bool:
    """Create the file with the database's jobs, unless it exists; return whether it is new. A failed one is deleted."""
    path, key = path_and_key(database)
    if path is None or key == "":
        return False
    file = JobsFile(database=path, key=key or secrets.token_hex(8))
    is_missing = not file.path.exists()
    register(file, database)
    try:
        if is_missing:
            _create(file)
        _migrate(file)
        if key is None:
            _keep(file.key, database)
        _move(database, file)
    except (OSError, Error):
        if is_missing:
            _remove(file)
        raise
    finally:
        connections[file.alias].close()
    return is_missing


def _keep(key: str, database: Connection) -> None:
    """Record in the database where its jobs are; an empty key keeps them in it, whatever process migrates it later."""
    if not key:
        _execute(database, f"DELETE FROM {KEYS}")  # noqa: S608
    _execute(database, f"INSERT INTO {KEYS} (id, key) VALUES (1, %s)", key)  # noqa: S608


def _move(database: Connection, file: JobsFile) -> None:
    for records in _batches(database.alias):
        _copy(records, file.alias)
        JobRecord.objects.using(database.alias).filter(pk__in=[record.pk for record in records]).delete()


def _create(file: JobsFile) -> None:
    """Create the file, in WAL journal mode if possible: some file systems only promise it."""
    for mode in ("WAL", "DELETE"):
        _touch(file)
        try:
            _execute(connections[file.alias], f"PRAGMA journal_mode = {mode}")
            _migrate(file)
        except Error:
            _remove(file)
            if mode == "DELETE":
                raise
        else:
            return


def _touch(file: JobsFile) -> None:
    """Create the file for the users of the database: another user, such as root, may run `migrate`."""
    file.path.touch(exist_ok=False)
    shutil.copymode(file.database, file.path)
    database_stat = file.database.stat()
    with suppress(AttributeError, PermissionError):  # Windows, and a user who owns the database only by its group
        os.chown(file.path, database_stat.st_uid, database_stat.st_gid)


def _remove(file: JobsFile) -> None:
    connections[file.alias].close()
    for suffix in ("", "-wal", "-shm", "-journal"):
        with suppress(OSError):
            Path(f"{file.path}{suffix}").unlink()


def _migrate(file: JobsFile) -> None:
    executor = MigrationExecutor(connections[file.alias])
    newest = executor.loader.graph.leaf_nodes(APP)
    if executor.migration_plan(newest):
        executor.migrate(newest)


def _batches(alias: str) -> Iterator[list[JobRecord]]:
    last = ""
    while records := list(JobRecord.objects.using(alias).filter(pk__gt=last).order_by("pk")[:_AT_ONCE]):
        yield records
        last = records[-1].pk


def _copy(records: Collection[JobRecord], alias: str) -> None:
    """Copy each record unless the target has a newer one."""
    there = JobRecord.objects.using(alias)
    versions = dict(there.filter(pk__in=[record.pk for record in records]).values_list("pk", "version"))
    newer = [record for record in records if record.version > versions.get(record.pk, -1)]
    there.bulk_create(newer, update_conflicts=True, unique_fields=["job_id"], update_fields=_COLUMNS)


def _execute(connection: Connection, sql: str, *parameters: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
