"""What follows a Celery task in a chain or chord."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def followers(chain: Any, chord: Any) -> Iterator[tuple[str, str]]:
    """Name and id of what runs only if this task succeeds: the rest of its chain, its chord's body, and theirs.

    Signatures are read as the dictionaries that they are, in a message too.
    """
    yield from _members(chain)
    yield from _members(chord)


def _members(canvas: Any) -> Iterator[tuple[str, str]]:
    if isinstance(canvas, list | tuple):
        for one in canvas:
            yield from _members(one)
    elif isinstance(canvas, Mapping):
        yield from _members_of(canvas)


def _members_of(signature: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    options, inner = signature.get("options") or {}, signature.get("kwargs") or {}
    if signature.get("subtask_type"):
        for part in ("tasks", "header", "body"):
            yield from _members(inner.get(part))
    elif options.get("task_id"):
        yield str(signature.get("task")), str(options["task_id"])
    yield from _members(options.get("chain"))
    yield from _members(options.get("chord"))
