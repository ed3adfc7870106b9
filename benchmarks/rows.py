"""A row of the table: one measured quantity of several systems, and the bounds it is held against."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

OURS = "ours"

Choice = TypeVar("Choice")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is measured: the number of rounds, the share of the full counts, and whether peers are measured too."""

    rounds: int
    share: float
    with_peers: bool = True

    def of(self, count: int, least: int = 1) -> int:
        """The share of a full count."""
        return max(least, round(count * self.share))

    def seconds(self, full: float) -> float:
        """How long something is done: the whole time, or a quarter where there is little."""
        return full if self.is_full else full / 4

    def choice(self, full: tuple[Choice, ...], *, quick: tuple[Choice, ...]) -> tuple[Choice, ...]:
        """Everything, or what is measured when there is little time."""
        return full if self.is_full else quick

    @property
    def is_full(self) -> bool:
        """Whether these are the counts that figures are published of."""
        return self.share == 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What our figure is held against: a number in the row's unit, or so many times another system's figure."""

    is_most: bool
    limit: float
    against: str | None = None

    def value(self, figures: Mapping[str, float]) -> float | None:
        """The bound in the row's unit; None when the other system was not measured."""
        if self.against is None:
            return self.limit
        return self.limit * figures[self.against] if self.against in figures else None

    def is_kept(self, figures: Mapping[str, float]) -> bool:
        """Whether our figure is on the right side."""
        value = self.value(figures)
        if value is None:
            return True
        return figures[OURS] <= value if self.is_most else figures[OURS] >= value

    def __str__(self) -> str:
        """Read as in the table."""
        of = f" × {self.against}" if self.against else ""
        return f"{'≤' if self.is_most else '≥'} {self.limit:.3g}{of}"


def at_most(limit: float, against: str | None = None) -> Bound:
    """Ours is not to be above it."""
    return Bound(is_most=True, limit=limit, against=against)


def at_least(limit: float, against: str | None = None) -> Bound:
    """Ours is not to be below it."""
    return Bound(is_most=False, limit=limit, against=against)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One quantity: the median of its rounds, by system; ours comes first."""

    what: str
    unit: str
    figures: Mapping[str, float]
    bounds: tuple[Bound, ...] = ()

    @property
    def is_reached(self) -> bool | None:
        """Whether every bound is kept; None when there is none."""
        return all(bound.is_kept(self.figures) for bound in self.bounds) if self.bounds else None


Family = Callable[..., Iterator[Row]]


class Rounds:
    """Figures gathered round by round, per quantity and system."""

    def __init__(self) -> None:
        self._of: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

    def add(self, what: str, system: str, figure: float | None) -> None:
        """Keep the figure of one round; None is a round in which nothing could be measured."""
        if figure is not None:
            self._of[what][system].append(figure)

    def row(self, what: str, unit: str, *bounds: Bound) -> Row:
        """The medians, as a row of that name."""
        figures = {system: median(figures) for system, figures in self._of[what].items()}
        return Row(what=what, unit=unit, figures=figures, bounds=bounds)


def percentile(values: list[float], share: float) -> float | None:
    """The value below which that share of all values lies; None when there is none."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else None
