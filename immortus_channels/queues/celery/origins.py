"""What the sender of a Celery task knows about its job, and how that travels in the message's headers."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from celery import current_app

from immortus_channels.jobs.events import Origin
from immortus_channels.loading import name_of
from immortus_channels.queues import origins
from immortus_channels.queues.celery.marks import HEADER, OWNER, QUEUE
from immortus_channels.queues.messages import from_header, key_in, namespace_in, to_header
from immortus_channels.queues.moments import due
from immortus_channels.queues.tracked import TaskOptions


def origin_here(options: TaskOptions | None, name: str, args: Any, kwargs: Any, eta: str | None = None) -> Origin:
    """Return what this process knows about a job of the task `name` that it is sending."""
    at = due(datetime.fromisoformat(eta)) if eta else None
    task = current_app.tasks.get(name)
    params = origins.params_of(options, name, task and task.run, args, kwargs) if options else None
    return origins.origin_here(QUEUE, options, eta=at, params=params)


def header_of(request: Any, name: str) -> Any:
    """Return a header of the message that a task was sent with; None if it has none."""
    return getattr(request, name, None) or (getattr(request, "headers", None) or {}).get(name)


def key_for(request: Any, task_id: Any) -> Any:
    """Return the key of the job of a task that a worker has, by the headers that the task was sent with."""
    return key_in(namespace_in(header_of(request, HEADER), header_of(request, OWNER)), task_id)


def origin_of(request: Any, options: TaskOptions, name: str, args: Any, kwargs: Any) -> Origin | None:
    """Return the origin of the job that a worker runs; None if its sender recorded none.

    The worker knows the task, so it settles here how the task may be cancelled and what handles its page.
    """
    header = header_of(request, HEADER)
    if header is None and request.is_eager:
        origin = origin_here(options, name, args, kwargs)
        request.headers = {**(request.headers or {}), HEADER: to_header(origin)}  # `retry()` sends them again
        return origin
    if header is None:
        return None
    origin = from_header(header)
    return replace(origin, cancel=options.cancel, handler=origin.handler or name_of(options.handler))
