"""Asks queues to drop jobs: from a few threads, and once, however many callers want it."""

from __future__ import annotations

from contextlib import suppress
from itertools import count

from django.db import connections

from immortus_channels.errands import Errands
from immortus_channels.jobs.job import Job
from immortus_channels.logs import logger
from immortus_channels.queues.base import Queue
from immortus_channels.tracking.throttle import Pace

AGAIN = 10.0
"""Seconds until the same call may go to a queue again: its broker may have been away."""


class Recaller(Errands[int, tuple[Queue, Job, bool]]):
    """Calls to queues, which may hang: no caller waits for them, and one that hangs does not hold up others."""

    NAME = "immortus-recalls"
    IDLE = 10.0
    MOST = 4
    PENDING = 1_000
    """Calls that may wait behind a queue that hangs; further ones are refused."""

    def _begin(self) -> None:
        super()._begin()
        self._pace = Pace()
        self._count = count()

    def recall(self, queue: Queue, job: Job, *, terminate: bool) -> None:
        """Make the queue drop the job, soon, or, with `terminate`, end the process of this attempt.

        The same call within `AGAIN` seconds has no effect.
        """
        if not self._pace.is_due(f"{job.attempt} {job.job_id}", AGAIN):
            return
        with self._condition:
            if len(self._pending) >= self.PENDING:
                about = {"job_id": job.job_id}
                logger.error("The queue %r hangs; dropping %r is left out", queue.name, job.job_id, extra=about)
                return
            with suppress(RuntimeError):  # the other threads serve, and the next call tries again
                self._put(next(self._count), (queue, job, terminate))

    def _work(self) -> None:
        while (due := self._next()) is not None:
            queue, job, terminate = due[1]
            try:
                queue.cancel(job, terminate=terminate)
            except Exception:
                logger.exception("The queue failed to drop %r", job.job_id, extra={"job_id": job.job_id})
            finally:
                connections.close_all()  # some queues are tables

    def _next(self) -> tuple[int, tuple[Queue, Job, bool]] | None:
        with self._condition:
            due = super()._next()
            if due is not None:
                del self._pending[due[0]]
            return due


recaller = Recaller()
