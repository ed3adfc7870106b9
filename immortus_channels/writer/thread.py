"""The one thread per process that writes to the store and sends to the channel layer, in order.

It starts with the first write, again after a fork, and stops when idle. Callers hand their event over and continue; a
caller with a lifecycle event waits a moment for its write, so that it is on record before the job continues. The writer
keeps what it could not write, in order, and retries until it can; if only one job's record fails, others go ahead of
it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection
from itertools import chain

from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.jobs.events import Event
from immortus_channels.jobs.job import Job
from immortus_channels.logs import logger
from immortus_channels.push.broadcaster import Broadcaster
from immortus_channels.stores import get_store
from immortus_channels.threads import is_in_event_loop
from immortus_channels.writer.backlog import Backlog
from immortus_channels.writer.leases import Renewals
from immortus_channels.writer.registry import Runs
from immortus_channels.writer.run import Run
from immortus_channels.writer.suspension import Suspensions
from immortus_channels.writer.write import Write, log_drop, perform, perform_with_fallback, report_of

WAIT = 0.4
"""Seconds a lifecycle event waits for its write, so that no call of a task takes half a second."""
HEARING = 0.1
"""Seconds a step of a run waits for the store to say whether the job was asked to stop."""
_IDLE = 30.0
DRAIN = 5.0
_HAND_OVER = 50e-6
"""Seconds in which the caller that waited for a write takes the interpreter back; else it waits for the push too."""
_UNFIT_REST = 10.0
"""Seconds until the writer asks a run again after a report that it could not apply."""
_BEFORE_FORK = 0.1
"""Seconds in which a fork lets runs report."""


class Writer:
    """The writer of events and of running jobs' reports, which also renews their leases and pushes what changed."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._at_work = threading.Lock()
        """Held by the thread while it is in the store: a child forked then would find SQLite locked for ever."""
        self._writes = Backlog()
        self._suspensions = Suspensions()
        self._runs = Runs()
        self._renewals = Renewals(self._runs, self._suspensions)
        self._thread: threading.Thread | None = None
        self._stop_by: float | None = None
        self._is_paused = False
        self._in_vain = False
        """Whether a caller waited for the store, which has not answered since."""
        self._is_late = False
        """Whether the answer to a run's last question took longer than its step waits, or has not come."""
        self._is_pushing = False
        """Whether the channel layer holds the thread up, which says nothing of the store."""

    # For callers

    def submit(
        self, event: Event, *, wait: float = WAIT, known: Job | str | None = None, is_dry: bool = False
    ) -> Write:
        """Hand an event over and wait at most `wait` seconds; `done` says whether it was written by then.

        The writer writes it without a read if the job is still the `known` one.
        """
        write = Write(event, known=known, is_dry=is_dry, is_awaited=wait > 0)
        if self._put(write) and wait > 0 and not write.done.wait(wait):
            self._note_silence(write)
        return write

    async def asubmit(self, event: Event, *, wait: float = WAIT, known: Job | str | None = None) -> Write:
        """Do what `submit` does on an event loop, which runs on meanwhile."""
        write = Write(event, known=known, is_awaited=wait > 0)
        if self._put(write) and wait > 0 and not await write.answered(wait):
            self._note_silence(write)
        return write

    def _put(self, write: Write) -> bool:
        """Have the write made; return whether an answer can be expected soon."""
        with self._condition:
            is_down = self.is_behind or self._in_vain
            if write.is_dry and is_down:
                write.finish(failed=True)
                return False
            self._writes.put(write)
            self._wake()
        return not is_down

    def _note_silence(self, write: Write) -> None:
        with self._condition:
            self._in_vain = not (write.done.is_set() or self._is_pushing)

    @property
    def is_behind(self) -> bool:
        """Whether the store did not take what the writer last gave it."""
        return self._suspensions.store.times > 0

    def held(self, job_ids: Collection[str]) -> set[str]:
        """Return those of these jobs that have a write waiting."""
        with self._condition:
            return self._writes.held(job_ids)

    def renew(self, job_id: str, holder: str, seconds: float) -> None:
        """Move a lease, soon, without waiting."""
        with self._condition:
            self._renewals.ask(job_id, holder, seconds)
            self._wake()

    def attach(self, run: Run) -> None:
        """Report on this run and renew its lease until it is detached."""
        with self._condition:
            self._runs.attach(run)
            self._wake()

    def is_at_work(self, job_id: str) -> bool:
        """Return whether a run of this job is attached."""
        return job_id in self._runs.leased()

    def brought_along(self) -> list[Run]:
        """Return, in a child after fork, the runs of its parent."""
        return self._runs.forked()

    def detach(self, run: Run) -> None:
        """Stop reporting on this run."""
        self._runs.detach(run)

    def notify(self, run: Run) -> None:
        """Report what a run has set, as soon as it may report again."""
        with self._condition:
            if self._runs.listen_to(run):
                self._wake()

    def listen(self, run: Run) -> None:
        """Ask the store whether the run's job was asked to stop; wait a moment for that, but not in an event loop.

        While answers come late, or not at all, no step waits for one: the run learns it at a later step.
        """
        with self._condition:
            question = self._runs.ask(run)
            if question is None:
                return
            may_wait = not (self.is_behind or self._in_vain or self._is_late or is_in_event_loop())
            self._wake()
        if may_wait and not question.answered.wait(HEARING):
            self._is_late = True

    def learn(self, job: Job) -> None:
        """Pass on what the caller knows of a job to its run here, if there is one."""
        self._runs.learn(job.job_id, job)

    def stop(self, timeout: float = DRAIN) -> None:
        """Write what is left, for at most `timeout` seconds, and end the thread; the next event starts it again."""
        with self._condition:
            thread, self._stop_by = self._thread, time.monotonic() + timeout
            self._suspensions.recall()
            self._condition.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout + WAIT)

    def pause(self) -> None:
        """Keep the thread from the store until `resume`, for a fork; wait a moment until it is out of it.

        What runs here have set is reported before: the child adds to that, and must not be there first.
        """
        with self._condition:
            is_unsaid = not self.is_behind and any(run.is_dirty for run in self._runs.all())
        if is_unsaid:
            self.stop(_BEFORE_FORK)
        if self._at_work.acquire(timeout=WAIT):
            self._is_paused = True

    def resume(self) -> None:
        """Let the thread go on, also after a stop that left something to write."""
        if self._is_paused:
            self._is_paused = False
            self._at_work.release()
        with self._condition:
            if self._is_busy():
                self._wake()

    def _wake(self) -> None:
        self._stop_by = None
        self._condition.notify_all()
        if self._thread is None or not self._thread.is_alive():
            thread = threading.Thread(target=self._work, name="immortus-writer", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                logger.exception("The writer's thread cannot start now; what waits is written when it can")
            else:
                self._thread = thread

    # In the thread

    def _work(self) -> None:
        broadcaster = Broadcaster()
        store = get_store()
        with self._at_work:
            store.claim_thread()
        idle_since = time.monotonic()
        try:
            while True:
                with self._condition:
                    # Each wake-up may have moved the time until which nothing is due: `wait_for` would keep the first.
                    while (pause := self._pause()) > 0 and not self._may_end(time.monotonic() - idle_since):
                        self._condition.wait(min(pause, self._runs.mark_unanswered(time.monotonic())))
                    if self._is_busy():
                        idle_since = time.monotonic()
                    if self._may_end(time.monotonic() - idle_since):
                        self._thread = None
                        return
                with self._at_work:
                    self._cycle(broadcaster)
        finally:
            broadcaster.close()
            with self._at_work:
                store.release_thread()

    def _is_busy(self) -> bool:
        return bool(self._writes or self._runs or self._renewals.asked)

    def _may_end(self, idle: float) -> bool:
        if self._stop_by is None:
            return idle >= _IDLE and not self._is_busy()
        is_unsaid = any(run.is_dirty for run in self._runs.all())
        return time.monotonic() >= self._stop_by or not (self._writes or self._renewals.asked or is_unsaid)

    def _pause(self) -> float:
        """Return the seconds until there may be something to do that no call announces; 0, or less, while there is."""
        now = time.monotonic()
        writes = self._suspensions.pause(chain(self._writes.job_ids(), self._renewals.asked), now)
        runs = self._runs.pause(now, self._suspensions, at_once=self._stop_by is not None)
        pause = max(min(writes, runs), self._suspensions.store.until - now)
        return min(pause, _IDLE if self._stop_by is None else self._stop_by - now)

    def _cycle(self, broadcaster: Broadcaster) -> None:
        """Write one round: events first, then reports, then leases. A store that is down ends the round."""
        try:
            self._write_events(broadcaster)
            self._write_reports(broadcaster)
            self._renewals.move()
            self._renewals.renew_runs()
            self._suspensions.end_round(time.monotonic())
            self._writes.overflow.end()
            self._answer_runs()
        except Exception as error:
            if not isinstance(error, StoreUnavailable):
                logger.exception("The writer met an unknown error and continues")
            with self._condition:
                self._writes.put_behind(self._suspensions.suspects)
            self._suspensions.abandon_round(time.monotonic(), error)

    def _write_events(self, broadcaster: Broadcaster) -> None:
        while (write := self._next_write()) is not None:
            try:
                perform_with_fallback(write)
            except StoreUnavailable as error:
                if write.is_dry:
                    self._finish(write, failed=True)
                self._suspensions.note_failure(write.event.job_id, error)
            except Exception as error:  # noqa: BLE001 - the next event may fit
                log_drop(write, error)
                self._finish(write, failed=True)
            else:
                self._finish(write)
                self._follow(write, broadcaster)
                # After an outage thousands may wait: meanwhile no run here may count as dead.
                self._renewals.renew_runs()

    def _next_write(self) -> Write | None:
        with self._condition:
            return self._writes.next(self._suspensions, time.monotonic())

    def _finish(self, write: Write, *, failed: bool = False) -> None:
        with self._condition:
            self._writes.remove(write)
            self._in_vain = False
            write.finish(failed=failed)
        if write.is_awaited:
            time.sleep(_HAND_OVER)

    def _write_reports(self, broadcaster: Broadcaster) -> None:
        for run in self._runs.due(time.monotonic(), self._suspensions, at_once=self._stop_by is not None):
            write = Write(report_of(run), known=run.known)
            try:
                perform(write)
            except StoreUnavailable as error:
                self._keep(run, write)
                self._suspensions.note_failure(run.job_id, error)
            except Exception as error:  # noqa: BLE001 - the report of the next run may fit
                log_drop(write, error)
                run.not_before = time.monotonic() + _UNFIT_REST
            else:
                self._follow(write, broadcaster)

    def _keep(self, run: Run, report: Write) -> None:
        """Keep a report for later: a run says all again, a share, which may have ended meanwhile, what is new since."""
        if run.is_share:
            with self._condition:
                self._writes.put_back(report)
        else:
            run.untake()

    def _answer_runs(self) -> None:
        questions = self._runs.questions
        if questions:
            runs = [question.run for question in questions]
            self._runs.answer(runs, get_store().get_many([run.job_id for run in runs]).jobs)
            self._is_late = time.monotonic() - questions[0].at > HEARING

    def _follow(self, write: Write, broadcaster: Broadcaster) -> None:
        """Take note of what was written, and push it; a dry write has changed nothing."""
        self._suspensions.note_success([write.event.job_id])
        if write.is_dry:
            return
        self._runs.learn(write.event.job_id, write.after)
        self._push(broadcaster, write)

    def _push(self, broadcaster: Broadcaster, write: Write) -> None:
        if write.changed and write.after is not None:
            self._is_pushing = True
            try:
                broadcaster.send(write.after)
            finally:
                self._is_pushing = False
