"""The two kinds of job that do not run here: one that runs elsewhere, if at all, and a stand-in for none.

Both take what `writer.run.Run` takes, so that a `JobHandle` need not know which of the three it uses.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property, lru_cache
from typing import Any, TypeVar

from django.apps import apps

from immortus_channels import tracking
from immortus_channels.exceptions import ConfigurationError, JobCancelled, JobNotFound, StoreUnavailable
from immortus_channels.guarded import quoted
from immortus_channels.jobs.events import Event, Updated
from immortus_channels.jobs.job import Job, Number
from immortus_channels.keys import name_in
from immortus_channels.logs import logger
from immortus_channels.threads import is_in_event_loop, strand_here, waits_for_store
from immortus_channels.tracking import strategies
from immortus_channels.writer import brought_along
from immortus_channels.writer.run import SILENCE, Run
from immortus_channels.writer.share import Share
from immortus_channels.writer.values import (
    Said,
    clean,
    clean_key,
    clean_message,
    clean_meta,
    clean_number,
    clean_result,
    refuse_too_large,
    with_room,
)

Item = TypeVar("Item")


class Remote:
    """A job by its record; each call publishes a change of its own, and a loop one an interval.

    `known` is the record as it was last read; None: the next question reads it.
    """

    def __init__(self, job_id: str, record: Job | None = None) -> None:
        self.job_id = job_id
        self.known = record
        self._asked_at = time.monotonic()
        self._at_work: set[int] = set()
        """The tasks and threads in which this handle has loops at work."""
        self._announced_in = 0
        """The task or thread that gave a total by this handle."""

    @cached_property
    def _name(self) -> str:
        """A name of this handle, to tell its loops from those of others."""
        return uuid.uuid4().hex[:12]

    def _name_in(self, strand: int, *, is_one_of_several: bool = False) -> str:
        """Return the name of what is counted in this task or thread: another than this handle's where several do."""
        is_own = self._announced_in in (0, strand) and not is_one_of_several
        return self._name if is_own else f"{self._name}-{strand:x}"

    @property
    def _here(self) -> tuple[str, int]:
        """The key of the loop that is at work here: in this thread, or in this task of an event loop."""
        return self.job_id, strand_here()

    # Reporting

    def track(self, iterable: Iterable[Item], total: Number | None, message: object) -> Iterator[Item]:
        """Yield the items, and add each to the job's count; a loop in one of this task or thread counts within that.

        Raises JobCancelled between two items once a cancel was requested.
        """
        need_django()
        here = self._here
        if here in _looping:
            yield from _looping[here].track(iterable, total, message)
            return
        job_class = self.known.job_class if self.known is not None else ""
        strand = here[1]
        self._at_work.add(strand)
        by = self._name_in(strand, is_one_of_several=len(self._at_work) > 1)
        _looping[here] = share = tracking.make_share(job_id=self.job_id, job_class=job_class, by=by)
        try:
            yield from share.track(iterable, total, message)
        finally:
            _looping.pop(here, None)
            self._at_work.discard(strand)

    def update(
        self,
        current: Number | None,
        total: Number | None,
        advance: Number | None,
        percentage: float | None,
        message: object | None,
    ) -> None:
        """Publish the given values."""
        given = {"current": current, "total": total, "advance": advance, "percentage": percentage}
        numbers = {name: clean_number(name, value, self.job_id) for name, value in given.items() if value is not None}
        text = None if message is None else clean_message(message, self.job_id)
        if text is not None and not self._has_room("The message", message=text):
            text = None
        here = self._here
        share = _looping.get(here)
        if advance and total is None and share is not None and share.counts_by_itself():
            del numbers["advance"]
        if share is not None and share.counts_inside(**numbers):
            numbers = {}
        if "total" in numbers:
            self._announced_in = here[1]
        self._publish(Updated, **numbers, message=text, by=self._name_in(here[1]))

    def set_meta(self, fields: Mapping[str, object]) -> None:
        """Publish these fields for the top level of the document."""
        meta = clean_meta(fields, self.job_id)
        if self._has_room(f"Meta {', '.join(map(repr, meta))}", meta=meta):
            self._publish(Updated, meta=meta)

    def set_result(self, value: object) -> None:
        """Publish a small JSON value as the job's result."""
        result = clean_result(value, self.job_id)
        if self._has_room("The result", result=result):
            self._publish(Updated, result=result)

    def set_data(self, key: str, value: object) -> None:
        """Keep a JSON value on the server. Raises InvalidValue for what JSON cannot hold."""
        new = {clean_key(key): clean(value, self.job_id, what=f"Data {quoted(key)}")}
        said = self.known or Job(job_id=self.job_id)
        fit = with_room(new, self.job_id, data=said.data, params=said.params)
        if fit:
            self._publish(Updated, data=fit)

    def checkpoint(self) -> None:
        """Raise JobCancelled once a cancel was requested; while the store is silent, nothing is known of that."""
        if self.known is None and is_in_event_loop():
            return
        try:
            asked = self.cancel_requested
        except (JobNotFound, StoreUnavailable) as error:
            logger.warning("Whether %r was asked to stop cannot be read: %s", self.job_id, error)
            return
        if asked:
            raise JobCancelled(self.job_id)

    @property
    def cancel_requested(self) -> bool:
        """Whether a cancel was requested; read again after half a second. Raises JobNotFound and StoreUnavailable."""
        now = time.monotonic()
        if now >= self._asked_at + SILENCE and not is_in_event_loop():
            self._asked_at = now
            self.known = read(self.job_id)
        return self.record.cancel_requested

    def end(self, kind: type[Event], **fields: object) -> Job | None:
        """End the job, in whichever process it runs; return its record then, as far as it is known."""
        self._publish(kind, by_hand=True, **fields)
        return self.known

    @waits_for_store("await job.acancel()")
    def cancel(self) -> Job | None:
        """Ask the job to stop; return its record after that, None for an unknown id. Raises StoreUnavailable."""
        return tracking.cancel(self.job_id)

    def _publish(self, kind: type[Event], **fields: Any) -> None:
        need_django()
        job_class = self.known.job_class if self.known is not None else ""
        self.known = tracking.publish_here(kind(job_id=self.job_id, job_class=job_class, **fields)) or self.known

    def _has_room(self, what: str, **new: Any) -> bool:
        """Return whether this fits beside what the job is known to say already; refuse it as `what` if not."""
        said = self.known or Job(job_id=self.job_id)
        has_room = Said(said.meta, said.strategy_meta, said.result, said.message).has_room(**new)
        if not has_room:
            refuse_too_large(what, self.job_id)
        return has_room

    # Reading

    @property
    def record(self) -> Job:
        """The job as it was last read from the store. Raises JobNotFound and StoreUnavailable."""
        return self.known or self.read_again()

    @waits_for_store("await job.arefresh()")
    def read_again(self) -> Job:
        """Read the record now. Raises JobNotFound and StoreUnavailable."""
        self.known = read(self.job_id)
        return self.known

    @property
    def summary(self) -> str:
        """The job's class and state in a word each, "" for a job that was not read; this reads nothing."""
        return f"{self.known.job_class} {self.known.state}".strip() if self.known is not None else ""

    @property
    def job_class(self) -> str:
        """The registered name of the job's task."""
        return self.record.job_class

    @property
    def details(self) -> Job:
        """The record; for a run, `details` is the run itself."""
        return self.record

    @property
    def strategy(self) -> Any:
        """The strategy that follows the job."""
        return strategies.strategy_of(self.job_class, self.job_id)


