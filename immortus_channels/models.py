"""The tables of the database store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _

from immortus_channels.keys import MAX_KEY, name_in

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

    CharColumn = models.CharField[Any, Any]
    TextColumn = models.TextField[Any, Any]
else:
    CharColumn = models.CharField
    TextColumn = models.TextField

ALL_NAMESPACES = "view_jobs_of_all_namespaces"
"""The permission of users of the namespace "" to work with every job in the admin."""

_STATES = {
    "enqueued": _("enqueued"),
    "running": _("running"),
    "retrying": _("retrying"),
    "finished": _("finished"),
    "failed": _("failed"),
    "cancelled": _("cancelled"),
    "lost": _("lost"),
}


def exact_collation(connection: BaseDatabaseWrapper) -> str | None:
    """Return the collation by which a text equals only itself; None if the database needs none for that.

    The usual ones of MySQL and MariaDB take `a` and `A` for one job, their older binary ones `a` and `a ` as well. Each
    implies its character set, which holds every character, whatever the database was created with.
    """
    server: Any = connection
    if connection.vendor != "mysql":
        return None
    if server.mysql_is_mariadb:
        return "utf8mb4_nopad_bin"
    return "utf8mb4_0900_bin" if server.mysql_version >= (8, 0, 17) else "utf8mb4_bin"


class ExactCharField(CharColumn):
    """Text that every database compares byte for byte."""

    def db_parameters(self, connection: BaseDatabaseWrapper) -> Any:
        """Name the collation if the database needs it."""
        return _with_exact_collation(super().db_parameters(connection), connection)


class ExactTextField(TextColumn):
    """Text of any length and any characters on every database."""

    def db_parameters(self, connection: BaseDatabaseWrapper) -> Any:
        """Name the collation if the database needs it."""
        return _with_exact_collation(super().db_parameters(connection), connection)


def _with_exact_collation(parameters: Any, connection: BaseDatabaseWrapper) -> Any:
    collation = exact_collation(connection)
    return parameters if collation is None else {**parameters, "collation": collation}


class JobRecord(models.Model):
    """A job as the database store keeps it; only the store writes it.

    `job_id` and `owner` are keys, which begin with their namespace. `record` is the whole job; `Job.from_record` reads
    it. The other columns are for finding it, except for the two of the lease, which are newer than the lease in the
    record. Times are microseconds since 1970 in UTC.
    """

    job_id = ExactCharField(_("job id"), primary_key=True, max_length=MAX_KEY)
    job_class = ExactCharField(_("job class"), max_length=255)
    state = ExactCharField(_("state"), max_length=16, choices=_STATES)
    owner = ExactCharField(_("owner"), max_length=MAX_KEY, null=True, blank=True)
    version = models.BigIntegerField(_("version"))
    lease_until = models.BigIntegerField(_("lease until"), null=True, blank=True, db_index=True)
    lease_holder = ExactCharField(_("lease holder"), max_length=255, blank=True)
    finished_at = models.BigIntegerField(_("finished at"), null=True, blank=True, db_index=True)
    record = ExactTextField(_("record"))

    class Meta:
        """One index for each way of listing, newest first."""

        verbose_name = _("job")
        verbose_name_plural = _("jobs")
        ordering = ("-version",)
        permissions = ((ALL_NAMESPACES, "Can view the jobs of all namespaces"),)
        indexes = (
            models.Index(fields=["version"], name="immortus_newest"),
            models.Index(fields=["owner", "version"], name="immortus_owner"),
            models.Index(fields=["job_class", "state", "version"], name="immortus_class"),
            models.Index(fields=["state", "version"], name="immortus_state"),
        )

    def __str__(self) -> str:
        """Return a text like a log line."""
        return f"{self.job_class} {name_in(self.job_id)}"


class UndumpedManager(models.Manager["JobsFileKey"]):
    """Finds nothing: what `dumpdata` writes must not bring one database's key to another."""

    def get_queryset(self) -> QuerySet[JobsFileKey]:
        """Return no row, ever; the store reads the table by SQL."""
        return super().get_queryset().none()


class JobsFileKey(models.Model):
    """The key in the name of the file that keeps the jobs of this SQLite database: one row.

    A database that keeps its jobs itself has an empty key, if it was made where jobs are written inline, or no row.
    """

    id = models.PositiveSmallIntegerField(primary_key=True)
    key = models.CharField(max_length=32)

    objects = UndumpedManager()

    class Meta:
        """No permissions: no user works with it."""

        base_manager_name = "objects"
        default_permissions = ()

    def __str__(self) -> str:
        """Return the key."""
        return self.key
