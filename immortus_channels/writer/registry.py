"""The runs of this process: which of them have something to report, and when their leases are due."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from threading import Event, RLock
from typing import NamedTuple

from immortus_channels.conf import settings
from immortus_channels.jobs.job import Job, State
from immortus_channels.writer.run import SILENCE, Run
from immortus_channels.writer.suspension import Suspensions

_MARK_EVERY = 0.25


class Question(NamedTuple):
    """A run's question whether its job was asked to stop, asked `at` a time by the monotonic clock."""

    run: Run
    at: float
    answered: Event


class Runs:
    """The runs that a writer reports on, and keeps alive by their leases. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = RLock()  # a signal handler may report while its thread does
        self._runs: dict[str, Run] = {}
        self._shares: dict[str, Run] = {}
        """Those of the runs that are shares."""
        self._reporting: dict[str, Run] = {}
        """Runs that may have something to report: a process may have thousands that wait for others."""
        self._questions: dict[str, Question] = {}
        """The questions that the store has not answered yet."""
        self._marked_at = -math.inf
        self.renewed_at = 0.0
        """When the writer last renewed their leases, or the first of them began."""

    def __bool__(self) -> bool:
        """Return whether there is any run."""
        return bool(self._runs)

    def all(self) -> list[Run]:
        """Return the runs of this moment: tasks begin and end meanwhile."""
        with self._lock:
            return list(self._runs.values())

    def leased(self) -> dict[str, Run]:
        """Return the runs with a lease, by their job."""
        return {run.job_id: run for run in self.all() if not run.is_share}

    def forked(self) -> list[Run]:
        """Return, in a child after fork, the parent's runs; without the lock, which a thread of it may have held."""
        return list(self._runs.values())

    def attach(self, run: Run) -> None:
        """Add a run."""
        with self._lock:
            if not self._runs:
                self.renewed_at = time.monotonic()
            self._runs[run.run_id] = self._reporting[run.run_id] = run
            if run.is_share:
                self._shares[run.run_id] = run

    def detach(self, run: Run) -> None:
        """Remove a run."""
        with self._lock:
            self._runs.pop(run.run_id, None)
            self._shares.pop(run.run_id, None)
            self._reporting.pop(run.run_id, None)
            self._questions.pop(run.run_id, None)

    def listen_to(self, run: Run) -> bool:
        """Note that the run has something to report; return whether it is one of these."""
        with self._lock:
            is_ours = run.run_id in self._runs
            if is_ours:
                self._reporting[run.run_id] = run
            return is_ours

    # What is due

    def due(self, now: float, suspensions: Suspensions, *, at_once: bool) -> list[Run]:
        """Return the runs that have something to report and may do so now."""
        return [run for time_, run in self._times(suspensions, at_once=at_once) if time_ <= now]

    def pause(self, now: float, suspensions: Suspensions, *, at_once: bool) -> float:
        """Return the seconds until a run may need something that no call announces; infinite without runs."""
        times = [self.renewal_at, *(time_ for time_, _ in self._times(suspensions, at_once=at_once))]
        if self._questions and not suspensions.store.times:
            times.append(now)
        if any(run.is_counting for run in self._reporting_runs()):
            times.append(now + settings.FLUSH_INTERVAL)
        return min(times) - now

    def _times(self, suspensions: Suspensions, *, at_once: bool) -> list[tuple[float, Run]]:
        """Return when each run with news may report; `at_once` waives the interval between two reports."""
        dirty = [run for run in self._reporting_runs() if run.is_dirty]
        return [(max(suspensions.until(run.job_id), -math.inf if at_once else run.not_before), run) for run in dirty]

    def _reporting_runs(self) -> list[Run]:
        """Return the runs that have something to report, or count silently; `listen_to` brings the others back."""
        with self._lock:
            for run in [run for run in self._reporting.values() if not (run.is_dirty or run.is_counting)]:
                del self._reporting[run.run_id]
            return list(self._reporting.values())

    @property
    def renewal_at(self) -> float:
        """When the leases are due for renewal; never without runs."""
        return self.renewed_at + settings.STALLED_AFTER / 3 if self._runs else math.inf

    # Questions

    def mark_unanswered(self, now: float) -> float:
        """Make each run look at its next step if it has long had no answer; return the seconds to the next marking."""
        wait = self._marked_at + _MARK_EVERY - now
        if wait > 0:
            return wait
        self._marked_at = now
        unmarked = [run for run in self.all() if not run.must_look and run.run_id not in self._questions]
        for run in unmarked:
            run.must_look = run.must_look or run.heard_at + SILENCE <= now
        return _MARK_EVERY if unmarked else math.inf

    def ask(self, run: Run) -> Question | None:
        """Return the question whether the run's job was asked to stop, asked once; None for an unknown run."""
        run.skip_looks()
        with self._lock:
            if run.run_id not in self._runs:
                return None
            return self._questions.setdefault(run.run_id, Question(run, time.monotonic(), Event()))

    @property
    def questions(self) -> list[Question]:
        """The questions that the store has not answered yet."""
        with self._lock:
            return list(self._questions.values())

    # Answers

    def learn(self, job_id: str, job: Job | None) -> None:
        """Pass the store's answer about a job to its run and shares here: a request to stop, and which run it is."""
        if job is None:
            return
        run = self._runs.get(job.run_id)
        for each in [*self._shares.values(), *([run] if run is not None else [])]:
            if each.job_id == job_id:
                each.learn(job)

    def answer(self, asked: Iterable[Run], jobs: Mapping[str, Job]) -> None:
        """Pass the state of their jobs on to these runs; a run that is believed silent or gone reports at once."""
        for run in asked:
            job = jobs.get(run.job_id)
            run.heard_at = time.monotonic()
            self.learn(run.job_id, job)
            with self._lock:
                question = self._questions.pop(run.run_id, None)
            if question is not None:
                question.answered.set()
            if not run.is_share and (job is None or job.stalled or job.state is State.LOST):
                run.untake(at_once=True)
                self.listen_to(run)
