"""The messages that a message's success sends: the rest of its pipeline, and what its group's completion calls.

A message has them in its options, as dictionaries.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_NEXT = "pipe_target"
_CALLED = "group_completion_callbacks"


def are_in(options: Mapping[str, Any]) -> bool:
    """Return whether any message follows the one with these options."""
    return bool(options.get(_NEXT) or options.get(_CALLED))


def in_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the options that name the messages that follow."""
    return {name: options[name] for name in (_NEXT, _CALLED) if name in options}


def each_in(options: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield each message that follows the one with these options, and those that follow them."""
    for message in (options.get(_NEXT), *(options.get(_CALLED) or ())):
        if message:
            yield message
            yield from each_in(message["options"])


def with_options(options: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Return these options with more of them in all messages that follow.

    Those are copies: a project may run the same pipeline for different users.
    """
    changed = dict(options)
    if options.get(_NEXT):
        changed[_NEXT] = _with(options[_NEXT], more)
    if options.get(_CALLED):
        changed[_CALLED] = [_with(message, more) for message in options[_CALLED]]
    return changed


def _with(message: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    return {**message, "options": {**with_options(message["options"], more), **more}}
