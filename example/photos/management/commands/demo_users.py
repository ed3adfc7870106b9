"""`manage.py demo_users`: two people who may try to look at each other's jobs."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError

NAMES = ("alice", "bob")
PASSWORD = "immortus"  # noqa: S105 - printed on the login page: the demo listens on this machine only


class Command(BaseCommand):
    """Create alice and bob, once."""

    help = "Creates the demo users alice and bob. Their password is on the login page, so: in DEBUG only."

    def handle(self, **_options: Any) -> None:
        """Create whom the database does not know yet."""
        if not settings.DEBUG:
            raise CommandError("The demo users are for DEBUG only: their password is known to all.")
        users = get_user_model().objects
        for name in NAMES:
            if not users.filter(username=name).exists():
                users.create_user(name, password=PASSWORD)
