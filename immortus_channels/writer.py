"""The one thread per process that writes to the store and sends to the channel layer, in order.

It starts with the first write, again after a fork, and stops when idle. Callers hand their event over and go on; a
lifecycle event waits a moment for its write, so that it is on record before the job goes on. What could not be
written is kept, in order, and tried again until it is.
"""

from __future__ import annotations

import atexit
import logging
import math
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from functools import partial
from typing import Any

from django.core import mail

from immortus_channels import metrics
from immortus_channels.broadcast import Broadcaster
from immortus_channels.conf import leases, settings
from immortus_channels.events import Cancelled, Event, Failed, Finished, Reported, Requeued, Retrying
from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.jobs import Job, State
from immortus_channels.lifecycle import apply
from immortus_channels.progress import Run, current_run
from immortus_channels.stores import forget_connections, get_store
from immortus_channels.trouble import Trouble
from immortus_channels.values import within_limit

logger = logging.getLogger("immortus_channels")

WAIT = 0.4
"""Seconds a lifecycle event waits for its write, so that no call of a task takes half a second."""
_PENDING = 10_000
_IDLE = 30.0
_DRAIN = 5.0
_BACKOFF = (0.1, 2.0)
_HAND_OVER = 50e-6
"""Seconds in which whoever waited for a write takes the interpreter back; else it waits for the push as well."""
_UNFIT_REST = 10.0
"""Seconds until a run whose report could not be applied is asked again."""


class Write:
    """An event on its way into the store, and where its outcome will be found."""

    __slots__ = ("after", "before", "done", "event", "failed", "is_awaited", "is_dry", "known")

    def __init__(
        self, event: Event, *, known: Job | None = None, is_dry: bool = False, is_awaited: bool = False
    ) -> None:
        self.event = event
        self.known = known
        self.is_dry = is_dry
        self.is_awaited = is_awaited
        self.done = threading.Event()
        self.failed = False
        self.before: Job | None = None
        self.after: Job | None = None

    @property
    def is_known(self) -> bool:
        """Whether the store has answered."""
        return self.done.is_set() and not self.failed

    @property
    def changed(self) -> bool:
        """Whether the event meant anything for the job."""
        return self.after is not None and self.after is not self.before

    def finish(self, *, failed: bool = False) -> None:
        """Let whoever waits go on."""
        self.failed = failed
        self.done.set()

    def __str__(self) -> str:
        """Read like a log line; what the event carries may be private."""
        return f"{type(self.event).__name__} of {self.event.job_id!r}"


def perform(write: Write) -> None:
    """Make one write; a dry one only finds out what it would change. Raises StoreUnavailable."""
    store = get_store()
    if write.is_dry:
        reading = store.get_many([write.event.job_id])
        write.before = reading.jobs.get(write.event.job_id)
        write.after = apply(write.before, write.event, now=reading.now, leases=leases())
    else:
        change = partial(_change, event=write.event)
        write.before, write.after = store.update(write.event.job_id, change, known=write.known)


def _change(job: Job | None, now: int, *, event: Event) -> Job | None:
    after = apply(job, event, now=now, leases=leases())
    return after if after is None or after is job else within_limit(job, after)


def perform_anyhow(write: Write) -> None:
    """Make one write; how a run ended is told without what it said when it cannot be told with that.

    Raises StoreUnavailable.
    """
    try:
        perform(write)
    except StoreUnavailable:
        raise
    except Exception:
        if write.is_dry or not isinstance(write.event, _ENDS):
            raise
        about = {"job_id": write.event.job_id}
        logger.exception("%s could not be applied; it is told without what it says", write, extra=about)
        write.event = _bare(write.event)
        perform(write)


_ENDS = (Finished, Failed, Cancelled, Retrying, Requeued)


