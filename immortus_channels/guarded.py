"""What the user's objects answer when they are asked for a length, a number or a text: they may raise anything.

What is meant for the code around the question goes on: a time limit, and the end that the job itself has chosen.
"""

from __future__ import annotations

import logging
import operator
from collections.abc import Callable
from typing import SupportsFloat, SupportsIndex, TypeVar

from immortus_channels.exceptions import JobCancelled, JobFailed

logger = logging.getLogger("immortus_channels")

Answer = TypeVar("Answer")

_LONGEST = 200
"""Characters of a value that are quoted."""

also_passing: list[Callable[[], tuple[type[BaseException], ...]]] = []
"""Name more exceptions that go on to the code around the question; the task queues put in what they raise."""


def answer(question: Callable[[], Answer]) -> Answer | None:
    """What the question returns; None when the object that is asked raises."""
    try:
        return question()
    except passing():
        raise
    except Exception as error:  # noqa: BLE001 - it is not ours
        logger.debug("An object of the project's raised a %s when it was asked", type(error).__name__)
        return None


def passing() -> tuple[type[BaseException], ...]:
    """What goes on to the code around the question, whatever the question was."""
    return (JobCancelled, JobFailed, *(each for interrupts in also_passing for each in interrupts()))


def length_of(thing: object) -> int | None:
    """Its length; None for what has none, cannot tell it, or is longer than `len()` can say."""
    return answer(lambda: len(thing)) if hasattr(type(thing), "__len__") else None  # type: ignore[arg-type]


def number_of(thing: object) -> int | float | None:
    """The plain number that an int, float, Decimal or NumPy's scalar stands for; None for anything else."""
    return answer(lambda: _number(thing))


def _number(thing: object) -> int | float | None:
    if isinstance(thing, bool):
        return None
    if isinstance(thing, SupportsIndex):
        return operator.index(thing)
    return float(thing) if isinstance(thing, SupportsFloat) else None


def text_of(thing: object) -> str | None:
    """`str(thing)`; None where that raises."""
    return answer(lambda: str(thing))


def quoted(thing: object) -> str:
    """The thing as an error message quotes it: shortened, and by its type where it cannot write itself."""
    written = answer(lambda: repr(thing))
    if written is None:
        return f"<{type(thing).__name__}>"
    return written if len(written) <= _LONGEST else f"{written[:_LONGEST]}…"
