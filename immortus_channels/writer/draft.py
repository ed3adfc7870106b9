"""A run's values, gathered in memory until the writer takes them as the run's next report."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from threading import RLock
from typing import Any

from immortus_channels.guarded import quoted
from immortus_channels.jobs.events import Report
from immortus_channels.jobs.job import JSON, LARGEST, Job, Number
from immortus_channels.writer import values


class Draft:
    """The next report of a job's run, in the making: the task's threads write it, the writer's thread takes it.

    A report repeats everything that earlier ones said, so that it makes up for a lost one.
    """

    __slots__ = (
        "_current", "_data", "_depth", "_dirty", "_known_meta", "_lock", "_message", "_meta", "_notify", "_percentage",
        "_reported", "_result", "_step", "_strategy_meta", "_total", "data", "is_forked", "job_id", "not_before",
        "params",
    )  # fmt: skip

    def __init__(
        self, job_id: str, data: Mapping[str, JSON], params: Mapping[str, JSON], notify: Callable[[Any], None]
    ) -> None:
        self.job_id, self.data, self.params = job_id, data, params
        self.is_forked = False
        self.not_before = -math.inf
        """When, by the monotonic clock, the next report may be made."""
        self._notify = notify
        self._lock = RLock()  # a signal handler may report while the job does
        self._dirty = False
        self._depth = 0
        self._step = 0
        self._current: Number = 0
        self._reported: Number = 0
        self._total: Number | None = None
        self._percentage: float | None = None
        self._message: str | None = None
        self._meta: dict[str, JSON] = {}
        self._known_meta: Mapping[str, JSON] = {}
        self._strategy_meta: Mapping[str, JSON] | None = None
        self._data: dict[str, JSON] = {}
        self._result: JSON = None

    def know(self, job: Job) -> None:
        """Take over what others have written of the job meanwhile; what this run said itself is newer."""
        with self._lock:
            self._known_meta = job.meta
            self.data = {**job.data, **self._data}

    @property
    def meta(self) -> Mapping[str, JSON]:
        """The fields set for the top level of the document, by this run or before it."""
        return {**self._known_meta, **self._meta}

    # For the task

    def set_meta(self, fields: Mapping[str, object]) -> None:
        """Add fields to the top level of the document; a field set before is replaced."""
        fit = values.clean_meta(fields, self.job_id)
        with self._lock:
            if not self._has_room(f"Meta {', '.join(map(repr, fit))}", meta=fit):
                return
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
        fit = values.with_room(new, self.job_id, data=self.data, params=self.params)
        if not fit:
            return
        with self._lock:
            self._data.update(fit)
            self.data = {**self.data, **self._data}
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
        said = values.Said(self.meta, self._strategy_meta, self._result, self._message)
        return said.takes(what, self.job_id, **new)

    def _touch(self) -> None:
        """Notify the writer, unless it has not yet come for the last notice."""
        if not self._dirty:
            self._dirty = True
            self._notify(self)

    # For the writer

    @property
    def is_dirty(self) -> bool:
        """Whether the run has set anything since the writer took the last report."""
        return self._dirty or self._current != self._reported

    @property
    def is_counting(self) -> bool:
        """Whether a loop counts without notifying the writer."""
        return self._depth > 0

    def take(self) -> tuple[Report, Mapping[str, JSON] | None]:
        """Return everything said so far, and the strategy's meta; both count as reported from now on."""
        with self._lock:
            self._dirty = False
            self._reported = self._current
            report = Report(
                step=self._step,
                current=min(self._current, LARGEST),  # a sum of many may be beyond it
                total=self._total,
                percentage=self._percentage,
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

    def after_fork(self) -> None:
        """Make ready for the child: the parent reports what was said before; a thread of it may have held the lock."""
        self._lock = RLock()
        self._known_meta, self._meta, self._data = self.meta, {}, {}
        self._message = self._percentage = self._result = self._strategy_meta = None
        self._dirty, self._reported = False, self._current
        self.is_forked = True