def _bare(event: Event) -> Event:
    """The event with nothing but what it is: a failure's code is `error` then."""
    kept: dict[str, Any] = {"completed": event.completed} if isinstance(event, Finished) else {}
    return type(event)(job_id=event.job_id, job_class=event.job_class, run_id=event.run_id, **kept)


class Writer:
    """Writes events and the reports of running jobs, renews their leases, and pushes what changed."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._writes: deque[Write] = deque()
        self._renewals: dict[str, tuple[str, float]] = {}
        self._runs: dict[str, Run] = {}
        self._telling: dict[str, Run] = {}
        """Those of the runs that may have something to report: a process may have thousands that wait for others."""
        self._thread: threading.Thread | None = None
        self._stop_by: float | None = None
        self._retry_at = 0.0
        self._failures = 0
        self._renewed_at = 0.0
        self._in_vain = False
        self._outage = Trouble("Writing to the store", "Changes are kept and written when it answers.")
        self._overflow = Trouble("Keeping all that waits for the store", "The oldest changes are lost.")

    # For callers

    def submit(self, event: Event, *, wait: float = WAIT, known: Job | None = None, is_dry: bool = False) -> Write:
        """Hand an event over and wait at most `wait` seconds; `done` tells whether it was written by then.

        It is written without a read if the job still stands as it is `known`.
        """
        write = Write(event, known=known, is_dry=is_dry, is_awaited=wait > 0)
        with self._condition:
            is_down = self._is_down()
            if is_dry and is_down:
                write.finish(failed=True)
                return write
            self._make_room()
            self._writes.append(write)
            metrics.WRITES_WAITING.set(len(self._writes))
            self._wake()
        if wait > 0 and not is_down and not write.done.wait(wait):
            with self._condition:
                self._in_vain = not write.done.is_set()
        return write

    def _is_down(self) -> bool:
        """Whether waiting for the store is in vain: it failed, or somebody waited and it has not answered since."""
        return self._failures > 0 or self._in_vain

    def _make_room(self) -> None:
        if len(self._writes) < _PENDING:
            return
        self._writes.popleft().finish(failed=True)
        metrics.WRITES_DROPPED.add()
        self._overflow.begin(OverflowError(f"more than {_PENDING} changes"))

    def holds(self, job_id: str) -> bool:
        """Whether something about this job waits to be written."""
        with self._condition:
            return any(write.event.job_id == job_id and not write.is_dry for write in self._writes)

    def renew(self, job_id: str, holder: str, seconds: float) -> None:
        """Move a lease, soon, without waiting."""
        with self._condition:
            self._renewals[job_id] = (holder, seconds)
            self._wake()

    def attach(self, run: Run) -> None:
        """Report what this run says and renew its lease until it is detached."""
        with self._condition:
            if not self._runs:
                self._renewed_at = time.monotonic()
            self._runs[run.run_id] = self._telling[run.run_id] = run
            self._wake()

    def detach(self, run: Run) -> None:
        """Stop reporting this run."""
        with self._condition:
            self._runs.pop(run.run_id, None)
            self._telling.pop(run.run_id, None)

    def notify(self, run: Run) -> None:
        """A run has said something: report it at once if the last report is old enough."""
        with self._condition:
            if run.is_forked:
                self._runs.setdefault(run.run_id, run)
            if run.run_id in self._runs:
                self._telling[run.run_id] = run
                self._wake()

    @property
    def is_behind(self) -> bool:
        """Whether the store did not take what it was last given."""
        return self._failures > 0

    def stop(self, timeout: float = _DRAIN) -> None:
        """Write what is left, for at most `timeout` seconds, and end the thread; the next event starts it again."""
        with self._condition:
            thread, self._stop_by = self._thread, time.monotonic() + timeout
            self._condition.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout + WAIT)

    def resume(self) -> None:
        """After a stop that left something: start again."""
        with self._condition:
            if self._is_busy():
                self._wake()

    def _wake(self) -> None:
        self._stop_by = None
        if self._thread is None or not self._thread.is_alive():
            self._start()
        self._condition.notify_all()

    def _start(self) -> None:
        thread = threading.Thread(target=self._work, name="immortus-writer", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            logger.exception("The writer's thread cannot start now; what waits is written when it can")
            return
        self._thread = thread

    # In the thread

    def _work(self) -> None:
        broadcaster = Broadcaster()
        store = get_store()
        store.claim_thread()
        idle_since = time.monotonic()
        try:
            while True:
                with self._condition:
                    # Each wake-up may have moved the time until which nothing is due: `wait_for` would keep the first.
                    while not self._has_work() and not self._may_end(time.monotonic() - idle_since):
                        self._condition.wait(self._pause())
                    if self._is_busy():
                        idle_since = time.monotonic()
                    if self._may_end(time.monotonic() - idle_since):
                        self._thread = None
                        return
                self._cycle(broadcaster)
        finally:
            broadcaster.close()
            store.release_thread()

    def _is_busy(self) -> bool:
        return bool(self._writes or self._runs or self._renewals)

    def _may_end(self, idle: float) -> bool:
        if self._stop_by is None:
            return idle >= _IDLE and not self._is_busy()
        is_unsaid = any(run.is_dirty for run in self._runs.values())
        return time.monotonic() >= self._stop_by or not (self._writes or self._renewals or is_unsaid)

    def _has_work(self) -> bool:
        now = time.monotonic()
        if now < self._retry_at:
            return False
        return bool(self._writes or self._renewals or self._due_runs(now) or self._renewal_due(now))

    def _pause(self) -> float:
        """Seconds until there may be something to do that nobody will tell of."""
        now = time.monotonic()
        if self._stop_by is not None:
            return max(min(self._stop_by, max(self._retry_at, now)) - now, 0.0)
        if now < self._retry_at:
            return self._retry_at - now
        if not self._runs:
            return _IDLE
        telling = self._runs_that_tell()
        waits = [settings.FLUSH_INTERVAL - (now - run.flushed_at) for run in telling if run.is_dirty]
        if any(run.is_counting for run in telling):
            waits.append(settings.FLUSH_INTERVAL)
        waits.append(self._renewed_at + self._renewal_interval() - now)
        return max(min(waits), 0.0)

    def _due_runs(self, now: float) -> list[Run]:
        interval = settings.FLUSH_INTERVAL if self._stop_by is None else -_UNFIT_REST
        return [run for run in self._runs_that_tell() if run.is_dirty and now - run.flushed_at >= interval]

    def _runs_that_tell(self) -> list[Run]:
        """Those that have something to report, or count without a word; `notify` brings the others back."""
        with self._condition:
            for run in [run for run in self._telling.values() if not (run.is_dirty or run.is_counting)]:
                del self._telling[run.run_id]
            return list(self._telling.values())

    def _attached(self) -> list[Run]:
        """The runs of this moment: tasks begin and end while the thread works."""
        with self._condition:
            return list(self._runs.values())

    def _renewal_interval(self) -> float:
        return float(settings.STALLED_AFTER) / 3

    def _renewal_due(self, now: float) -> bool:
        return bool(self._runs) and now - self._renewed_at >= self._renewal_interval()

    def _cycle(self, broadcaster: Broadcaster) -> None:
        """One round: events first, then reports, then leases. A store that is down ends the round."""
        try:
            self._write_events(broadcaster)
            self._write_reports(broadcaster)
            self._move_leases()
            self._renew_runs()
        except StoreUnavailable as error:
            self._back_off(error)
        except Exception:
            logger.exception("The writer met an error it does not know; it goes on")
            self._back_off(None)
        else:
            self._outage.end()
            self._failures = 0
            self._overflow.end()

    def _back_off(self, error: StoreUnavailable | None) -> None:
        if error is not None:
            self._outage.begin(error)
        metrics.STORE_RETRIES.add()
        first, last = _BACKOFF
        self._retry_at = time.monotonic() + min(first * 2**self._failures, last)
        self._failures += 1

    def _write_events(self, broadcaster: Broadcaster) -> None:
        while self._writes:
            write = self._writes[0]
            try:
                perform_anyhow(write)
            except StoreUnavailable:
                if write.is_dry:
                    self._finish(write, failed=True)
                raise
            except Exception as error:  # noqa: BLE001 - the next event may fit
                self._drop(write, error)
                self._finish(write, failed=True)
            else:
                self._finish(write)
                self._learn(write.event.job_id, write.after)
                self._push(broadcaster, write)
                # After an outage thousands may wait: meanwhile no run here may be taken for dead.
                self._renew_runs()

    def _drop(self, write: Write, error: Exception) -> None:
        about = {"job_id": write.event.job_id}
        logger.error("%s could not be applied and is dropped", write, exc_info=error, extra=about)
        metrics.WRITES_DROPPED.add()

    def _finish(self, write: Write, *, failed: bool = False) -> None:
        with self._condition:
            if self._writes and self._writes[0] is write:
                self._writes.popleft()
            self._in_vain = False
            metrics.WRITES_WAITING.set(len(self._writes))
            write.finish(failed=failed)
        if write.is_awaited:
            time.sleep(_HAND_OVER)

    def _push(self, broadcaster: Broadcaster, write: Write) -> None:
        if write.changed and not write.is_dry and write.after is not None:
            broadcaster.send(write.after)

    def _write_reports(self, broadcaster: Broadcaster) -> None:
        for run in self._due_runs(time.monotonic()):
            write = Write(report_of(run), known=run.known)
            try:
                perform(write)
            except StoreUnavailable:
                run.untake()
                raise
            except Exception as error:  # noqa: BLE001
                self._drop(write, error)
                run.flushed_at = time.monotonic() + _UNFIT_REST
            else:
                self._learn(run.job_id, write.after)
                self._push(broadcaster, write)

    def _learn(self, job_id: str, job: Job | None) -> None:
        """What the store answered about a job that may run here: whether it was asked to stop, and which run it is."""
        run = self._runs.get(job.run_id) if job is not None else None
        if job is not None and run is not None and run.job_id == job_id:
            run.attempt = job.attempt
            run.cancel_requested = run.cancel_requested or job.cancel_requested
            run.know(job)

    def _move_leases(self) -> None:
        with self._condition:
            renewals, self._renewals = self._renewals, {}
        by_time: dict[float, dict[str, str]] = {}
        for job_id, (holder, seconds) in renewals.items():
            by_time.setdefault(seconds, {})[job_id] = holder
        try:
            for seconds, holders in by_time.items():
                get_store().renew(holders, seconds)
        except StoreUnavailable:
            with self._condition:
                self._renewals = {**renewals, **self._renewals}
            raise

    def _renew_runs(self) -> None:
        """Show that the runs of this process live, and hear what was asked of them meanwhile."""
        now = time.monotonic()
        if not self._renewal_due(now):
            return
        runs = {run.job_id: run for run in self._attached()}
        store = get_store()
        store.renew({job_id: run.run_id for job_id, run in runs.items()}, settings.STALLED_AFTER)
        self._hear(runs, store.get_many(list(runs)).jobs)
        self._renewed_at = now

    def _hear(self, runs: Mapping[str, Run], jobs: Mapping[str, Job]) -> None:
        """What became of the jobs of these runs meanwhile; one that is believed silent or gone reports at once."""
        for job_id, run in runs.items():
            job = jobs.get(job_id)
            self._learn(job_id, job)
            if job is None or job.stalled or job.state is State.LOST:
                run.untake()
                run.flushed_at = -math.inf
                with self._condition:
                    if run.run_id in self._runs:
                        self._telling[run.run_id] = run


def report_of(run: Run, kind: type[Event] = Reported, **fields: object) -> Event:
    """An event of this run that carries everything the run has said."""
    report, strategy_meta = run.take()
    return kind(
        job_id=run.job_id,
        job_class=run.job_class,
        run_id=run.run_id,
        origin=run.origin,
        report=report,
        strategy_meta=strategy_meta,
        **fields,
    )


class InlineWriter(Writer):
    """Writes in the caller's thread, inside the caller's transaction: for test runners."""

    def submit(
        self,
        event: Event,
        *,
        wait: float = WAIT,
        known: Job | None = None,
        is_dry: bool = False,
    ) -> Write:
        """Write now, after a read: the caller's transaction may show another job than others know."""
        write = Write(event, is_dry=is_dry)
        try:
            perform_anyhow(write)
        except Exception:
            logger.exception("%s could not be written", write, extra={"job_id": event.job_id})
            write.finish(failed=True)
        else:
            write.finish()
            self._learn(event.job_id, write.after)
            self._push_now(write)
        return write

    def renew(self, job_id: str, holder: str, seconds: float) -> None:
        """Move the lease now."""
        get_store().renew({job_id: holder}, seconds)

    def attach(self, run: Run) -> None:
        """Write the run's reports as it makes them."""
        self._runs[run.run_id] = run
        if run.is_dirty:
            self.notify(run)

    def notify(self, run: Run) -> None:
        """Write the run's report if the last one is old enough."""
        if run.run_id in self._runs and time.monotonic() - run.flushed_at >= settings.FLUSH_INTERVAL:
            self.submit(report_of(run))
        else:
            run.ask_again()

    def _push_now(self, write: Write) -> None:
        broadcaster = Broadcaster()
        try:
            self._push(broadcaster, write)
        finally:
            broadcaster.close()


