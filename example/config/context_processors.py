"""What all templates know."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest

from queues.base import Queue


def queue(_request: HttpRequest) -> dict[str, Queue]:
    """Return the task queue, which some words of the pages depend on."""
    return {"queue": settings.DEMO_QUEUE}
