"""The one thread per process that writes to the store and sends to the channel layer, in order.

It starts with the first write, again after a fork, and stops when idle. Callers hand their event over and go on; a
lifecycle event waits a moment for its write, so that it is on record before the job goes on. What could not be
written is kept, in order, and tried again until it is; where only one job's record cannot be, others go ahead of it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Mapping

from immortus_channels import metrics
from immortus_channels.conf import settings
from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.jobs.events import Event
from immortus_channels.logs import Trouble
from immortus_channels.push.broadcaster import Broadcaster
from immortus_channels.stores import get_store
from immortus_channels.writer.backlog import Backlog, Trial, doubled
from immortus_channels.writer.registry import Runs
from immortus_channels.writer.run import Run
from immortus_channels.writer.write import Write, perform, perform_anyhow, report_of

logger = logging.getLogger("immortus_channels")

WAIT = 0.4
"""Seconds a lifecycle event waits for its write, so that no call of a task takes half a second."""
_PENDING = 10_000
_IDLE = 30.0
DRAIN = 5.0
_BACKOFF = (0.1, 2.0)
_HAND_OVER = 50e-6
"""Seconds in which whoever waited for a write takes the interpreter back; else it waits for the push as well."""
_UNFIT_REST = 10.0
"""Seconds until a run whose report could not be applied is asked again."""


class Writer:
    """Writes events and the reports of running jobs, renews their leases, and pushes what changed."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._writes = Backlog()
        self._trial = Trial()
        self._renewals: dict[str, tuple[str, float]] = {}
        self._runs = Runs()
        self._thread: threading.Thread | None = None
        self._stop_by: float | None = None
        self._retry_at = 0.0
        self._failures = 0
        self._in_vain = False
        self._is_pushing = False
        """Whether the thread is held by the channel layer, which says nothing of the store."""
        self._outage = Trouble("Writing to the store", "Changes are kept and written when it answers.")
        self._overflow = Trouble("Keeping all that waits for the store", "The oldest changes are lost.")

    # For callers

    def submit(self, event: Event, *, wait: float = WAIT, known: str | None = None, is_dry: bool = False) -> Write:
        """Hand an event over and wait at most `wait` seconds; `done` tells whether it was written by then.

        It is written without a read if the record of the job is still the `known` one.
        """
        write = Write(event, known=known, is_dry=is_dry, is_awaited=wait > 0)
        with self._condition:
            is_down = self._is_down()
            if is_dry and is_down:
                write.finish(failed=True)
                return write
            self._make_room()
            self._writes.put(write)
            metrics.WRITES_WAITING.set(len(self._writes))
            self._wake()
        if wait > 0 and not is_down and not write.done.wait(wait):
            with self._condition:
                self._in_vain = not (write.done.is_set() or self._is_pushing)
        return write

    def _is_down(self) -> bool:
        """Whether waiting for the store is in vain: it failed, or somebody waited and it has not answered since."""
        return self._failures > 0 or self._in_vain

    def _make_room(self) -> None:
        if len(self._writes) < _PENDING:
            return
        self._writes.pop_oldest().finish(failed=True)
        metrics.WRITES_DROPPED.add()
        self._overflow.begin(OverflowError(f"more than {_PENDING} changes"))

    def held(self, job_ids: Collection[str]) -> set[str]:
        """Those of these jobs about which something waits to be written."""
        with self._condition:
            return self._writes.held(job_ids)

    def renew(self, job_id: str, holder: str, seconds: float) -> None:
        """Move a lease, soon, without waiting."""
        with self._condition:
            self._renewals[job_id] = (holder, seconds)
            self._wake()

    def attach(self, run: Run) -> None:
        """Report what this run says and renew its lease until it is detached."""
        with self._condition:
            self._runs.attach(run)
            self._wake()

    def detach(self, run: Run) -> None:
        """Stop reporting this run."""
        self._runs.detach(run)

    def notify(self, run: Run) -> None:
        """A run has said something: report it at once if the last report is old enough."""
        with self._condition:
            if run.is_forked:
                self._runs.adopt(run)
            if self._runs.listen_to(run):
                self._wake()

    @property
    def is_behind(self) -> bool:
        """Whether the store did not take what it was last given."""
        return self._failures > 0

    def stop(self, timeout: float = DRAIN) -> None:
        """Write what is left, for at most `timeout` seconds, and end the thread; the next event starts it again."""
        with self._condition:
            thread, self._stop_by = self._thread, time.monotonic() + timeout
            self._writes.recall()
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
        is_unsaid = any(run.is_dirty for run in self._runs.all())
        return time.monotonic() >= self._stop_by or not (self._writes or self._renewals or is_unsaid)

    def _has_work(self) -> bool:
        now = time.monotonic()
        if now < self._retry_at:
            return False
        is_behind = self._writes.pause(now, self._renewals) <= 0
        return bool(is_behind or self._due_runs(now) or self._runs.is_renewal_due(now))

    def _pause(self) -> float:
        """Seconds until there may be something to do that nobody will tell of."""
        now = time.monotonic()
        writes = now + self._writes.pause(now, self._renewals)
        if self._stop_by is not None:
            return max(min(self._stop_by, max(self._retry_at, writes)) - now, 0.0)
        if now < self._retry_at:
            return self._retry_at - now
        runs = self._runs.pause(now) if self._runs else _IDLE
        return max(min(runs, writes - now), 0.0)

    def _due_runs(self, now: float) -> list[Run]:
        interval = settings.FLUSH_INTERVAL if self._stop_by is None else -_UNFIT_REST
        return [run for run in self._runs.due(now, interval) if self._may_write(run.job_id)]

    def _cycle(self, broadcaster: Broadcaster) -> None:
        """One round: events first, then reports, then leases. A store that is down ends the round."""
        trial = self._trial = Trial(self._writes.refused)
        try:
            self._write_events(broadcaster)
            self._write_reports(broadcaster)
            self._move_leases()
            self._renew_runs()
            trial.end()
        except StoreUnavailable as error:
            self._set_aside(trial.suspects.keys() & trial.refused)
            with self._condition:
                self._writes.put_behind(trial.suspects)
            self._back_off(error)
        except Exception:
            logger.exception("The writer met an error it does not know; it goes on")
            self._back_off(None)
        else:
            self._set_aside(trial.suspects.keys())
            self._outage.end()
            self._failures = 0
            self._overflow.end()
        finally:
            self._trial = Trial()

    def _back_off(self, error: StoreUnavailable | None) -> None:
        if error is not None:
            self._outage.begin(error)
        if not self._trial.suspects:  # each of those was counted
            metrics.STORE_RETRIES.add()
        self._retry_at = time.monotonic() + doubled(_BACKOFF, self._failures)
        self._failures += 1

    def _write_events(self, broadcaster: Broadcaster) -> None:
        while (write := self._next_write()) is not None:
            try:
                perform_anyhow(write)
            except StoreUnavailable as error:
                if write.is_dry:
                    self._finish(write, failed=True)
                self._failed(write.event.job_id, error)
            except Exception as error:  # noqa: BLE001 - the next event may fit
                self._drop(write, error)
                self._finish(write, failed=True)
            else:
                self._finish(write)
                self._worked([write.event.job_id])
                self._runs.learn(write.event.job_id, write.after)
                self._push(broadcaster, write)
                # After an outage thousands may wait: meanwhile no run here may be taken for dead.
                self._renew_runs()

    def _drop(self, write: Write, error: Exception) -> None:
        about = {"job_id": write.event.job_id}
        logger.error("%s could not be applied and is dropped", write, exc_info=error, extra=about)
        metrics.WRITES_DROPPED.add()

    def _next_write(self) -> Write | None:
        with self._condition:
            return self._writes.next(time.monotonic(), but=self._trial.suspects)

    def _set_aside(self, job_ids: Collection[str]) -> None:
        """Go on without these: their records are refused and others are not, as where another session locked them."""
        now = time.monotonic()
        with self._condition:
            for job_id in job_ids:
                self._writes.set_aside(job_id, now)
        for run in self._runs.all() if job_ids else ():
            if run.job_id in job_ids:
                run.flushed_at = self._writes.left_alone_until(run.job_id)

    def _failed(self, job_id: str, error: StoreUnavailable) -> None:
        """Go on without the job for this round. Raises the error when nothing else works either."""
        metrics.STORE_RETRIES.add()
        self._trial.failed(job_id, error)

    def _worked(self, job_ids: Collection[str]) -> None:
        self._trial.worked(job_ids)
        with self._condition:
            self._writes.written(job_ids)

    def _finish(self, write: Write, *, failed: bool = False) -> None:
        with self._condition:
            self._writes.remove(write)
            self._in_vain = False
            metrics.WRITES_WAITING.set(len(self._writes))
            write.finish(failed=failed)
        if write.is_awaited:
            time.sleep(_HAND_OVER)

    def _push(self, broadcaster: Broadcaster, write: Write) -> None:
        if write.changed and not write.is_dry and write.after is not None:
            self._is_pushing = True
            try:
                broadcaster.send(write.after)
            finally:
                self._is_pushing = False

    def _write_reports(self, broadcaster: Broadcaster) -> None:
        for run in self._due_runs(time.monotonic()):
            write = Write(report_of(run), known=run.known)
            try:
                perform(write)
            except StoreUnavailable as error:
                run.untake()
                self._failed(run.job_id, error)
            except Exception as error:  # noqa: BLE001
                self._drop(write, error)
                run.flushed_at = time.monotonic() + _UNFIT_REST
            else:
                self._worked([run.job_id])
                self._runs.learn(run.job_id, write.after)
                self._push(broadcaster, write)

    def _move_leases(self) -> None:
        with self._condition:
            renewals, self._renewals = self._renewals, {}
        by_time: dict[float, dict[str, str]] = {}
        for job_id, (holder, seconds) in renewals.items():
            by_time.setdefault(seconds, {})[job_id] = holder
        try:
            for seconds, holders in by_time.items():
                self._renew(holders, seconds)
        except Exception:
            self._keep(renewals)
            raise
        self._keep({job_id: lease for job_id, lease in renewals.items() if not self._may_write(job_id)})

    def _keep(self, renewals: Mapping[str, tuple[str, float]]) -> None:
        with self._condition:
            self._renewals = {**renewals, **self._renewals}

    def _renew_runs(self) -> None:
        """Show that the runs of this process live, and hear what was asked of them meanwhile."""
        now = time.monotonic()
        if not self._runs.is_renewal_due(now):
            return
        self._renew({run.job_id: run.run_id for run in self._runs.all()}, settings.STALLED_AFTER)
        runs = {run.job_id: run for run in self._runs.all() if self._may_write(run.job_id)}
        self._runs.hear(runs.values(), get_store().get_many(list(runs)).jobs)
        self._runs.renewed(now)

    def _renew(self, holders: Mapping[str, str], seconds: float) -> None:
        """Move leases, but for those of jobs that are left alone; what was refused before comes last, one by one."""
        able = {job_id: holder for job_id, holder in holders.items() if self._may_write(job_id)}
        refused = self._trial.refused & able.keys()
        self._renew_together({job_id: holder for job_id, holder in able.items() if job_id not in refused}, seconds)
        for job_id in refused:
            self._renew_together({job_id: able[job_id]}, seconds)

    def _renew_together(self, holders: Mapping[str, str], seconds: float) -> None:
        """Move these leases, and find whom the store refuses."""
        if not holders:
            return
        try:
            get_store().renew(holders, seconds)
        except Exception as error:  # noqa: BLE001 - whatever one of them makes the store raise, the others are moved
            if len(holders) == 1:
                self._not_renewed(next(iter(holders)), error)
                return
            # Where it is not about one of them, this raises.
            locked = get_store().locked(list(holders)) if isinstance(error, StoreUnavailable) else ()
            for some in _apart(holders, locked) if locked else _halves(holders):
                self._renew_together(some, seconds)
        else:
            self._worked(holders)

    def _not_renewed(self, job_id: str, error: Exception) -> None:
        """Go on without the job's lease: for this round, or for good if no second try will be any better."""
        if isinstance(error, StoreUnavailable):
            self._failed(job_id, error)
        else:
            logger.error("The lease of %r cannot be moved", job_id, exc_info=error, extra={"job_id": job_id})

    def _may_write(self, job_id: str) -> bool:
        with self._condition:
            is_suspect = job_id in self._trial.suspects
            return not is_suspect and self._writes.may_write(job_id, time.monotonic())


def _apart(holders: Mapping[str, str], locked: Collection[str]) -> list[dict[str, str]]:
    """Those that are free together, so that they wait for no other, and then each that is locked."""
    free = {job_id: holder for job_id, holder in holders.items() if job_id not in locked}
    return [free, *({job_id: holders[job_id]} for job_id in locked)]


def _halves(holders: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    pairs = list(holders.items())
    middle = len(pairs) // 2
    return dict(pairs[:middle]), dict(pairs[middle:])
