"""What all stores share: read a job, change it, and write it if it is still as it was read."""

from __future__ import annotations

import time
from abc import abstractmethod

from immortus_channels.conf import settings
from immortus_channels.exceptions import StoreUnavailable, UnreadableRecord
from immortus_channels.jobs.job import Job
from immortus_channels.jobs.lifecycle import SECOND
from immortus_channels.logs import logger
from immortus_channels.stores.base import Change, Reading, Store

CLOCK_SLACK = SECOND // 5
"""Microseconds by which the guessed time of a write may be wrong."""
_CONFLICTS = 100


class Clock:
    """The store's clock between two readings: what it showed, and the time since.

    Each reading arrives late, so the one that arrived soonest counts. A guess may still be wrong (the host slept,
    another server took over), so the store itself compares it with its clock.
    """

    def __init__(self) -> None:
        """Begin without a reading."""
        self._ahead: int | None = None

    def show(self, now: int) -> None:
        """Note that the store's clock has just shown `now`."""
        ahead = now - _since_boot()
        self._ahead = ahead if self._ahead is None else max(self._ahead, ahead)

    def forget(self) -> None:
        """Forget the readings: the store refused a guess, perhaps for its time."""
        self._ahead = None

    def guess(self) -> int | None:
        """Return what the store's clock most likely shows now."""
        return None if self._ahead is None else self._ahead + _since_boot()


def _since_boot() -> int:
    return int(time.monotonic() * SECOND)


class ComparingStore(Store):
    """A store whose `update` is a read and a conditional write, or that write alone."""

    def __init__(self) -> None:
        """Begin without knowing the store's time."""
        self._clock = Clock()

    def update(self, job_id: str, change: Change, *, known: Job | None = None) -> tuple[Job | None, Job | None]:
        """Apply `change` by compare-and-set, again after a conflict; return the job before and after.

        One round trip if the job is still as it was `known`, two if it has to be read. If `change` leaves the guessed
        job as it was, the job is read as well.
        """
        guess = self._guess(known)
        done = self._attempt(job_id, change, guess, guessed=guess.now) if guess else None
        if guess and done is None:
            self._clock.forget()
        for _ in range(_CONFLICTS):
            if done is not None:
                return done
            done = self._attempt(job_id, change, self._read_current(job_id))
        msg = f"Other processes changed the job {job_id!r} {_CONFLICTS} times while this one tried to."
        raise StoreUnavailable(msg)

    def _attempt(
        self, job_id: str, change: Change, reading: Reading, *, guessed: int | None = None
    ) -> tuple[Job | None, Job | None] | None:
        """Return the job before and after; None if it changed since it was read, or if a guess changes nothing."""
        before = reading.jobs.get(job_id)
        after = change(before, reading.now)
        if after is None or after is before:
            return None if guessed else (before, before)
        if not self._replace(before, after, guessed):
            return None
        self._prune_a_little(after)
        return before, after

    def _guess(self, known: Job | None) -> Reading | None:
        """Return what a read finds if the job has not changed since; None if that cannot be guessed.

        Time does not run backwards in a record, but its version may be far ahead of the clock.
        """
        now = self._clock.guess()
        if known is None or now is None or known.version > now + CLOCK_SLACK:
            return None
        return Reading(now=max(now, known.version), jobs={known.job_id: known})

    def _read_current(self, job_id: str) -> Reading:
        reading = self.get_many([job_id])
        self._clock.show(reading.now)
        if reading.unreadable:
            msg = f"The record of {job_id!r} cannot be read; it is not overwritten."
            raise UnreadableRecord(msg)
        return reading

    @abstractmethod
    def _replace(self, before: Job | None, after: Job, guessed: int | None) -> bool:
        """Write `after` if the job is still `before` and a `guessed` time is right by `CLOCK_SLACK`; return whether."""

    def _prune_a_little(self, after: Job) -> None:
        """Delete some old jobs, about every hundredth time that a job ends (a version ends in microseconds)."""
        if not after.is_over or after.version % 100:
            return
        try:
            self.prune(settings.RETENTION, limit=100)
        except StoreUnavailable:
            logger.warning("The store could not prune old jobs.", exc_info=True)
