"""What the sender of a Celery task knows of its job, and how that travels in the message's headers."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from inspect import Signature, signature
from typing import Any

from celery import current_app

from immortus_channels.jobs.events import Origin
from immortus_channels.jobs.job import JSON
from immortus_channels.jobs.lifecycle import SECOND
from immortus_channels.loading import name_of
from immortus_channels.queues.tracked import MARK, Named, Tracking, tracking_of
from immortus_channels.writer.run import owner_here
from immortus_channels.writer.values import clean, clean_text

QUEUE = "celery"
HEADER = "immortus"


def mark_of(task: Any) -> Tracking | None:
    """The mark on a task: set on itself, on the function under its decorator, or by its base class."""
    if task is None:
        return None
    mark = vars(task).get(MARK) or tracking_of(task.run) or tracking_of(task)
    inline = getattr(task, "tracking_strategy", None)
    return replace(mark, strategy=inline) if mark and inline and not mark.strategy else mark


def origin_here(tracking: Tracking | None, name: str, args: Any, kwargs: Any, eta: str | None = None) -> Origin:
    """What this process knows of a job of the task `name` that it sends now."""
    owner, staff_only = owner_here()
    return Origin(
        send_id=uuid.uuid4().hex,
        owner=owner,
        staff_only=staff_only,
        queue=QUEUE,
        cancel=tracking.cancel if tracking else "ask",
        handler=_named(tracking.handler) if tracking else "",
        eta=int(datetime.fromisoformat(eta).timestamp() * SECOND) if eta else None,
        params=_params(tracking, name, args, kwargs) if tracking else None,
    )


def _params(tracking: Tracking, name: str, args: Any, kwargs: Any) -> dict[str, JSON] | None:
    """The arguments to record, as JSON; what JSON cannot hold is recorded as its kind alone."""
    params = tracking.params_of(_signature(name), tuple(args or ()), kwargs or {})
    return None if params is None else {clean_text(key): _jsonable(key, value) for key, value in params.items()}


def _jsonable(name: str, value: object) -> JSON:
    try:
        return clean(value, what=f"The argument {name!r}")
    except (TypeError, ValueError):
        return f"<{type(value).__name__}>"


def _signature(name: str) -> Signature | None:
    task = current_app.tasks.get(name)
    return signature(task.run) if task is not None else None


def _named(handler: Named) -> str:
    return name_of(handler) if isinstance(handler, type) else handler or ""


def to_header(origin: Origin) -> dict[str, Any]:
    """The origin as JSON for the message's headers."""
    fields = {name: getattr(origin, name) for name in Origin.__slots__}
    return {name: clean(value) for name, value in fields.items() if value not in (None, "")}


def header_of(request: Any, name: str) -> Any:
    """A header of the message that a task was sent with; None where it has none."""
    return getattr(request, name, None) or (getattr(request, "headers", None) or {}).get(name)


def from_header(header: Mapping[str, Any]) -> Origin:
    """The origin that `to_header` wrote; what a newer release added is ignored."""
    return Origin(**{name: value for name, value in header.items() if name in Origin.__slots__})


def bequeathed(origin: Origin, told: Mapping[str, Any] | None) -> Origin:
    """The origin, with the owner that another process told of, where one did: the job was to come from the start."""
    return origin if told is None else replace(origin, owner=told.get("owner"), staff_only=bool(told.get("staff_only")))


def heritage(origin: Origin) -> dict[str, JSON]:
    """Whose a job is, for the headers of what comes of it; `bequeathed` reads it."""
    return {"owner": origin.owner, "staff_only": origin.staff_only}


def origin_of(request: Any, tracking: Tracking, name: str, args: Any, kwargs: Any) -> Origin | None:
    """The origin of the job that a worker runs; None when its sender told nothing.

    How the task may be cancelled and what handles its page is settled here, where the task is known.
    """
    header = header_of(request, HEADER)
    if header is None and request.is_eager:
        origin = origin_here(tracking, name, args, kwargs)
        request.headers = {**(request.headers or {}), HEADER: to_header(origin)}  # `retry()` goes on with them
        return origin
    if header is None:
        return None
    origin = from_header(header)
    return replace(origin, cancel=tracking.cancel, handler=origin.handler or _named(tracking.handler))
