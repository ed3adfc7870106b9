"""`manage.py prune_jobs`: forget jobs that ended long ago."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from immortus_channels.access.deleted_users import forget_namespace_now, forget_now
from immortus_channels.conf import settings
from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.jobs import namespaces
from immortus_channels.jobs.owner import named_by
from immortus_channels.stores import get_store

BATCH = 1000


class Command(BaseCommand):
    """Deletes in batches, so that no other client waits long for a lock."""

    help = "Deletes the records of jobs over for longer than IMMORTUS_RETENTION, or all of an owner or a namespace."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add `--older-than`, in place of the setting, and `--owner`."""
        parser.add_argument(
            "--older-than",
            type=float,
            metavar="SECONDS",
            help=f"how long a job must have been over (default: IMMORTUS_RETENTION, {settings.RETENTION})",
        )

        parser.add_argument(
            "--owner",
            metavar="KEY",
            help="forget all jobs of this owner instead (a user's primary key, or shop.customer:17 of another model); "
            "those that are not over lose their owner",
        )

        parser.add_argument(
            "--namespace",
            metavar="NAME",
            help="with --owner: the owner's namespace (default: the one in force); with --all: the one to empty",
        )

        parser.add_argument(
            "--all",
            action="store_true",
            dest="wholly",
            help="with --namespace: delete all its jobs, those that are not over too",
        )

    def handle(
        self,
        *_args: object,
        older_than: float | None = None,
        owner: str | None = None,
        namespace: str | None = None,
        wholly: bool = False,
        **_options: Any,
    ) -> None:
        """Delete until nothing old is left, or nothing of the owner; report how many."""
        try:
            if wholly:
                self._empty(namespace, is_alone=owner is None and older_than is None)
            elif owner is None and namespace is not None:
                msg = (
                    "--namespace goes with --owner, or with --all: without them, the old jobs of all namespaces are "
                    "pruned."
                )
                raise CommandError(msg)
            elif owner is None:
                self._prune(older_than)
            else:
                with namespaces.inside(namespaces.current() if namespace is None else namespace):
                    self._forget(owner, older_than)
        except StoreUnavailable as error:
            raise CommandError(str(error)) from error

    def _empty(self, namespace: str | None, *, is_alone: bool) -> None:
        if namespace is None or not is_alone:
            msg = "--all goes with --namespace, and with nothing else: it deletes all jobs of that namespace."
            raise CommandError(msg)
        self.stdout.write(f"{forget_namespace_now(namespace, wholly=True)} jobs of {namespace!r} deleted.")

    def _forget(self, owner: str, older_than: float | None) -> None:
        if not owner or older_than is not None:
            msg = f"--owner {'does not go with --older-than' if owner else 'is empty: it takes a key, such as 17'}."
            raise CommandError(msg)
        count = forget_now(namespaces.here(owner))
        try:
            is_known = count > 0 or _has_user(owner)
        except ValidationError as error:
            msg = f"No job has the owner {owner!r}, which is not a primary key: --owner takes a key such as 17."
            raise CommandError(msg) from error
        self.stdout.write(f"{count} jobs of {owner!r} forgotten.")
        if not is_known:
            self.stdout.write(f"No user has the primary key {owner!r}: --owner takes a key, not a name.")

    def _prune(self, older_than: float | None) -> None:
        age = settings.RETENTION if older_than is None else older_than
        if not 0 <= age < float("inf"):
            msg = f"--older-than is {age}; it must be a finite number of seconds that is not negative."
            raise CommandError(msg)
        self.stdout.write(f"{_prune(age)} jobs pruned.")


def _has_user(owner: str) -> bool:
    """Return whether a user has this key. Raises ValidationError for a text that cannot be a primary key."""
    try:
        model, primary_key = named_by(owner)
    except ImproperlyConfigured:  # a project may do without that model
        return True
    key = model._meta.pk.to_python(primary_key)  # noqa: SLF001 - Django's name
    return model._default_manager.filter(pk=key).exists()  # noqa: SLF001 - likewise


def _prune(age: float) -> int:
    gone = 0
    while batch := get_store().prune(age, limit=BATCH):
        gone += batch
    return gone
