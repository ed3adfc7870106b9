"""Keeps every text of the table as it was written, however a MySQL or MariaDB database was made."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from django.db import migrations

from immortus_channels.models import exact_collation

if TYPE_CHECKING:
    from django.apps.registry import Apps
    from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def convert(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    connection = schema_editor.connection
    collation = exact_collation(connection)
    if collation is None:
        return
    table = apps.get_model("immortus_channels", "JobRecord")._meta.db_table  # noqa: SLF001 - Django's documented API
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT COUNT(*) FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = %s "
            "AND collation_name <> %s",
            [table, collation],
        )
        if cursor.fetchone()[0]:
            schema_editor.execute(f"ALTER TABLE {table} CONVERT TO CHARACTER SET utf8mb4 COLLATE {collation}")


class Migration(migrations.Migration):
    """Convert the table that an earlier release has made in MySQL or MariaDB; others have nothing to convert."""

    dependencies: ClassVar[list[tuple[str, str]]] = [("immortus_channels", "0002_jobs_file")]

    operations: ClassVar[list[migrations.operations.base.Operation]] = [
        migrations.RunPython(convert, migrations.RunPython.noop, atomic=False, elidable=True),
    ]
