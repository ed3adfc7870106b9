"""What all stores share: reading a job, changing it, and writing it if what was read still stands."""

from __future__ import annotations

import logging
import time
from abc import abstractmethod

from immortus_channels.conf import settings
from immortus_channels.exceptions import StoreUnavailable, UnreadableRecord
from immortus_channels.jobs.job import Job
from immortus_channels.jobs.lifecycle import SECOND
from immortus_channels.stores.base import Change, Reading, Store

logger = logging.getLogger("immortus_channels")

CLOCK_SLACK = SECOND // 5
"""Microseconds that the guessed time of a write may be off."""
_CONFLICTS = 100


class Clock:
    """The store's clock between two looks at it: what it showed, and the time since.

    What it shows is heard late, so the look that was heard soonest counts. A guess may still be wrong (the host slept,
    another server took over), so the store itself compares it with its clock.
    """

    def __init__(self) -> None:
        """Nothing is known before the first look."""
        self._ahead: int | None = None

    def show(self, now: int) -> None:
        """The store's clock has just shown this."""
        ahead = now - _since_boot()
        self._ahead = ahead if self._ahead is None else max(self._ahead, ahead)

    def forget(self) -> None:
        """A guess was refused, perhaps for its time."""
        self._ahead = None

    def guess(self) -> int | None:
        """What the store's clock shows now, most likely."""
        return None if self._ahead is None else self._ahead + _since_boot()


def _since_boot() -> int:
    return int(time.monotonic() * SECOND)


class ComparingStore(Store):
    """A store whose `update` is a read and a write that has conditions, or that write alone."""

    def __init__(self) -> None:
        """Begin without any idea of the store's time."""
        self._clock = Clock()

    def update(self, job_id: str, change: Change, *, known: Job | None = None) -> tuple[Job | None, Job | None]:
        """Apply `change` by compare-and-set, again on conflict; the job before and after.

        One round trip if the job still stands as `known`, two if it has to be read. What a guess alone would leave
        unwritten is read as well.
        """
        guess = self._guess(known)
        done = self._attempt(job_id, change, guess, guessed=guess.now) if guess else None
        if guess and done is None:
            self._clock.forget()
        for _ in range(_CONFLICTS):
            if done is not None:
                return done
            done = self._attempt(job_id, change, self._look(job_id))
        msg = f"The job {job_id!r} was changed by others {_CONFLICTS} times while it was to be changed here."
        raise StoreUnavailable(msg)

    def _attempt(
        self, job_id: str, change: Change, reading: Reading, *, guessed: int | None = None
    ) -> tuple[Job | None, Job | None] | None:
        """The job before and after; None when the job is not as it was read, and when a guess changes nothing."""
        before = reading.jobs.get(job_id)
        after = change(before, reading.now)
        if after is None or after is before:
            return None if guessed else (before, before)
        if not self._replace(before, after, guessed):
            return None
        self._prune_a_little(after)
        return before, after

    def _guess(self, known: Job | None) -> Reading | None:
        """What a read would find if nobody has changed the job since; None where that cannot be guessed.

        Time does not run backwards in a record, but its version may be far ahead of the clock.
        """
        now = self._clock.guess()
        if known is None or now is None or known.version > now + CLOCK_SLACK:
            return None
        return Reading(now=max(now, known.version), jobs={known.job_id: known})

    def _look(self, job_id: str) -> Reading:
        reading = self.get_many([job_id])
        self._clock.show(reading.now)
        if reading.unreadable:
            msg = f"The record of {job_id!r} cannot be read, and is not written over."
            raise UnreadableRecord(msg)
        return reading

    @abstractmethod
    def _replace(self, before: Job | None, after: Job, guessed: int | None) -> bool:
        """Whether `after` was written: only if the job is still `before`, and a `guessed` time right by `CLOCK_SLACK`.

        A change that leaves the lease alone must not undo a renewal, and one that moves it (a job called overdue)
        was decided on the lease that it read: then a renewal is a conflict.
        """

    def _prune_a_little(self, after: Job) -> None:
        """About every hundredth time that a job ends (a version ends in microseconds), forget some old ones."""
        if not after.is_over or after.version % 100:
            return
        try:
            self.prune(settings.RETENTION, limit=100)
        except StoreUnavailable:
            logger.warning("Old jobs could not be pruned.", exc_info=True)
