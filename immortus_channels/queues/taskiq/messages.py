"""What the labels of taskiq's messages say, and which of a task's arguments are in them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any

from taskiq_dependencies.dependency import Dependency

from immortus_channels.queues.moments import due

HEADER = "immortus"
"""The label that says what a message's sender knows, as JSON: labels are texts."""
IN_BYTES = HEADER.encode()
REQUEUES = "X-Taskiq-requeue"
"""The label that counts how often a message was put back."""


def header_in(labels: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what the sender of a message with these labels knew; None if it does not track jobs."""
    with suppress(TypeError, ValueError):
        header = json.loads(labels[HEADER]) if HEADER in labels else None
        return header if isinstance(header, dict) else None
    return None


def delay_of(labels: Mapping[str, Any]) -> int | None:
    """Return when a message with these labels is due, by the label that brokers with delays know."""
    with suppress(TypeError, ValueError):
        return due(float(labels["delay"])) if "delay" in labels else None
    return None


@lru_cache(maxsize=256)
def without_dependencies(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return what takes the arguments of a message: the worker adds those that it has by dependencies."""

    def taking() -> None: ...

    signature = inspect.signature(function)
    sent = [each for each in signature.parameters.values() if not isinstance(each.default, Dependency)]
    taking.__signature__ = signature.replace(parameters=sent)  # type: ignore[attr-defined]
    return taking
