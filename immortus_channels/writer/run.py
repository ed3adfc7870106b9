"""What a run says of itself, gathered in memory: in a hot loop only a counter moves."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from threading import RLock
from typing import Never, Self, TypeVar

from immortus_channels.exceptions import JobCancelled
from immortus_channels.guarded import quoted
from immortus_channels.jobs.events import Event, Origin, Report
from immortus_channels.jobs.job import JSON, LARGEST, Job, Number, State
from immortus_channels.jobs.owner import current_owner, is_owner_known
from immortus_channels.jobs.progress import begins_step, begins_step_after_loop
from immortus_channels.writer import late_reports
from immortus_channels.writer.values import (
    MAX_SENTENCE,
    Said,
    clean,
    clean_key,
    clean_message,
    clean_meta,
    clean_number,
    clean_result,
    clean_total,
    refuse_too_large,
)

Item = TypeVar("Item")


class Run:
    """One run of a job in this process.

    The task writes here, from any of its threads; the writer thread reads reports from here, and sets
    `cancel_requested` and `attempt` when the store says so.
    """

    __slots__ = (
        "_current",
        "_data",
        "_depth",
        "_dirty",
        "_end",
        "_is_step_over",
        "_known_meta",
        "_lock",
        "_message",
        "_meta",
        "_notify",
        "_percentage",
        "_reported",
        "_result",
        "_step",
        "_strategy_meta",
        "_total",
        "around",
        "attempt",
        "cancel_requested",
        "data",
        "flushed_at",
        "is_closed",
        "is_forked",
        "job_class",
        "job_id",
        "known",
        "origin",
        "params",
        "refused",
        "run_id",
        "strategy",
    )  # fmt: skip

    def __init__(  # noqa: PLR0913 - keywords
        self,
        *,
        job_id: str,
        job_class: str,
        run_id: str,
        origin: Origin | None = None,
        strategy: object = None,
        around: Run | None = None,
        notify: Callable[[Run], None] = lambda _: None,
        end: Callable[..., Job | None] = lambda *_, **__: None,
    ) -> None:
        self.job_id, self.job_class, self.run_id, self.origin = job_id, job_class, run_id, origin
        self.strategy = strategy
        self.around = around
        """The run in whose code this one began."""
        self.attempt = 1
        self.params: Mapping[str, JSON] = (origin.params if origin else None) or {}
        self.data: Mapping[str, JSON] = (origin.data if origin else None) or {}
        self.refused = False
        self.is_forked = False
        self.is_closed = False
        self.cancel_requested = False
        self.flushed_at = -math.inf
        self.known: str | None = None
        """The record of the job, as far as this process has heard: text, because a task may change what it is given."""
        self._notify, self._end = notify, end
        self._lock = RLock()  # a signal handler may report while the job does
        self._dirty = False
        self._depth = 0
        self._step = 0
        self._is_step_over = False
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

    def started(self, job: Job | None) -> None:
        """Take over what the store said to the start of this run (None: it did not answer in time)."""
        if job is None:
            return
        self.refused = job.is_over or (bool(job.run_id) and job.run_id != self.run_id)
        if not self.refused:
            self.attempt, self.params = job.attempt, job.params
            self.cancel_requested = job.cancel_requested
            self.learn(job)

    def learn(self, job: Job) -> None:
        """Take over what the store answered to a write of this run."""
        self.known = job.to_record()
        self.know(job)
        told = self.origin
        if told is None or (told.owner, told.staff_only) != (job.owner, job.staff_only):
            self.origin = Origin.of(job)

    def know(self, job: Job) -> None:
        """Take over what others have written of the job meanwhile; what this run said itself is newer."""
        with self._lock:
            self._known_meta = job.meta
            self.data = {**job.data, **self._data}

    @property
    def meta(self) -> Mapping[str, JSON]:
        """The fields that were set for the top level of the document, by this run or before it."""
        return {**self._known_meta, **self._meta}

    @property
    def summary(self) -> str:
        """The job's class and state in a word each."""
        return f"{self.job_class} {State.RUNNING}".strip()

    @property
    def details(self) -> Self:
        """The run itself: what is known of its job stands here, as in the record of any other job."""
        return self

    @property
    def asked(self) -> set[str]:
        """The jobs that were asked to stop, as far as this process has heard: this one, and those it runs in."""
        around = set() if self.around is None else self.around.asked
        return {*around, self.job_id} if self.cancel_requested else around

    # For the task

    def track(self, iterable: Iterable[Item], total: Number | None = None, message: object = "") -> Iterator[Item]:
        """Yield the items, counting each one when the next is asked for.

        Raises JobCancelled before the next item once cancellation was asked for.
        """
        total = clean_total(total, iterable, self.job_id)
        self._depth += 1
        outermost = self._depth == 1
        try:
            if not outermost:
                for item in iterable:
                    self.checkpoint()
                    yield item
                return
            self.begin_step(total=total, message=message)
            for item in iterable:
                if self.cancel_requested:
                    raise JobCancelled(self.job_id)
                yield item
                # Another thread cannot come between reading and writing here: there is no call and no jump back.
                self._current += 1
        finally:
            self._depth -= 1
            self._is_step_over = self._is_step_over or outermost
            if self.is_closed and self.is_dirty:
                self._touch()

    def begin_step(self, *, total: Number | None, message: object = "", current: Number = 0) -> None:
        """Progress starts again from `current`, towards `total` (None: unknown); an empty message changes nothing."""
        self._go_on_to(total, current)
        text = "" if message is None else clean_message(message, self.job_id)
        if text:
            self._say(text)
        self._touch()

    def _go_on_to(self, total: Number | None, current: Number) -> None:
        with self._lock:
            self._step += 1
            self._is_step_over = False
            self._current, self._total, self._percentage = current, total, None

    def update(  # noqa: C901 - a line or two for each argument, and no call in hot loops
        self,
        current: Number | None = None,
        total: Number | None = None,
        advance: Number | None = None,
        percentage: float | None = None,
        message: object | None = None,
    ) -> None:
        """Set what is given; `current` does not move back within a step. `jobs.progress` says what begins a step.

        Called in hot loops: a plain int is checked here, whatever else by `clean_number`.
        """
        if current is not None and (type(current) is not int or not 0 <= current <= LARGEST):
            current = clean_number("current", current, self.job_id)
        if total is not None and (type(total) is not int or not 0 <= total <= LARGEST):
            total = clean_number("total", total, self.job_id)
        if advance is not None and (type(advance) is not int or not 0 <= advance <= LARGEST):
            advance = clean_number("advance", advance, self.job_id)
        if percentage is not None:
            percentage = clean_number("percentage", percentage, self.job_id)
        is_next = total is not None and begins_step(current, total, self._current, self._total)
        if is_next or (self._is_step_over and begins_step_after_loop(current, total, advance, percentage)):
            self._go_on_to(total, current or 0)
        elif current is not None and current > self._current:
            self._current = current
        if advance is not None:
            with self._lock:
                self._current += advance
        if percentage is not None:
            self._percentage = percentage
        if message is not None:
            self._say(clean_message(message, self.job_id))
        if not self._dirty:
            self._touch()

    def _say(self, text: str | None) -> None:
        if text is None:
            return
        if len(text) > MAX_SENTENCE and not self._said().has_room(message=text):
            refuse_too_large("The message", self.job_id)
            return
        self._message = text

    def _said(self) -> Said:
        """What the document says by now, also by earlier runs."""
        return Said(self.meta, self._strategy_meta, self._result, self._message)

    def set_meta(self, fields: Mapping[str, object]) -> None:
        """Add fields to the top level of the document; a field set before is replaced."""
        fit = clean_meta(fields, self.job_id)
        with self._lock:
            is_small = self._said().has_room(meta=fit)
            if is_small:
                self._meta.update(fit)
        if is_small:
            self._touch()
        else:
            refuse_too_large(f"Meta {', '.join(map(repr, fit))}", self.job_id)

    def set_strategy_meta(self, meta: Mapping[str, JSON]) -> None:
        """Replace what the strategy says of the job."""
        if meta == self._strategy_meta:
            return
        if not self._said().has_room(strategy_meta=meta):
            refuse_too_large("The strategy's meta", self.job_id)
            return
        self._strategy_meta = meta
        self._touch()

    def set_data(self, key: str, value: object) -> None:
        """Keep a JSON value on the server. Raises InvalidValue for what JSON cannot hold."""
        name, fit = clean_key(key), clean(value, self.job_id, what=f"Data {quoted(key)}")
        with self._lock:
            self._data[name] = fit
            self.data = {**self.data, **self._data}
        self._touch()

    def set_result(self, value: object, *, by_caller: bool = True) -> None:
        """Publish a small JSON value as the job's result; what cannot be published is refused.

        It was given `by_caller`, or is what the task returned.
        """
        result = clean_result(value, self.job_id, by_caller=by_caller)
        if result is None and value is not None:
            return
        if not self._said().has_room(result=result):
            refuse_too_large("The result", self.job_id)
            return
        self._result = result
        self._touch()

    def checkpoint(self) -> None:
        """Raise JobCancelled once cancellation was asked for."""
        if self.cancel_requested:
            raise JobCancelled(self.job_id)

    def end(self, kind: type[Event], **fields: object) -> Job | None:
        """End the run, with everything it has said; the job as the store has it then, None while that is silent."""
        return self._end(self, kind, **fields)

    def _touch(self) -> None:
        """Tell the writer, unless it has not yet come for what it was told of last."""
        if not self._dirty:
            self._dirty = True
            self._notify(self)

    def __reduce__(self) -> Never:
        """Raise TypeError: a job that runs here cannot go to another process."""
        msg = f"The job {self.job_id!r} runs in this process; give another its id, job.id, and let it call get_job(id)."
        raise TypeError(msg)

    # For the writer

    @property
    def is_dirty(self) -> bool:
        """Whether something was said since the last report was taken."""
        return self._dirty or self._current != self._reported

    @property
    def is_counting(self) -> bool:
        """Whether a loop counts without telling anybody."""
        return self._depth > 0

    def take(self) -> tuple[Report, Mapping[str, JSON] | None]:
        """Everything said so far, and what the strategy says; both count as told from now on."""
        with self._lock:
            self._dirty = False
            self.flushed_at = time.monotonic()
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

    def close(self) -> None:
        """The run ends, and is taken from for the last time: of what it says from now on, one line is logged."""
        self.is_closed = True
        self._notify = _note

    def untake(self) -> None:
        """The report taken last was not written."""
        self._dirty = True

    def ask_again(self) -> None:
        """Nothing is taken now; tell the writer of the next change as well."""
        self._dirty = False

    def forked(self) -> None:
        """In a child: the parent tells what was said before; another thread of it may have held the lock."""
        self._lock = RLock()
        self._known_meta, self._meta, self._data = self.meta, {}, {}
        self._message = self._percentage = self._result = self._strategy_meta = None
        self._dirty, self._reported = False, self._current
        self.is_forked = True


def _note(run: Run) -> None:
    late_reports.note(run.job_id, run.job_class)


current_run: ContextVar[Run | None] = ContextVar("immortus_run", default=None)


def owner_here() -> tuple[str | None, bool]:
    """Whose a job is that is started here and now, and whether nobody can tell.

    Its starter's, where that is told; a job's jobs have its owner.
    """
    parent = current_run.get()
    if is_owner_known() or parent is None:
        return current_owner(), False
    if parent.origin is None:
        return None, True
    return parent.origin.owner, parent.origin.staff_only
