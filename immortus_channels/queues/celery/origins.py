"""What the sender of a Celery task knows about its job, and how that travels in the message's headers."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from inspect import signature
from typing import Any

from celery import current_app

from immortus_channels.jobs import namespaces
from immortus_channels.jobs.events import Origin
from immortus_channels.jobs.ids import text_of
from immortus_channels.jobs.job import JSON, MAX_KEPT_BYTES
from immortus_channels.jobs.lifecycle import SECOND
from immortus_channels.keys import key_of
from immortus_channels.loading import name_of
from immortus_channels.logs import logger
from immortus_channels.queues.celery.marks import HEADER, OWNER, QUEUE
from immortus_channels.queues.messages import from_header, to_header
from immortus_channels.queues.tracked import TaskOptions
from immortus_channels.writer.run import owner_here
from immortus_channels.writer.values import clean, clean_text, size_of

MAX_BYTES = MAX_KEPT_BYTES // 2
"""Of the recorded arguments, so that the job's data has room as well."""


def origin_here(options: TaskOptions | None, name: str, args: Any, kwargs: Any, eta: str | None = None) -> Origin:
    """Return what this process knows about a job of the task `name` that it is sending."""
    owner, staff_only = owner_here()
    return Origin(
        send_id=uuid.uuid4().hex,
        namespace=namespaces.current(),
        owner=owner,
        staff_only=staff_only,
        queue=QUEUE,
        cancel=options.cancel if options else "ask",
        handler=name_of(options.handler) if options else "",
        eta=int(datetime.fromisoformat(eta).timestamp() * SECOND) if eta else None,
        params=_params(options, name, args, kwargs) if options else None,
    )


def _params(options: TaskOptions, name: str, args: Any, kwargs: Any) -> dict[str, JSON] | None:
    """Return the arguments to record, as JSON; a value that JSON cannot hold is recorded as its type alone."""
    task = current_app.tasks.get(name)
    params = options.params_of(signature(task.run) if task is not None else None, tuple(args or ()), kwargs or {})
    if params is None:
        return None
    return _shorten_params(
        name, {clean_text(key): (_to_json(key, value), type(value)) for key, value in params.items()}
    )


def _shorten_params(task: str, params: Mapping[str, tuple[JSON, type]]) -> dict[str, JSON]:
    """Return the params; where they exceed the limit, the largest ones are recorded as their types alone."""
    fit = {name: value for name, (value, _) in params.items()}
    by_size = sorted(fit, key=lambda name: size_of(fit[name])) if size_of(fit) > MAX_BYTES else []
    replaced: list[str] = []
    while by_size and size_of(fit) > MAX_BYTES:
        name = by_size.pop()
        fit[name] = f"<{params[name][1].__name__}>"
        replaced.append(name)
    if replaced:
        msg = "The arguments of %s exceed %d bytes; their types alone are recorded: %s"
        logger.warning(msg, task, MAX_BYTES, ", ".join(replaced))
    return fit


def _to_json(name: str, value: object) -> JSON:
    try:
        return clean(value, what=f"The argument {name!r}")
    except (TypeError, ValueError):
        return f"<{type(value).__name__}>"


def header_of(request: Any, name: str) -> Any:
    """Return a header of the message that a task was sent with; None if it has none."""
    return getattr(request, name, None) or (getattr(request, "headers", None) or {}).get(name)


def with_owner(origin: Origin, ownership: Mapping[str, Any] | None) -> Origin:
    """Return the origin with the owner named in the message headers, if any: another process planned this job."""
    if ownership is None:
        return origin
    owner, staff_only = ownership.get("owner"), bool(ownership.get("staff_only"))
    return replace(origin, namespace=ownership.get(_NAMESPACE, ""), owner=owner, staff_only=staff_only)


def owner_header(origin: Origin) -> dict[str, JSON]:
    """Return a job's owner for the headers of the jobs that follow it; `with_owner` reads it."""
    namespace: dict[str, JSON] = {_NAMESPACE: origin.namespace} if origin.namespace else {}
    return {"owner": origin.owner, "staff_only": origin.staff_only, **namespace}


_NAMESPACE = "namespace"
"""The field of an origin that is in a job's key as well."""


def namespace_in(*headers: Mapping[str, Any] | None) -> str:
    """Return the namespace in the first of these headers that a message has; without any, the one in force here."""
    for header in headers:
        if header is not None:
            return str(header.get(_NAMESPACE, ""))
    return namespaces.current()


def key_in(namespace: str, task_id: Any) -> Any:
    """Return the key of a task's job in a namespace; an id that is of another type than ids are, as it is."""
    job_id = text_of(task_id)
    return task_id if job_id is None else key_of(namespace, job_id)


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
