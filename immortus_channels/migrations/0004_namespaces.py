"""Keys with room for a namespace before the id, and the permission to work with the jobs of all namespaces."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from django.db import migrations

from immortus_channels.models import ExactCharField

if TYPE_CHECKING:
    from django.db.backends.base.schema import BaseDatabaseSchemaEditor
    from django.db.migrations.state import ProjectState


class Lengthen(migrations.AlterField):
    """Make a text longer; SQLite, which has no lengths, would copy the whole table."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        """Change the column where the database has lengths."""
        if schema_editor.connection.vendor != "sqlite":
            super().database_forwards(app_label, schema_editor, from_state, to_state)


class Migration(migrations.Migration):
    """Lengthen the columns that hold keys."""

    dependencies: ClassVar[list[tuple[str, str]]] = [("immortus_channels", "0003_exact_text")]

    operations: ClassVar[list[migrations.operations.base.Operation]] = [
        Lengthen(
            model_name="jobrecord",
            name="job_id",
            field=ExactCharField(max_length=319, primary_key=True, serialize=False, verbose_name="job id"),
        ),
        Lengthen(
            model_name="jobrecord",
            name="owner",
            field=ExactCharField(blank=True, max_length=319, null=True, verbose_name="owner"),
        ),
        migrations.AlterModelOptions(
            name="jobrecord",
            options={
                "ordering": ("-version",),
                "permissions": (("view_jobs_of_all_namespaces", "Can view the jobs of all namespaces"),),
                "verbose_name": "job",
                "verbose_name_plural": "jobs",
            },
        ),
    ]
