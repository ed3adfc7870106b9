"""The writes that wait, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator

from immortus_channels import metrics
from immortus_channels.logs import Trouble
from immortus_channels.writer.suspension import Suspensions
from immortus_channels.writer.write import Write


class Backlog:
    """The queue of waiting writes. Not safe to use from several threads."""

    MOST = 10_000
    """Writes that can wait; a further one makes the oldest fail."""

    def __init__(self) -> None:
        self._writes: deque[Write] = deque()
        self.overflow = Trouble("Keeping all that waits for the store", "The oldest changes are lost.")

    def __len__(self) -> int:
        return len(self._writes)

    def put(self, write: Write) -> None:
        """Append a write."""
        if len(self._writes) >= self.MOST:
            self._writes.popleft().finish(failed=True)
            metrics.WRITES_DROPPED.add()
            self.overflow.begin(OverflowError(f"more than {self.MOST} changes"))
        self._writes.append(write)
        metrics.WRITES_WAITING.set(len(self._writes))

    def put_back(self, write: Write) -> None:
        """Put a write before all others."""
        self._writes.appendleft(write)
        metrics.WRITES_WAITING.set(len(self._writes))

    def remove(self, write: Write) -> None:
        """Take a write out, if it is still here."""
        if write in self._writes:
            self._writes.remove(write)
        metrics.WRITES_WAITING.set(len(self._writes))

    def job_ids(self) -> Iterator[str]:
        """Yield the job of each write, in order."""
        return (write.event.job_id for write in self._writes)

    def held(self, job_ids: Collection[str]) -> set[str]:
        """Return those of these jobs that have a write waiting."""
        return {write.event.job_id for write in self._writes if not write.is_dry}.intersection(job_ids)

    def next(self, suspensions: Suspensions, now: float) -> Write | None:
        """Return the oldest write that may be made now; it stays here."""
        return next((write for write in self._writes if suspensions.may_write(write.event.job_id, now)), None)

    def put_behind(self, job_ids: Collection[str]) -> None:
        """Let the writes of all other jobs go first."""
        self._writes = deque(sorted(self._writes, key=lambda write: write.event.job_id in job_ids))
