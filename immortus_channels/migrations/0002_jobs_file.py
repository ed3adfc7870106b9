"""The key of the file that keeps the jobs of a SQLite database; `migrate` makes the file once this is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from django.db import migrations, models

if TYPE_CHECKING:
    from django.apps.registry import Apps
    from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def take_back(_apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """On the way back, put the jobs into the database again, and delete the file."""
    from immortus_channels.stores.sqlite import migration  # noqa: PLC0415 - it needs the app registry

    migration.take_back(schema_editor.connection)


class Migration(migrations.Migration):
    """Make the table of the key; on the way back, return the jobs first."""

    dependencies: ClassVar[list[tuple[str, str]]] = [("immortus_channels", "0001_initial")]

    operations: ClassVar[list[migrations.operations.base.Operation]] = [
        migrations.CreateModel(
            name="JobsFileKey",
            fields=[
                ("id", models.PositiveSmallIntegerField(primary_key=True, serialize=False)),
                ("key", models.CharField(max_length=32)),
            ],
            options={"base_manager_name": "objects", "default_permissions": ()},
        ),
        migrations.RunPython(migrations.RunPython.noop, take_back),
    ]
