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

        One round trip if the job is still as it was `known`, two if it is not: the refused write answers with what is
        on record. If `change` leaves the guessed job as it was, the job is read.
        """
        guess = self._guess(known)
        reading = guess or self._read_current(job_id)
        for _ in range(_CONFLICTS):
            before = reading.jobs.get(job_id)
            after = change(before, reading.now)
            if after is not None and after is not before:
                answer = self._replace(before, after, None if guess is None else guess.now)
                if answer is None:
                    self._prune_a_little(after)
                    return before, after
                if guess is not None:
                    self._clock.forget()
                reading = self._check(answer, job_id)
            elif guess is None:
                return before, before
            else:
                reading = self._read_current(job_id)
            guess = None
        msg = f"Other processes changed the job {job_id!r} {_CONFLICTS} times while this one tried to."
        raise StoreUnavailable(msg)

    def _guess(self, known: Job | None) -> Reading | None:
        """Return what a read finds if the job has not changed since; None if that cannot be guessed.

        Time does not run backwards in a record, but its version may be far ahead of the clock.
        """
        now = self._clock.guess()
        if known is None or now is None or known.version > now + CLOCK_SLACK:
            return None
        return Reading(now=max(now, known.version), jobs={known.job_id: known} if known.version else {})

    def _read_current(self, job_id: str) -> Reading:
        return self._check(self.get_many([job_id]), job_id)

    def _check(self, reading: Reading, job_id: str) -> Reading:
        """Return the reading, after a note of its time. Raises UnreadableRecord."""
        self._clock.show(reading.now)
        if reading.unreadable:
            msg = f"The record of {job_id!r} cannot be read; it is not overwritten."
            raise UnreadableRecord(msg)
        return reading

    @abstractmethod
    def _replace(self, before: Job | None, after: Job, guessed: int | None) -> Reading | None:
        """Write `after` if the job is still `before` and a `guessed` time is right by `CLOCK_SLACK`.

        Return None once it is written, else what is on record. A lease of `before` that is not known is not compared.
        """

    def _prune_a_little(self, after: Job) -> None:
        """Delete some old jobs, about every hundredth time that a job ends (a version ends in microseconds)."""
        if not after.is_over or after.version % 100:
            return
        try:
            self.prune(settings.RETENTION, limit=100)
        except StoreUnavailable:
            logger.warning("The store could not prune old jobs.", exc_info=True)
