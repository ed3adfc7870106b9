"""The leases of jobs: moved at a caller's request, renewed while a job runs here."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from threading import RLock

from immortus_channels.conf import settings
from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.logs import logger
from immortus_channels.stores import get_store
from immortus_channels.writer.registry import Runs
from immortus_channels.writer.suspension import Suspensions


class Renewals:
    """The leases to renew in the store. Any thread may `ask`; the writer's thread calls the rest."""

    def __init__(self, runs: Runs, suspensions: Suspensions) -> None:
        self._runs = runs
        self._suspensions = suspensions
        self._lock = RLock()  # a signal handler may ask while its thread does
        self._asked: dict[str, tuple[str, float]] = {}

    @property
    def asked(self) -> Collection[str]:
        """The jobs with leases that callers want to move."""
        with self._lock:
            return list(self._asked)

    def ask(self, job_id: str, holder: str, seconds: float) -> None:
        """Have the next round move a lease."""
        with self._lock:
            self._asked[job_id] = (holder, seconds)

    def move(self) -> None:
        """Move the leases that callers asked for; those that cannot move now stay asked for."""
        with self._lock:
            asked, self._asked = self._asked, {}
        by_time: dict[float, dict[str, str]] = {}
        for job_id, (holder, seconds) in asked.items():
            by_time.setdefault(seconds, {})[job_id] = holder
        try:
            for seconds, holders in by_time.items():
                self._move(holders, seconds)
        except Exception:
            self._keep(asked)
            raise
        self._keep({job_id: asked[job_id] for job_id in asked.keys() - self._able(asked)})

    def _keep(self, asked: Mapping[str, tuple[str, float]]) -> None:
        with self._lock:
            self._asked = {**asked, **self._asked}

    def renew_runs(self) -> None:
        """Show, when it is time, that the runs of this process live, and learn what became of their jobs meanwhile."""
        now = time.monotonic()
        if now < self._runs.renewal_at:
            return
        self._move({job_id: run.run_id for job_id, run in self._runs.leased().items()}, settings.STALLED_AFTER)
        runs = self._runs.leased()
        able = self._able(runs)
        self._runs.answer([runs[job_id] for job_id in able], get_store().get_many(able).jobs)
        self._runs.renewed_at = now

    def _able(self, job_ids: Collection[str]) -> list[str]:
        """Return those of these jobs that can be written now."""
        now = time.monotonic()
        return [job_id for job_id in job_ids if self._suspensions.may_write(job_id, now)]

    def _move(self, holders: Mapping[str, str], seconds: float) -> None:
        """Move leases, except where the writer pauses; jobs that the store refused before come last, one by one."""
        able, refused = self._able(holders), self._suspensions.refused
        self._move_together({job_id: holders[job_id] for job_id in able if job_id not in refused}, seconds)
        for job_id in refused.intersection(able):
            self._move_together({job_id: holders[job_id]}, seconds)

    def _move_together(self, holders: Mapping[str, str], seconds: float) -> None:
        """Move these leases, and find the jobs that the store refuses."""
        if not holders:
            return
        try:
            get_store().renew(holders, seconds)
        except Exception as error:  # one of them may make the store raise anything, the others move
            job_id, *others = holders
            if others:
                # If the error is not about one of them, this raises.
                locked = get_store().locked(list(holders)) if isinstance(error, StoreUnavailable) else ()
                for some in _apart(holders, locked):
                    self._move_together(some, seconds)
            elif isinstance(error, StoreUnavailable):
                self._suspensions.note_failure(job_id, error)
            else:  # a second try would fail as well
                logger.exception("The lease of %r cannot be moved", job_id, extra={"job_id": job_id})
        else:
            self._suspensions.note_success(holders)


def _apart(holders: Mapping[str, str], locked: Collection[str]) -> list[dict[str, str]]:
    """Return the free ones together, to wait for no other, then each locked one; two halves where none is locked."""
    if not locked:
        pairs = list(holders.items())
        return [dict(pairs[: len(pairs) // 2]), dict(pairs[len(pairs) // 2 :])]
    free = {job_id: holder for job_id, holder in holders.items() if job_id not in locked}
    return [free, *({job_id: holders[job_id]} for job_id in locked)]
