"""What waits to be written, in order, but for jobs whose record the store refuses: they hold up no other."""

from __future__ import annotations

import logging
import math
from collections import Counter, deque
from collections.abc import Collection, Iterable
from itertools import chain, islice

from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.writer.write import Write

logger = logging.getLogger("immortus_channels")


def doubled(span: tuple[float, float], times: int) -> float:
    """The first of the span, doubled so many times, at most the last; also after hours, when it would overflow."""
    first, last = span
    return min(first * 2.0 ** min(times, 32), last)


class Backlog:
    """The writes that wait, and the jobs that are left alone for a while. Not safe to use from several threads."""

    REST = (0.1, 10.0)
    """Seconds for which a job is left alone: at first, then twice as long each time, and at most."""
    TRIES = 3
    """Refusals of a job's record after which that is worth a line in the log."""

    def __init__(self) -> None:
        self._writes: deque[Write] = deque()
        self._aside: dict[str, float] = {}
        """Until when, by the monotonic clock; those that were refused and not written since."""
        self._refusals: Counter[str] = Counter()
        """How often each of them was."""

    def __len__(self) -> int:
        return len(self._writes)

    def put(self, write: Write) -> None:
        """Append a write."""
        self._writes.append(write)

    def pop_oldest(self) -> Write:
        """Take one out."""
        return self._writes.popleft()

    def remove(self, write: Write) -> None:
        """Take one out, if it is still here."""
        if write in self._writes:
            self._writes.remove(write)

    def held(self, job_ids: Collection[str]) -> set[str]:
        """Those of these jobs about which something waits to be written."""
        return {write.event.job_id for write in self._writes if not write.is_dry}.intersection(job_ids)

    def next(self, now: float, *, but: Collection[str] = ()) -> Write | None:
        """The oldest that is neither of these jobs nor of one left alone; it stays here."""
        for write in self._writes:
            if write.event.job_id not in but and self.may_write(write.event.job_id, now):
                return write
        return None

    def put_behind(self, job_ids: Collection[str]) -> None:
        """Let the writes of all other jobs go first."""
        later = [write for write in self._writes if write.event.job_id in job_ids]
        self._writes = deque(write for write in self._writes if write.event.job_id not in job_ids)
        self._writes.extend(later)

    def pause(self, now: float, jobs: Iterable[str] = ()) -> float:
        """Seconds until there is a next one, or one of `jobs` is left alone no more; infinite when nothing waits."""
        waiting = chain((write.event.job_id for write in self._writes), jobs)
        if not self._aside:
            return math.inf if next(waiting, None) is None else 0.0
        return min((max(self.left_alone_until(job_id) - now, 0.0) for job_id in waiting), default=math.inf)

    # Jobs that are left alone

    def may_write(self, job_id: str, now: float) -> bool:
        """Whether the job is not left alone now."""
        return not self._aside or self.left_alone_until(job_id) <= now

    def set_aside(self, job_id: str, now: float) -> None:
        """The store refuses the job's record, and takes others."""
        self._aside[job_id] = now + doubled(self.REST, self._refusals[job_id])
        self._refusals[job_id] += 1
        if self._refusals[job_id] == self.TRIES:
            told = {"job_id": job_id}
            logger.warning("The record of %r cannot be written, others can; it is tried again", job_id, extra=told)

    @property
    def refused(self) -> Collection[str]:
        """The jobs that were refused and not written since."""
        return self._refusals.keys()

    def left_alone_until(self, job_id: str) -> float:
        """Until when the job is left alone; long ago for one that is not."""
        return self._aside.get(job_id, -math.inf)

    def written(self, job_ids: Iterable[str]) -> None:
        """These jobs were written."""
        for job_id in self._aside.keys() & set(job_ids) if self._aside else ():
            del self._aside[job_id], self._refusals[job_id]

    def recall(self) -> None:
        """Try all once more."""
        self._aside = dict.fromkeys(self._aside, -math.inf)


class Trial:
    """One round of writing, which shows whether it is the store that fails or only the records of some jobs."""

    def __init__(self, refused: Collection[str] = ()) -> None:
        """`refused` are the jobs of which it is known already: that they are again says nothing of the store."""
        self.suspects: dict[str, StoreUnavailable] = {}
        """Jobs that could not be written, and why."""
        self.refused = frozenset(refused)
        self._worked: set[str] = set()
        """Two, at most, of those that could."""

    def worked(self, job_ids: Iterable[str]) -> None:
        """These could be written."""
        if len(self._worked) < 2:  # noqa: PLR2004 - one, and another than that
            self._worked.update(islice(job_ids, 2))

    def failed(self, job_id: str, error: StoreUnavailable) -> None:
        """The job could not be written. Raises the error when it looks as if none could."""
        self.suspects[job_id] = error
        if len(self.suspects.keys() - self.refused) > 1 and not self._worked:
            raise error

    def end(self) -> None:
        """Raise an error if something failed while nothing else worked."""
        for job_id, error in self.suspects.items():
            if job_id not in self.refused and not self._worked - {job_id}:
                raise error
