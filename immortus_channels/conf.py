"""The settings, one annotated line each; every access reads Django's settings again."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from django.conf import settings as django_settings

from immortus_channels.jobs.lifecycle import SECOND, Leases

DAY = 86_400.0


class Settings:
    """The package's settings: `settings.X` is Django's `IMMORTUS_X`, or the default below. Times are seconds."""

    STORE: Mapping[str, Any] = {"BACKEND": "database", "OPTIONS": {}}
    TRACKING_STRATEGY: str | type | None = None
    ACCESS: str = "owner"
    CHANNEL_LAYER: str = "default"
    WEBSOCKET: bool = True
    ALLOWED_ORIGINS: tuple[str, ...] = ()
    LIMITS: Mapping[str, float] = {}
    FLUSH_INTERVAL: float = 0.2
    RECHECK_INTERVAL: float = 5.0
    STALLED_AFTER: float = 15.0
    LOST_AFTER: float = 60.0
    RETENTION: float = 7 * DAY
    DRAIN: float = 5.0
    METRICS_TOKEN: str | None = None
    REDIRECT_HOSTS: tuple[str, ...] = ()
    INLINE: bool | None = None
    NAMESPACE: str | Callable[..., str] | None = None

    def __getattribute__(self, name: str) -> Any:
        default = super().__getattribute__(name)
        return getattr(django_settings, f"IMMORTUS_{name}", default) if name.isupper() else default


settings = Settings()


def leases() -> Leases:
    """Return how long silence is tolerated, by the present settings."""
    stalled, lost = settings.STALLED_AFTER, settings.LOST_AFTER
    return Leases(running=int(stalled * SECOND), stalled=max(int((lost - stalled) * SECOND), 0))


def is_strict() -> bool:
    """Whether a mistake in a task is raised rather than logged: in DEBUG, and where jobs are written inline."""
    return django_settings.DEBUG or is_inline()


def is_inline() -> bool:
    """Whether jobs are written in the caller's thread and transaction, as tests need it: `IMMORTUS_INLINE` says so.

    None stands for a guess: whether Django's own test environment is set up, as its test runner and pytest-django do.
    `mail.outbox` would not tell: the locmem backend makes it in a server that sends its first mail, too.
    """
    if settings.INLINE is not None:
        return bool(settings.INLINE)
    utils = sys.modules.get("django.test.utils")
    return hasattr(getattr(utils, "_TestState", None), "saved_data")
