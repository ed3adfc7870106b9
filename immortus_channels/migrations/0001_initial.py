"""The table of the database store."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models

from immortus_channels.models import ExactCharField, ExactTextField


class Migration(migrations.Migration):
    """Create it."""

    initial = True
    dependencies: ClassVar[list[tuple[str, str]]] = []

    operations: ClassVar[list[migrations.operations.base.Operation]] = [
        migrations.CreateModel(
            name="JobRecord",
            fields=[
                (
                    "job_id",
                    ExactCharField(
                        max_length=255,
                        primary_key=True,
                        serialize=False,
                        verbose_name="job id",
                    ),
                ),
                ("job_class", ExactCharField(max_length=255, verbose_name="job class")),
                (
                    "state",
                    ExactCharField(
                        choices=[
                            ("enqueued", "enqueued"),
                            ("running", "running"),
                            ("retrying", "retrying"),
                            ("finished", "finished"),
                            ("failed", "failed"),
                            ("cancelled", "cancelled"),
                            ("lost", "lost"),
                        ],
                        max_length=16,
                        verbose_name="state",
                    ),
                ),
                ("owner", ExactCharField(blank=True, max_length=255, null=True, verbose_name="owner")),
                ("version", models.BigIntegerField(verbose_name="version")),
                (
                    "lease_until",
                    models.BigIntegerField(blank=True, db_index=True, null=True, verbose_name="lease until"),
                ),
                (
                    "lease_holder",
                    ExactCharField(blank=True, max_length=255, verbose_name="lease holder"),
                ),
                (
                    "finished_at",
                    models.BigIntegerField(blank=True, db_index=True, null=True, verbose_name="finished at"),
                ),
                ("record", ExactTextField(verbose_name="record")),
            ],
            options={
                "verbose_name": "job",
                "verbose_name_plural": "jobs",
                "ordering": ("-version",),
                "indexes": [
                    models.Index(fields=["version"], name="immortus_newest"),
                    models.Index(fields=["owner", "version"], name="immortus_owner"),
                    models.Index(fields=["job_class", "state", "version"], name="immortus_class"),
                    models.Index(fields=["state", "version"], name="immortus_state"),
                ],
            },
        ),
    ]
