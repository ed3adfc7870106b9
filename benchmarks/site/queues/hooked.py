"""Notes which hooks an untracked job meets, and how long they take where all that lies under them does nothing.

A hook that the job meets five times counts five times. `watch` comes before an adapter is connected.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial, wraps
from typing import Any

from immortus_channels.queues import hooks

MICRO = 1e6
_guard, _around, _around_coroutine = hooks.guard, hooks._around, hooks._around_coroutine  # noqa: SLF001 - under test
_met: list[tuple[int, Callable[[], object]]] = []
"""The threads that have met a hook, each with the same call once more."""


def watch() -> None:
    """Have each hook that is guarded from now on be noted."""
    hooks.guard = _noting  # type: ignore[assignment]
    hooks._around = _tagging(_around)  # noqa: SLF001
    hooks._around_coroutine = _tagging(_around_coroutine)  # noqa: SLF001


def _noting(hook: Callable[..., Any]) -> Callable[..., Any]:
    guarded = _guard(hook)

    @wraps(guarded)
    def noted(*args: Any, **kwargs: Any) -> Any:
        again = vars(noted).get("around", guarded)
        _met.append((threading.get_ident(), partial(again, *args, **kwargs)))
        return guarded(*args, **kwargs)

    return noted


def _tagging(around: Callable[..., Any]) -> Callable[..., Any]:
    def method(original: Any, noted: Any) -> Any:
        does_nothing = _nothing if around is _around else _anothing
        noted.around = around(does_nothing, _guard(noted.__wrapped__.__wrapped__))
        return around(original, noted)

    return method


def _nothing(*_: Any, **__: Any) -> None:
    """Stand for the queue's own method."""


async def _anothing(*_: Any, **__: Any) -> None:
    """Stand for a coroutine method of the queue's."""


def forget() -> None:
    """Note from now on."""
    _met.clear()


def microseconds(count: int) -> float:
    """Return what the hooks take together that were met since `forget`: in this thread, or in any if it met none."""
    here = [call for thread, call in _met if thread == threading.get_ident()]
    return sum(_time(call, count) for call in here or [call for _, call in _met])


def _time(call: Callable[[], Any], count: int) -> float:
    begin = time.perf_counter()
    for _ in range(count):
        awaitable = call()
        if awaitable is not None and hasattr(awaitable, "send"):
            with suppress(StopIteration):
                awaitable.send(None)
    return (time.perf_counter() - begin) / count * MICRO
