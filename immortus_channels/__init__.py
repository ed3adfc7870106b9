"""Live background jobs for Django: the browser shows what a task queue runs, as it happens.

Everything is loaded on first use: this package stands in INSTALLED_APPS, so importing it must not import models.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from immortus_channels.access.revocation import revoke_access
    from immortus_channels.access.tokens import access_token
    from immortus_channels.api.job import JobHandle
    from immortus_channels.api.job_handler import JobHandler
    from immortus_channels.api.job_state import JobState
    from immortus_channels.api.repository import JobRepository, aget_job, current_job, get_job
    from immortus_channels.api.shortcuts import job_info, job_page_url, render_immortus
    from immortus_channels.api.strategy import TrackingStrategy
    from immortus_channels.exceptions import (
        ConfigurationError,
        DocumentTooLarge,
        HandlerNotFound,
        ImmortusError,
        InvalidValue,
        JobCancelled,
        JobExists,
        JobFailed,
        JobNotFound,
        JobRunning,
        ReservedMetaKey,
        StoreNotFound,
        StoreUnavailable,
        StrategyNotFound,
        UnreadableRecord,
    )
    from immortus_channels.jobs.owner import started_by
    from immortus_channels.queues.tracked import tracked
    from immortus_channels.tracking.strategies import get_strategy

__version__ = "0.1.0"

__all__ = [
    "ConfigurationError",
    "DocumentTooLarge",
    "HandlerNotFound",
    "ImmortusError",
    "InvalidValue",
    "JobCancelled",
    "JobExists",
    "JobFailed",
    "JobHandle",
    "JobHandler",
    "JobNotFound",
    "JobRepository",
    "JobRunning",
    "JobState",
    "ReservedMetaKey",
    "StoreNotFound",
    "StoreUnavailable",
    "StrategyNotFound",
    "TrackingStrategy",
    "UnreadableRecord",
    "access_token",
    "aget_job",
    "current_job",
    "get_job",
    "get_strategy",
    "job_info",
    "job_page_url",
    "render_immortus",
    "revoke_access",
    "started_by",
    "tracked",
]

_HOMES = {
    "JobHandle": "api.job",
    "JobHandler": "api.job_handler",
    "JobRepository": "api.repository",
    "JobState": "api.job_state",
    "TrackingStrategy": "api.strategy",
    "access_token": "access.tokens",
    "aget_job": "api.repository",
    "current_job": "api.repository",
    "get_job": "api.repository",
    "get_strategy": "tracking.strategies",
    "job_info": "api.shortcuts",
    "job_page_url": "api.shortcuts",
    "render_immortus": "api.shortcuts",
    "revoke_access": "access.revocation",
    "started_by": "jobs.owner",
    "tracked": "queues.tracked",
}
"""The modules of what is not an exception."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'exceptions')}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
