"""Questions to the user's objects, for a length, a number or a text: the objects may raise anything.

Exceptions meant for the code around the question pass through: a time limit, and the end that the job itself chose.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import SupportsFloat, SupportsIndex, TypeVar

from immortus_channels.exceptions import JobCancelled, JobFailed
from immortus_channels.logs import logger

Answer = TypeVar("Answer")

_LONGEST = 200
"""Characters of a value that are quoted."""

more_to_pass: list[Callable[[], tuple[type[BaseException], ...]]] = []
"""Functions that name more exceptions to pass through to the code around the question; task queues add theirs."""


def answer(question: Callable[[], Answer]) -> Answer | None:
    """Return what the question returns; None if the object raises."""
    try:
        return question()
    except exceptions_to_pass():
        raise
    except Exception as error:  # noqa: BLE001 - it is not ours
        logger.debug("An object of the project raised a %s when the package read it", type(error).__name__)
        return None


def exceptions_to_pass() -> tuple[type[BaseException], ...]:
    """Return the exceptions that pass through to the code around the question, whatever the question was."""
    return (JobCancelled, JobFailed, *interrupts())


def interrupts() -> tuple[type[BaseException], ...]:
    """Return what task queues raise in the middle of running code, for the task alone to catch."""
    return tuple(each for interrupts in more_to_pass for each in interrupts())


def length_of(thing: object) -> int | None:
    """Return its length; None if it has none, cannot compute it, or is longer than `len()` can say."""
    return answer(lambda: len(thing)) if hasattr(type(thing), "__len__") else None  # type: ignore[arg-type]


def number_of(thing: object) -> int | float | None:
    """Return the plain number that an int, float, Decimal or NumPy's scalar stands for; None for anything else."""
    return answer(lambda: _number(thing))


def _number(thing: object) -> int | float | None:
    if isinstance(thing, bool):
        return None
    if isinstance(thing, SupportsIndex):
        return operator.index(thing)
    return float(thing) if isinstance(thing, SupportsFloat) else None


def text_of(thing: object) -> str | None:
    """Return `str(thing)`; None if that raises."""
    return answer(lambda: str(thing))


def quoted(thing: object) -> str:
    """Return the thing as an error message quotes it: shortened, or by its type if its `repr` raises."""
    written = answer(lambda: repr(thing))
    if written is None:
        return f"<{type(thing).__name__}>"
    return written if len(written) <= _LONGEST else f"{written[:_LONGEST]}…"
