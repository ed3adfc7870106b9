"""One event on its way into the store."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any

from immortus_channels import metrics
from immortus_channels.conf import leases, settings
from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.jobs.events import Counted, Event, Reported, Updated
from immortus_channels.jobs.job import Job
from immortus_channels.jobs.lifecycle import apply
from immortus_channels.logs import logger
from immortus_channels.stores import get_store
from immortus_channels.writer import late_reports
from immortus_channels.writer.run import Run
from immortus_channels.writer.share import Share
from immortus_channels.writer.values import within_limit

_LARGE = 16 * 1024
"""Characters of a record that is written at the usual interval; a larger one is written as much less often."""


@dataclass(slots=True, eq=False, repr=False)
class Write:
    """An event on its way into the store, with its outcome.

    It is written without a read if the job is still the `known` one; that of a run is known by its record, as its task
    may change what it is given. A dry write only finds out what the event would change.
    """

    event: Event
    known: Job | str | None = field(default=None, kw_only=True)
    is_dry: bool = field(default=False, kw_only=True)
    is_awaited: bool = field(default=False, kw_only=True)
    done: threading.Event = field(default_factory=threading.Event, init=False)
    listener: Callable[[], object] | None = field(default=None, init=False)
    failed: bool = field(default=False, init=False)
    before: Job | None = field(default=None, init=False)
    after: Job | None = field(default=None, init=False)

    @property
    def is_known(self) -> bool:
        """Whether the store has answered."""
        return self.done.is_set() and not self.failed

    @property
    def changed(self) -> bool:
        """Whether the event changed the job."""
        return self.after is not None and self.after is not self.before

    def finish(self, *, failed: bool = False) -> None:
        """Let the caller that waits continue."""
        self.failed = failed
        self.done.set()
        if self.listener is not None:
            self.listener()

    async def answered(self, wait: float) -> bool:
        """Return whether the store has answered, after `wait` seconds at most, in which the event loop runs on."""
        loop, heard = asyncio.get_running_loop(), asyncio.Event()

        def tell() -> None:
            with suppress(RuntimeError):  # the loop is closed: its caller waits no more
                loop.call_soon_threadsafe(heard.set)

        self.listener = tell
        if not self.done.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(heard.wait(), wait)
        return self.done.is_set()

    def __str__(self) -> str:
        """Return text for a log line, without what the event carries, which may be private."""
        return f"{type(self.event).__name__} of {self.event.job_id!r}"


def perform(write: Write) -> None:
    """Make one write. Raises StoreUnavailable."""
    store = get_store()
    if write.is_dry:
        reading = store.get_many([write.event.job_id])
        write.before = reading.jobs.get(write.event.job_id)
        write.after = apply(write.before, write.event, now=reading.now, leases=leases())
    else:
        change = partial(_change, event=write.event)
        event = write.event
        known = Job.from_record(write.known) if isinstance(write.known, str) else write.known
        if known is None and event.traits.makes_record:
            known = Job(job_id=event.job_id)
        write.before, write.after = store.update(event.job_id, change, known=known)
        job = write.after
        if isinstance(event, Updated | Counted) and event.is_shown and job is not None and job.is_over:
            late_reports.note(job)


def _change(job: Job | None, now: int, *, event: Event) -> Job | None:
    after = apply(job, event, now=now, leases=leases())
    return after if after is None or after is job else within_limit(job, after)


def perform_with_fallback(write: Write) -> None:
    """Make one write; where a run's end cannot be written with its report, write it without.

    Raises StoreUnavailable.
    """
    try:
        perform(write)
    except StoreUnavailable:
        raise
    except Exception:
        if write.is_dry or not write.event.traits.ends_run:
            raise
        about = {"job_id": write.event.job_id}
        logger.exception("%s could not be applied; it is written without its content", write, extra=about)
        write.event, write.known = _bare(write.event), None
        perform(write)


def _bare(event: Event) -> Event:
    """Return the event with nothing but its ids and flags: a failure's code is `error` then."""
    values = {each.name: getattr(event, each.name) for each in fields(event)}
    flags: dict[str, Any] = {name: value for name, value in values.items() if isinstance(value, bool)}
    return type(event)(job_id=event.job_id, job_class=event.job_class, run_id=event.run_id, queue=event.queue, **flags)


def log_drop(write: Write, error: Exception) -> None:
    """Log that an event which no store can take is lost."""
    logger.error("%s could not be applied and is dropped", write, exc_info=error, extra={"job_id": write.event.job_id})
    metrics.WRITES_DROPPED.add()


def report_of(run: Run, kind: type[Event] = Reported, **fields: object) -> Event:
    """Return an event of this run with everything the run has said; after a report, the next one has time."""
    if kind is Reported:
        run.not_before = time.monotonic() + settings.FLUSH_INTERVAL * max(1.0, len(run.known or "") / _LARGE)
    if isinstance(run, Share):
        return run.news()
    report, strategy_meta = run.take()
    return kind(
        job_id=run.job_id,
        job_class=run.job_class,
        run_id=run.run_id,
        queue=run.queue,
        origin=run.origin,
        report=report,
        strategy_meta=strategy_meta,
        **fields,
    )