_looping: dict[tuple[str, int], Share] = {}
"""The loops at work in each thread, or task of an event loop, by their jobs."""


class Forked(Run):
    """A run in a child of its process: there, a handle made before the fork is one like in any other process."""

    __slots__ = ()

    def __getattribute__(self, name: str) -> Any:
        """Let the job's record answer for what handles ask."""
        if name in _ASKED_BY_HANDLES:
            return getattr(_elsewhere(self.job_id), name)
        return super().__getattribute__(name)


_elsewhere = lru_cache(maxsize=64)(Remote)
_ASKED_BY_HANDLES = frozenset(
    {
        *("track", "update", "set_meta", "set_result", "set_data", "checkpoint", "end"),
        *("cancel_requested", "details", "strategy", "summary"),
    }
)


def _after_fork() -> None:
    _looping.clear()
    _elsewhere.cache_clear()
    for run in brought_along:
        run.__class__ = Forked


os.register_at_fork(after_in_child=_after_fork)


class NoJob(Remote):
    """The stand-in outside any job: it checks values as every job does, and publishes nothing."""

    summary = "outside a job"

    def track(self, iterable: Iterable[Item], total: Number | None, message: object) -> Iterator[Item]:
        """Yield the items."""
        return iter(iterable)

    def checkpoint(self) -> None:
        """Do nothing."""

    @property
    def cancel_requested(self) -> bool:
        """Nobody can have asked."""
        return False

    @property
    def record(self) -> Job:
        """No record: raises JobNotFound."""
        msg = "This code runs outside a job, so there is no record to read: current_job() has one in a task that runs."
        raise JobNotFound(msg)

    @property
    def details(self) -> Job:
        """The record of a job that has not begun: outside a job, these questions raise nothing."""
        return Job(job_id=self.job_id)

    @property
    def strategy(self) -> Any:
        """The project's default strategy."""
        return strategies.load(strategies.DEFAULT)

    def cancel(self) -> None:
        """Do nothing."""

    def _publish(self, kind: type[Event], **fields: Any) -> None:
        pass


def read(job_id: str) -> Job:
    """Return the job as it stands; in a hook, as it is about to be. Raises JobNotFound and StoreUnavailable."""
    need_django()
    in_hook = tracking.job_in_hook(job_id)
    if in_hook is not None:
        return in_hook
    reading = tracking.on_record([job_id])
    job = reading.jobs.get(job_id)
    if job is None:
        raise JobNotFound(unknown(job_id))
    return tracking.present_state(job, reading.now)


def need_django() -> None:
    """Raise ConfigurationError in a process without Django, as a child that was not forked is at first."""
    if not apps.models_ready:
        msg = (
            "This process has not set Django up, so no job can be used here: call django.setup() first. A child that "
            "is spawned begins without: ProcessPoolExecutor(initializer=django.setup)."
        )
        raise ConfigurationError(msg)


def unknown(job_id: str) -> str:
    """Return the error text for a job that is not on record, or hidden from the caller."""
    return f"No job {name_in(job_id)!r} is known; it may have expired, or its task is not @tracked."
