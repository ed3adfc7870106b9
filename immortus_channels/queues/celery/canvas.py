"""What follows a Celery task in a chain or chord."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from celery.canvas import Signature, maybe_signature


def followers(chain: Any, chord: Any) -> Iterator[tuple[str, str]]:
    """Name and id of what runs only if this task succeeds: the rest of its chain, its chord's body, and theirs."""
    for follower in [*(chain or ()), *([chord] if chord else ())]:
        link = maybe_signature(follower)
        if isinstance(link, Signature):
            yield from _members(link)


def _members(link: Any) -> Iterator[tuple[str, str]]:
    for nested in getattr(link, "tasks", None) or ():
        yield from _members(maybe_signature(nested))
    body = link.get("kwargs", {}).get("body") if link.get("subtask_type") == "chord" else None
    if body is not None:
        yield from _members(maybe_signature(body))
    job_id = link.get("options", {}).get("task_id")
    if job_id and not link.get("subtask_type"):
        yield str(link.get("task")), job_id
