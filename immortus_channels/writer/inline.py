"""The writer without a thread, for `IMMORTUS_INLINE`."""

from __future__ import annotations

import time
from contextlib import closing

from immortus_channels.jobs.events import Event
from immortus_channels.jobs.job import Job
from immortus_channels.logs import logger
from immortus_channels.push.broadcaster import Broadcaster
from immortus_channels.stores import get_store
from immortus_channels.threads import is_in_event_loop
from immortus_channels.writer.run import Run
from immortus_channels.writer.thread import WAIT, Writer
from immortus_channels.writer.write import Write, perform_with_fallback, report_of

_AGAIN = 5.0
"""Seconds until a run reads a store that failed again: the read may hold up the run's step."""


class InlineWriter(Writer):
    """A writer in the caller's thread, inside the caller's transaction: for tests, whose data no other thread sees."""

    def submit(
        self, event: Event, *, wait: float = WAIT, known: Job | str | None = None, is_dry: bool = False
    ) -> Write:
        """Write now, after a read: the caller's transaction may show a different record than other processes see."""
        write = Write(event, is_dry=is_dry)
        try:
            perform_with_fallback(write)
        except Exception:
            logger.exception("%s could not be written", write, extra={"job_id": event.job_id})
            write.finish(failed=True)
        else:
            write.finish()
            if not is_dry:
                self._runs.learn(event.job_id, write.after)
                self._push_now(write)
        return write

    async def asubmit(self, event: Event, *, wait: float = WAIT, known: Job | str | None = None) -> Write:
        """Write now."""
        return self.submit(event, wait=wait, known=known)

    def renew(self, job_id: str, holder: str, seconds: float) -> None:
        """Move the lease now."""
        get_store().renew({job_id: holder}, seconds)

    def attach(self, run: Run) -> None:
        """Write the run's reports as it makes them, and let each step look: no thread marks the runs that should."""
        self._runs.attach(run)
        run.looks_always = run.must_look = True
        if run.is_dirty:
            self.notify(run)

    def notify(self, run: Run) -> None:
        """Write the run's report if the next one is due."""
        if self._runs.listen_to(run) and time.monotonic() >= run.not_before:
            self.submit(report_of(run))
        else:
            run.ask_again()

    def listen(self, run: Run) -> None:
        """Read whether the job was asked to stop, if the store was silent for a while; not in an event loop."""
        if is_in_event_loop():
            return
        run.heard_at = time.monotonic()
        try:
            self._runs.learn(run.job_id, get_store().get_many([run.job_id]).jobs.get(run.job_id))
        except Exception:
            run.heard_at += _AGAIN
            logger.exception("Whether %r was asked to stop cannot be read", run.job_id, extra={"job_id": run.job_id})

    def _push_now(self, write: Write) -> None:
        with closing(Broadcaster()) as broadcaster:
            self._push(broadcaster, write)
