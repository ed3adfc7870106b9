"""What the message of a Celery task says, as the worker has it in the task's request."""

from __future__ import annotations

from typing import Any

from immortus_channels.queues.celery.marks import HEADER, OWNER
from immortus_channels.queues.messages import key_in, namespace_in


def header_of(request: Any, name: str) -> Any:
    """Return a header of the message that a task was sent with; None if it has none."""
    return getattr(request, name, None) or (getattr(request, "headers", None) or {}).get(name)


def key_for(request: Any, task_id: Any) -> Any:
    """Return the key of the job of a task that a worker has, by the headers that the task was sent with."""
    return key_in(namespace_in(header_of(request, HEADER), header_of(request, OWNER)), task_id)
