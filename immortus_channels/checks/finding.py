"""What a check finds, and how it is said."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from django.core.checks import CheckMessage

from immortus_channels import queues
from immortus_channels.exceptions import ImmortusError

Findings = Iterator[CheckMessage]

ID = "immortus_channels"


def jobs_run_elsewhere() -> bool:
    """Whether some jobs run in other processes than the ones that send them."""
    return any(not queue.is_eager() for queue in queues.connected)


def path_of(thing: Any) -> str:
    """Where a class or a function stands."""
    return f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', '')}"


def told(error: Exception) -> str:
    """An error in a sentence: our own speak for themselves."""
    return str(error) if isinstance(error, ImmortusError) else f"{type(error).__name__}: {error}."


def without_passwords(value: Any) -> Any:
    """A setting fit for a log."""
    match value:
        case Mapping():
            return {key: "…" if "password" in str(key) else without_passwords(item) for key, item in value.items()}
        case str():
            return re.sub(r"(//[^/@]*:)[^/@]*@", r"\1…@", value)
    return value
