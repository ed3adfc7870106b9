"""`manage.py prune_jobs`: forget jobs that ended long ago."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from immortus_channels.conf import settings
from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.stores import get_store

BATCH = 1000


class Command(BaseCommand):
    """Deletes in batches, so that nobody waits long for a lock."""

    help = "Deletes the records of jobs that have been over for longer than IMMORTUS_RETENTION."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take another age than the setting's."""
        parser.add_argument(
            "--older-than",
            type=float,
            metavar="SECONDS",
            help=f"how long a job must have been over (default: IMMORTUS_RETENTION, {settings.RETENTION:g})",
        )

    def handle(self, *_args: object, older_than: float | None = None, **_options: Any) -> None:
        """Delete until nothing old is left; say how many went."""
        age = settings.RETENTION if older_than is None else older_than
        if not age >= 0:
            msg = f"--older-than is {age}; give a number of seconds that is not negative."
            raise CommandError(msg)
        try:
            gone = _prune(age)
        except StoreUnavailable as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{gone} jobs pruned.")


def _prune(age: float) -> int:
    gone = 0
    while batch := get_store().prune(age, limit=BATCH):
        gone += batch
    return gone
