"""What a check finds, and how it is worded."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from django.core.checks import CheckMessage

from immortus_channels import queues
from immortus_channels.exceptions import ImmortusError

Findings = Iterator[CheckMessage]

ID = "immortus_channels"


def jobs_run_elsewhere() -> bool:
    """Return whether some jobs run in other processes than the ones that send them.

    A queue that was only imported does not count beside one that has tracked tasks.
    """
    in_use = [queue for queue in queues.connected if queue.tracked_names()] or queues.connected
    return any(not queue.is_eager() for queue in in_use)


def path_of(thing: Any) -> str:
    """Return the dotted path of a class or a function."""
    return f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', '')}"


def describe(error: Exception) -> str:
    """Write an error in a sentence: our own speak for themselves."""
    return str(error) if isinstance(error, ImmortusError) else f"{type(error).__name__}: {error}."


def meant_by(name: str, names: Iterable[str]) -> str:
    """Return which of the names somebody who typed `name` may have meant; "" for none of them."""
    return next(iter(get_close_matches(name, names, n=1, cutoff=0.8)), "")


def without_passwords(value: Any) -> Any:
    """Return a setting fit for a log: without the values behind secret names, and without passwords in URLs."""
    match value:
        case Mapping():
            return {key: _MASK if _SECRET.search(str(key)) else without_passwords(item) for key, item in value.items()}
        case tuple():
            return tuple(map(without_passwords, value))
        case list() | set() | frozenset():
            return list(map(without_passwords, value))
        case str():
            return mask(value)
    text = repr(value)
    return value if mask(text) == text else mask(text)


def mask(text: str) -> str:
    """Return a text without the passwords that a URL in it has, or that stand behind a secret name."""
    return _AFTER_NAME.sub(rf"\1{_MASK}", _IN_ADDRESS.sub(rf"\1{_MASK}", text))


_MASK = "…"
_NAME = (
    r"(?:password|passwd|(?<![a-z])"
    r"(?:pass(?:phrase|code)?|pwd|secret|token|credential|encryption_key|api_?key|private_?key)s?(?![a-z]))"
)
_SECRET = re.compile(_NAME, re.IGNORECASE)
_IN_ADDRESS = re.compile(r"(//[^/?#\s'\"@:]*:)[^\s'\"]*(?=@)")
"""A password may hold any character, an `@` and a `/` too: all up to the last `@` of the word."""
_AFTER_NAME = re.compile(
    rf"""({_NAME}['"]?\s*[=:]\s*)(?:[\[({{][^\])}}]*[\])}}]|b?'[^']*'|b?"[^"]*"|[^\s'"&,;)}}\]]+)""", re.IGNORECASE
)
