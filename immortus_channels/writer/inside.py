"""Steps inside of an item of another step: they move the bar within that item, and never past it."""

from __future__ import annotations

from collections.abc import Iterator
from threading import get_ident

from immortus_channels.jobs.job import Number

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


class InnerStep:
    """A step inside of an item of the step `around`: of an inner one, or of the run's own (None).

    A loop lasts as long as it runs, a step by `update()` as long as the item does. It is its thread's: what another
    thread counts beside it does not belong to it.
    """

    __slots__ = ("around", "at", "current", "is_loop", "item", "percentage", "thread", "total")

    def __init__(self, around: InnerStep | None, at: Number, total: Number | None, *, is_loop: bool) -> None:
        self.around, self.at, self.total, self.is_loop = around, at, total, is_loop
        self.thread = get_ident()
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


def innermost(steps: list[InnerStep], current: Number) -> InnerStep | None:
    """Return the step in which this thread counts, while the run's own is at `current`; None: in that."""
    return next(_of_thread(steps, current), None)


def _of_thread(steps: list[InnerStep], current: Number) -> Iterator[InnerStep]:
    thread = get_ident()
    return (step for step in reversed(steps) if step.thread == thread and step.lasts(current))
