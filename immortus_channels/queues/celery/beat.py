"""Celery's beat: jobs that it sends are nobody's, and so for staff only."""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar

from immortus_channels.loading import when_imported
from immortus_channels.queues.hooks import around

is_sending: ContextVar[bool] = ContextVar("immortus_beat_is_sending", default=False)
"""Whether the calling code runs for a task that is due by a schedule."""


def connect() -> None:
    """Note what beat sends, once there is one in this process."""
    when_imported("celery.beat", _watch)


def _watch() -> None:
    from celery.beat import Scheduler  # noqa: PLC0415 - only beat's process imports it

    around(Scheduler, apply_async=_note_sending)


def _note_sending(*_: object, **__: object) -> Iterator[None]:
    token = is_sending.set(True)
    yield
    is_sending.reset(token)
