"""Whether there is a store that serves every process."""

from __future__ import annotations

from django.core.checks import Error

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
            f"IMMORTUS_STORE is {settings.STORE!r}, which every process has for itself: what a worker says of its jobs "
            "reaches no page.",
            hint='Use {"BACKEND": "database"} or "redis"; "memory" is for tests, and for queues that run jobs at once '
            "(CELERY_TASK_ALWAYS_EAGER).",
            id=f"{ID}.E005",
        )
