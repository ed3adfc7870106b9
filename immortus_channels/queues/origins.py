"""What the sender of a job knows about it, before the message goes out."""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from immortus_channels.jobs import namespaces
from immortus_channels.jobs.events import Origin
from immortus_channels.jobs.ids import is_job_id, text_of
from immortus_channels.jobs.job import JSON, MAX_KEPT_BYTES
from immortus_channels.jobs.owner import is_owner_known, key_of_pk, owner_key
from immortus_channels.keys import key_of
from immortus_channels.loading import name_of
from immortus_channels.logs import logger
from immortus_channels.queues.tracked import TaskOptions
from immortus_channels.writer.run import current_run, owner_here
from immortus_channels.writer.values import clean, clean_text, size_of

MAX_BYTES = MAX_KEPT_BYTES // 2
"""Of the recorded arguments, so that the job's data has room as well."""


def origin_here(
    queue: str, options: TaskOptions | None, *, eta: int | None = None, params: Mapping[str, JSON] | None = None
) -> Origin:
    """Return what this process knows about a job that it is sending; the options are None if its task is not known."""
    owner, staff_only = owner_here()
    return Origin(
        send_id=uuid.uuid4().hex,
        namespace=namespaces.current(),
        owner=owner,
        staff_only=staff_only,
        queue=queue,
        cancel=options.cancel if options else "ask",
        handler=name_of(options.handler) if options else "",
        eta=eta,
        params=params,
    )


def with_owner_in(  # noqa: PLR0913 - keywords
    origin: Origin,
    options: TaskOptions,
    job_class: str,
    *,
    function: Callable[..., Any] | None,
    args: Any,
    kwargs: Any,
) -> Origin:
    """Return the origin with the owner whom the task's `owner` argument tells, if nothing else here tells one.

    The argument is the user's primary key, or the user. It may come from a form: a user who is logged in, and a visitor
    who is not, must not make jobs that belong to somebody else. So it counts for a schedule, a command, a shell, and
    inside a job that has no owner. Anything else than an id leaves the job to staff, and a log line says so.
    """
    value = None
    if options.owner and origin.owner is None and _is_nobodys():
        value = options.owner_in(_signature_of(function), tuple(args or ()), kwargs or {})
    if value is None:
        return origin
    name = owner_key(value) if hasattr(value, "pk") else _key_in(value)
    if is_job_id(name):  # a key has the same limits
        return replace(origin, owner=key_of(origin.namespace, name), staff_only=False)
    msg = "The argument %r of %s should be a user's primary key; this %s is none, so staff alone sees the job"
    logger.warning(msg, options.owner, job_class, type(value).__name__)
    return replace(origin, staff_only=True)


def _key_in(value: object) -> str | None:
    text = text_of(value)
    return key_of_pk(text) if is_job_id(text) else None


def _is_nobodys() -> bool:
    """Return whether it is known that no user and no visitor is behind what happens here.

    In a job it is not as long as its sender is unknown: that may have been a user.
    """
    around = current_run.get()
    return not is_owner_known() and (around is None or around.knows_sender)


def params_of(
    options: TaskOptions, job_class: str, function: Callable[..., Any] | None, args: Any, kwargs: Any
) -> dict[str, JSON] | None:
    """Return the arguments to record, as JSON; a value that JSON cannot hold is recorded as its type alone.

    The `function` tells their names; None records those by keyword alone.
    """
    if not options.params:
        return None
    params = options.params_of(_signature_of(function), tuple(args or ()), kwargs or {}) or {}
    return _shorten_params(
        job_class, {clean_text(key): (_to_json(key, value), type(value)) for key, value in params.items()}
    )


def _signature_of(function: Callable[..., Any] | None) -> inspect.Signature | None:
    return None if function is None else inspect.signature(function)


def _shorten_params(job_class: str, params: Mapping[str, tuple[JSON, type]]) -> dict[str, JSON]:
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
        logger.warning(msg, job_class, MAX_BYTES, ", ".join(replaced))
    return fit


def _to_json(name: str, value: object) -> JSON:
    try:
        return clean(value, what=f"The argument {name!r}")
    except (TypeError, ValueError):
        return f"<{type(value).__name__}>"
