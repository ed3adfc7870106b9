"""Tells queues to drop jobs: from a few threads, and once, however many callers ask for it."""

from __future__ import annotations

import logging
import os
import threading
from contextlib import suppress

from immortus_channels.jobs.job import Job
from immortus_channels.queues.base import Queue
from immortus_channels.tracking.throttle import Pace

logger = logging.getLogger("immortus_channels")

AGAIN = 10.0
"""Seconds until the same call may go to a queue again: its broker may have been away."""


class Recaller:
    """Threads that call queues. A queue may hang: no caller waits for it, and a call that hangs holds up no other."""

    IDLE = 10.0
    MOST = 4
    """Threads at a time."""
    PENDING = 1_000
    """Calls that may wait behind a queue that hangs; further ones are refused."""

    def __init__(self) -> None:
        self._pace = Pace()
        self._condition = threading.Condition()
        self._pending: list[tuple[Queue, Job, bool]] = []
        self._threads = 0
        self._idle = 0

    def recall(self, queue: Queue, job: Job, *, terminate: bool) -> None:
        """Make the queue drop the job or, with `terminate`, end the process of this attempt."""
        if not self._pace.is_due(f"{job.attempt} {job.job_id}", AGAIN):
            return
        with self._condition:
            if len(self._pending) >= self.PENDING:
                about = {"job_id": job.job_id}
                logger.error("The queue %r hangs; dropping %r is left out", queue.name, job.job_id, extra=about)
                return
            self._pending.append((queue, job, terminate))
            if self._idle < len(self._pending) and self._threads < self.MOST:
                self._start()
            self._condition.notify()

    def _start(self) -> None:
        """Start one more thread; if the system has none left, the others serve, and the next call tries again."""
        with suppress(RuntimeError):
            threading.Thread(target=self._work, name="immortus-recalls", daemon=True).start()
            self._threads += 1

    def _work(self) -> None:
        while (call := self._next()) is not None:
            _recall(*call)

    def _next(self) -> tuple[Queue, Job, bool] | None:
        """Return the next call; None if there was none for a while, which ends the thread."""
        with self._condition:
            self._idle += 1
            is_pending = self._condition.wait_for(lambda: self._pending, self.IDLE)
            self._idle -= 1
            if not is_pending:
                self._threads -= 1
                return None
            return self._pending.pop(0)


def _recall(queue: Queue, job: Job, terminate: bool) -> None:  # noqa: FBT001 - as it waited
    try:
        queue.cancel(job, terminate=terminate)
    except Exception:
        logger.exception("The queue failed to drop %r", job.job_id, extra={"job_id": job.job_id})


_recaller = Recaller()


def recall(queue: Queue, job: Job, *, terminate: bool) -> None:
    """Make the queue drop the job, soon; the same call within `AGAIN` seconds has no effect."""
    _recaller.recall(queue, job, terminate=terminate)


def _after_fork() -> None:
    global _recaller  # noqa: PLW0603 - the child does not have the thread
    _recaller = Recaller()


os.register_at_fork(after_in_child=_after_fork)
