"""A run's values, gathered in memory until the writer takes them as the run's next report."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from threading import RLock
from typing import Any

from immortus_channels.guarded import quoted
from immortus_channels.jobs.events import Report
from immortus_channels.jobs.job import JSON, LARGEST, MAX_KEPT_BYTES, Job, Number
from immortus_channels.writer import values
from immortus_channels.writer.inside import InnerStep, ItemAtWork, Loop, done_in


class Draft:
    """The next report of a job's run, in the making: the task's threads write it, the writer's thread takes it.

    A report repeats everything that earlier ones said, so that it makes up for a lost one.
    """

    __slots__ = (
        "_announced_in", "_current", "_data", "_data_room", "_dirty", "_inner", "_inner_reported", "_is_counted",
        "_is_step_over", "_item", "_known_meta", "_lock", "_loops", "_message", "_meta", "_notify", "_percentage",
        "_reported", "_result", "_room", "_step", "_strategy_meta", "_total", "data", "is_counting", "job_id",
        "not_before", "params",
    )  # fmt: skip

    def __init__(
        self, job_id: str, data: Mapping[str, JSON], params: Mapping[str, JSON], notify: Callable[[Any], None]
    ) -> None:
        self.job_id, self.data, self.params = job_id, data, params
        self.not_before = -math.inf
        """When, by the monotonic clock, the next report may be made."""
        self._notify = notify
        self._lock = RLock()  # a signal handler may report while the job does
        self._dirty = False
        self._step = 0
        self._is_step_over = False
        self._loops: list[Loop] = []
        """The outermost loops at work."""
        self._announced_in = 0
        """The task or thread that gave the step's total, until it counts itself; loops of all others add to it."""
        self.is_counting = False
        """Whether a loop counts without notifying the writer, or there are steps inside of others."""
        self._is_counted = False
        """Whether the step began with a count, if only of 0: what is tracked is part of one of its items."""
        self._inner: list[InnerStep] = []
        self._inner_reported: Number = 0
        self._item = ItemAtWork()
        self._current: Number = 0
        self._reported: Number = 0
        self._total: Number | None = None
        self._percentage: float | None = None
        self._message: str | None = None
        self._meta: dict[str, JSON] = {}
        self._known_meta: Mapping[str, JSON] = {}
        self._strategy_meta: Mapping[str, JSON] | None = None
        self._data: dict[str, JSON] = {}
        self._room = self._data_room = 0
        """Bytes that there are at least for more meta and more data; 0 where that is not known."""
        self._result: JSON = None

    def know(self, job: Job) -> None:
        """Take over what others have written of the job meanwhile; what this run said itself is newer."""
        with self._lock:
            if self._known_meta != job.meta:
                self._known_meta, self._room = job.meta, 0
            self.data, self._data_room = {**job.data, **self._data}, 0

    @property
    def meta(self) -> Mapping[str, JSON]:
        """The fields set for the top level of the document, by this run or before it."""
        return {**self._known_meta, **self._meta}

    # For the task

    def set_meta(self, fields: Mapping[str, object]) -> None:
        """Add fields to the top level of the document; a field set before is replaced."""
        fit = values.clean_meta(fields, self.job_id)
        size = values.size_of(fit)
        with self._lock:
            self._room -= size
            if self._room < 0:  # as if nothing were replaced; only now it is worth while to look
                if not self._has_room(f"Meta {', '.join(map(repr, fit))}", meta=fit):
                    return
                self._room = self._said().room(meta=fit)
            self._meta.update(fit)
        self._touch()

    def set_strategy_meta(self, meta: Mapping[str, JSON]) -> None:
        """Replace the strategy's meta."""
        if meta != self._strategy_meta and self._has_room("The strategy's meta", strategy_meta=meta):
            self._strategy_meta = meta
            self._touch()

    def set_data(self, key: str, value: object) -> None:
        """Keep a JSON value on the server. Raises InvalidValue for what JSON cannot hold."""
        new = {values.clean_key(key): values.clean(value, self.job_id, what=f"Data {quoted(key)}")}
        size = values.size_of(new)
        with self._lock:
            self._data_room -= size
            if self._data_room < 0:
                new = values.with_room(new, self.job_id, data=self.data, params=self.params)
                self._data_room = MAX_KEPT_BYTES - values.size_of({**self.data, **new}) - values.size_of(self.params)
            self._data.update(new)
            self.data = {**self.data, **new}
        if new:
            self._touch()

    def set_result(self, value: object, *, by_caller: bool = True) -> None:
        """Publish a small JSON value as the job's result; refuse what cannot be published.

        The value was given `by_caller`, or is what the task returned.
        """
        result = values.clean_result(value, self.job_id, by_caller=by_caller)
        is_refused = result is None and value is not None
        if not is_refused and self._has_room("The result", result=result):
            self._result = result
            self._touch()

    def _say(self, text: str | None) -> None:
        if text is not None and (len(text) <= values.MAX_SENTENCE or self._has_room("The message", message=text)):
            self._message = text

    def _has_room(self, what: str, **new: Any) -> bool:
        """Return whether this fits beside what the document says by now, from earlier runs too; refuse it if not."""
        self._room = 0
        return self._said().takes(what, self.job_id, **new)

    def _said(self) -> values.Said:
        return values.Said(self.meta, self._strategy_meta, self._result, self._message)

    def _touch(self) -> None:
        """Notify the writer, unless it has not yet come for the last notice."""
        if not self._dirty:
            self._dirty = True
            self._notify(self)

    # For the writer

    @property
    def is_dirty(self) -> bool:
        """Whether the run has set anything since the writer took the last report."""
        return self._dirty or self._current != self._reported or self._inner_count() != self._inner_reported

    def _inner_count(self) -> Number:
        return sum(step.current for step in self._inner) if self._inner else self._inner_reported

    def _reach(self) -> float:
        """Return the share done of the item at work, by the steps inside of it; it does not fall."""
        return self._item.reach(self._current, done_in(self._inner, None, self._current))

    @property
    def _contains(self) -> bool:
        """Whether what is tracked now is part of an item of the step: of a loop's, or of one that is counted."""
        is_open = self._total is not None and self._current < self._total
        is_counted = self._is_counted or self._current > 0
        return not self._announced_in and (bool(self._loops) or (is_counted and is_open and not self._is_step_over))

    def take(self) -> tuple[Report, Mapping[str, JSON] | None]:
        """Return everything said so far, and the strategy's meta; both count as reported from now on."""
        with self._lock:
            self._dirty = False
            self._reported, self._inner_reported = self._current, self._inner_count()
            report = Report(
                step=self._step,
                current=min(self._current, LARGEST),  # a sum of many may be beyond it
                total=self._total,
                percentage=self._percentage,
                counted=self._contains,
                within=self._reach(),
                message=self._message,
                meta=dict(self._meta),
                data=dict(self._data),
                result=self._result,
            )
            return report, self._strategy_meta

    def untake(self, *, at_once: bool = False) -> None:
        """Make another report, as the last one is not on record: after the usual interval, or at once."""
        self._dirty = True
        if at_once:
            self.not_before = -math.inf

    def ask_again(self) -> None:
        """Notify the writer of the next change as well, although it takes nothing now."""
        self._dirty = False
