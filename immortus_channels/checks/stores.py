"""Whether there is a store that serves every process."""

from __future__ import annotations

from collections.abc import Mapping

from django.conf import settings as django_settings
from django.core.checks import Error, Info

from immortus_channels.checks.finding import ID, Findings, jobs_run_elsewhere, told, without_passwords
from immortus_channels.conf import settings
from immortus_channels.stores import get_store


def check_store() -> Findings:
    """Whether there is a store, and one that workers share."""
    try:
        store = get_store()
    except Exception as error:  # noqa: BLE001 - a store of the project's own may raise anything
        yield Error(
            f"IMMORTUS_STORE is {without_passwords(settings.STORE)!r}, which cannot be used: {told(error)}",
            hint='For example {"BACKEND": "database"}, or {"BACKEND": "redis", "OPTIONS": {"url": "redis://…"}} after '
            "`pip install immortus-channels[redis]`.",
            id=f"{ID}.E004",
        )
        return
    if not store.is_shared and jobs_run_elsewhere():
        yield Error(
            f"IMMORTUS_STORE is {without_passwords(settings.STORE)!r}, which every process has for itself: what a "
            "worker says of its jobs reaches no page.",
            hint='Use {"BACKEND": "database"} or "redis"; "memory" is for tests, and for queues that run jobs at once '
            "(CELERY_TASK_ALWAYS_EAGER).",
            id=f"{ID}.E005",
        )


def check_sqlite() -> Findings:
    """Whether tasks on SQLite can be followed without getting into each other's transactions."""
    store: object = settings.STORE
    if not isinstance(store, Mapping) or store.get("BACKEND", "database") != "database":
        return
    alias = store.get("OPTIONS", {}).get("using", "default")
    database = django_settings.DATABASES.get(alias, {})
    is_sqlite = database.get("ENGINE") == "django.db.backends.sqlite3"
    if is_sqlite and jobs_run_elsewhere() and database.get("OPTIONS", {}).get("transaction_mode") != "IMMEDIATE":
        yield Info(
            f"Transactions of the SQLite database {alias!r} begin without the lock to write, so a task that reads and "
            "later writes in one of them fails (database is locked) when anybody writes meanwhile, its own progress "
            "included.",
            hint=f'DATABASES[{alias!r}]["OPTIONS"] = {{"transaction_mode": "IMMEDIATE", "timeout": 20}}, and '
            '"init_command": "PRAGMA journal_mode=WAL"; or a database server.',
            id=f"{ID}.I001",
        )
