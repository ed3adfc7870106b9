"""Where the writer pauses after a failed write: at the whole store, or at the records of some jobs."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from itertools import islice

from immortus_channels import metrics
from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.logs import Trouble, logger


class Suspension:
    """The monotonic time until which the writer pauses at something, and how often that failed in a row."""

    __slots__ = ("_span", "times", "until")

    def __init__(self, first: float, most: float) -> None:
        """Pause for `first` seconds at first, each further time twice as long, up to `most` seconds."""
        self._span = (first, most)
        self.times = 0
        self.until = -math.inf

    def extend(self, now: float) -> None:
        """Note another failure."""
        first, most = self._span
        # Without a bound the power would overflow after hours.
        self.until = now + min(first * 2.0 ** min(self.times, 32), most)
        self.times += 1

    def lift(self) -> None:
        """Note a success."""
        self.times, self.until = 0, -math.inf


class Suspensions:
    """The account of failing writes, which events, reports and leases share.

    A round of writing shows whether the store fails or only refuses the records of some jobs, for example where another
    session has locked them. Only the writer's thread changes the account; any thread may call `recall`.
    """

    STORE = (0.1, 2.0)
    """Seconds of a pause at a failing store: at first, and at most."""
    JOB = (0.1, 10.0)
    """Seconds of a pause at a job with a record that the store refuses."""
    TRIES = 3
    """Refusals of a job's record after which the writer logs a line."""

    def __init__(self) -> None:
        self.store = Suspension(*self.STORE)
        self._jobs: dict[str, Suspension] = {}
        self._outage = Trouble("Writing to the store", "Changes are kept and written when it answers.")
        self.begin_round()

    # Questions

    def may_write(self, job_id: str, now: float) -> bool:
        """Return whether the writer may write the job now."""
        return self.until(job_id) <= now

    def until(self, job_id: str) -> float:
        """Return when the job's pause ends: long ago for most jobs; never, in this round, once the job failed in it."""
        if job_id in self.suspects:
            return math.inf
        suspension = self._jobs.get(job_id)
        return -math.inf if suspension is None else suspension.until

    def pause(self, job_ids: Iterable[str], now: float) -> float:
        """Return the seconds until one of these jobs can be written; infinite where there are none."""
        if not self._jobs:
            job_ids = islice(job_ids, 1)
        return min((max(self.until(job_id) - now, 0.0) for job_id in job_ids), default=math.inf)

    # A round

    def begin_round(self) -> None:
        """Forget the failures and successes of the round before."""
        self.suspects: dict[str, StoreUnavailable] = {}
        """The jobs that could not be written in this round, and why."""
        self.refused = frozenset(self._jobs)
        """The jobs that were refused before: another refusal of theirs says nothing about the store."""
        self._worked: set[str] = set()
        """The first two jobs that could be written."""

    def note_success(self, job_ids: Collection[str]) -> None:
        """Note that these jobs could be written."""
        if len(self._worked) < 2:  # noqa: PLR2004 - one, and another than that
            self._worked.update(islice(job_ids, 2))
        for job_id in job_ids if self._jobs else ():
            self._jobs.pop(job_id, None)

    def note_failure(self, job_id: str, error: StoreUnavailable) -> None:
        """Skip the job for this round. Raises the error when it looks as if no job could be written."""
        metrics.STORE_RETRIES.add()
        self.suspects[job_id] = error
        if len(self.suspects.keys() - self.refused) > 1 and not self._worked:
            raise error

    def end_round(self, now: float) -> None:
        """Pause at the jobs that failed. Raises an error if a job failed and no other one worked."""
        for job_id, error in self.suspects.items():
            if job_id not in self.refused and not self._worked - {job_id}:
                raise error
        self._suspend(self.suspects, now)
        self._outage.end()
        self.store.lift()
        self.begin_round()

    def abandon_round(self, now: float, error: Exception) -> None:
        """Pause at the store; of the jobs that failed, only at those that it had refused before."""
        if isinstance(error, StoreUnavailable):
            self._outage.begin(error)
        if not self.suspects:  # `failed` has counted those
            metrics.STORE_RETRIES.add()
        self._suspend(self.suspects.keys() & self.refused, now)
        self.store.extend(now)
        self.begin_round()

    def _suspend(self, job_ids: Iterable[str], now: float) -> None:
        for job_id in job_ids:
            suspension = self._jobs.setdefault(job_id, Suspension(*self.JOB))
            suspension.extend(now)
            if suspension.times == self.TRIES:
                about = {"job_id": job_id}
                logger.warning("The record of %r cannot be written, others can; it is tried again", job_id, extra=about)

    def recall(self) -> None:
        """Let all jobs be written again at once."""
        for suspension in list(self._jobs.values()):
            suspension.until = -math.inf
