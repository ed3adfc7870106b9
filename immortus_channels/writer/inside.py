"""Steps inside of an item of another step: they move the bar within that item, and never past it."""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar
from typing import ClassVar

from immortus_channels.jobs.job import Number
from immortus_channels.threads import strand_here

_FULL = 100


class ItemAtWork:
    """The item at work of a step, the one `at` a count, and the greatest share of it that was done."""

    __slots__ = ("_at", "_share")

    def __init__(self) -> None:
        self._at: Number = 0
        self._share = 0.0

    def reach(self, at: Number, share: float) -> float:
        """Return the share done of the item `at` a count: `share`, or what it was before if that was more."""
        if at != self._at:
            self._at, self._share = at, 0.0
        self._share = max(self._share, min(share, 1.0))
        return self._share


class Loop:
    """A loop over items of its run's own step; several may be at work at once, in tasks and threads.

    `is_at_home`: it runs in the run's context, and not in a thread that was given the job without that.
    """

    __slots__ = ("is_at_home", "is_over", "outer", "strand")

    is_loop: ClassVar[bool] = True

    def __init__(self, *, is_at_home: bool) -> None:
        self.is_at_home, self.is_over, self.strand = is_at_home, False, strand_here()
        self.outer: Loop | InnerStep | None = None


class InnerStep:
    """A step inside of an item of the step `around`: of an inner one, or of the run's own (None).

    A loop lasts as long as it runs, a step by `update()` as long as the item does. It is its task's or thread's: what
    another one counts beside it does not belong to it, unless that began inside of its item.
    """

    __slots__ = ("around", "at", "current", "is_loop", "is_over", "item", "outer", "percentage", "strand", "total")

    def __init__(self, around: InnerStep | None, at: Number, total: Number | None, *, is_loop: bool) -> None:
        self.around, self.at, self.total, self.is_loop = around, at, total, is_loop
        self.strand, self.is_over = strand_here(), False
        self.outer: Loop | InnerStep | None = None
        self.item = ItemAtWork()
        self.current: Number = 0
        self.percentage: float | None = None

    def lasts(self, current: Number) -> bool:
        """Whether the step still counts, while the run's own is at `current`."""
        return self.is_loop or self.at == (current if self.around is None else self.around.current)

    def count(self, current: Number | None, advance: Number | None, percentage: float | None) -> None:
        """Take over what is given; `current` does not move back."""
        self.current = max(self.current, current or 0) + (advance or 0)
        self.percentage = self.percentage if percentage is None else percentage

    def share(self, steps: list[InnerStep]) -> tuple[Number, Number]:
        """Return what is done of the step and how much it is, in items."""
        if self.percentage is not None:
            return (self.total or 1) * self.percentage / _FULL, self.total or 1
        done = self.current + self.item.reach(self.current, done_in(steps, self, self.current))
        return min(done, self.total or 0), self.total or 0


def done_in(steps: list[InnerStep], around: InnerStep | None, at: Number) -> float:
    """Return the share done of the item `at` which the step `around` is, by the steps inside of it together."""
    shares = [step.share(steps) for step in steps if step.around is around and (step.is_loop or step.at == at)]
    size = sum(total for _, total in shares)
    return sum(done for done, _ in shares) / size if size else 0.0


def step_here(loops: list[Loop], steps: list[InnerStep], current: Number) -> Loop | InnerStep | None:
    """Return the step in which this task or thread counts, while the run's own is at `current`.

    It is the last that began here, or the loop in whose item this task or thread began. None: in neither.
    """
    strand = strand_here()
    for step in reversed(steps):
        if step.strand == strand and step.lasts(current):
            return step
    for around in _loops_here():
        if around in loops or around in steps:
            return around
    return next((loop for loop in loops if loop.strand == strand), None)


_loop_here: ContextVar[Loop | InnerStep | None] = ContextVar("immortus_loop", default=None)
"""The innermost loop: tasks and `asyncio.to_thread` inherit it with the context, so it tells what began in an item."""


def _loops_here() -> Iterator[Loop | InnerStep]:
    loop = _loop_here.get()
    while loop is not None:
        if not loop.is_over:
            yield loop
        loop = loop.outer


def enter(loop: Loop | InnerStep) -> None:
    """Let what begins from now on, in this context, begin inside of an item of the loop."""
    loop.outer = next(_loops_here(), None)
    _loop_here.set(loop)


def leave(loop: Loop | InnerStep) -> None:
    """Let nothing more begin inside of the loop; no token, as a generator may be closed in another context."""
    loop.is_over = True
    if _loop_here.get() is loop:
        _loop_here.set(loop.outer)