class GreenWriter(InlineWriter):
    """Writes in the caller's greenlet and pushes nothing, where gevent or eventlet have patched threads.

    A thread with an event loop of ours would break every other loop of such a process (measured). Pages are told by the
    re-check of their server.
    """

    def __init__(self) -> None:
        super().__init__()
        logger.warning("Threads are patched (gevent, eventlet): jobs are written inline, and pages learn by re-checks")

    def _push_now(self, write: Write) -> None:
        """Nobody is told."""


def is_green() -> bool:
    """Whether gevent or eventlet have replaced this process' threads."""
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    return bool(
        (gevent is not None and gevent.is_module_patched("threading"))
        or (eventlet is not None and eventlet.is_monkey_patched("thread"))
    )


_writer: Writer | None = None
_lock = threading.Lock()


def get_writer() -> Writer:
    """The writer of this process."""
    global _writer  # noqa: PLW0603 - one per process, made anew after a fork
    kind = GreenWriter if is_green() else InlineWriter if is_inline() else Writer
    with _lock:
        if type(_writer) is not kind:
            _writer = kind()
        return _writer


def is_inline() -> bool:
    """Whether writes happen in the caller's thread: under a test runner, whose transactions no other thread sees."""
    return hasattr(mail, "outbox")


def _after_fork() -> None:
    """The child has neither the thread nor a right to the parent's connections and locks."""
    global _writer, _lock
    _writer, _lock = None, threading.Lock()
    run = current_run.get()
    if run is not None:
        run.forked()
    forget_connections()


def is_behind() -> bool:
    """Whether changes of this process wait because the store could not take them."""
    return _writer is not None and _writer.is_behind


def drain(timeout: float = _DRAIN) -> None:
    """Write what is left before the process ends or forks, for so many seconds at most."""
    if _writer is not None:
        _writer.stop(timeout)


def _after_fork_in_parent() -> None:
    """Celery's main process has drained before it forks; what the store did not take yet waits no longer."""
    if _writer is not None:
        _writer.resume()


os.register_at_fork(after_in_child=_after_fork, after_in_parent=_after_fork_in_parent)
atexit.register(drain)
