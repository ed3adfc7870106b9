"""What the port reports to, and what that asks a queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from immortus_channels.jobs.events import Cancelled, Event, Failed, Finished, Origin
    from immortus_channels.jobs.job import Job
    from immortus_channels.writer.run import Run


class Records(Protocol):
    """A queue that may have records of its own."""

    @property
    def name(self) -> str:
        """What records call the queue by."""

    def keeps_records(self) -> bool:
        """Return whether there are any; see `Queue`."""

    def end_of(self, job_id: str, job_class: str, *, since: int) -> Finished | Failed | Cancelled | None:
        """Return how a run ended; see `Queue`."""


class Tracker(Protocol):
    """What an adapter reports to: the module `tracking`. None of these methods raises."""

    def publish(self, event: Event, *, wait: float = ...) -> Job | None:
        """Take in an event, waiting at most `wait` seconds; return the job after it, None if that is not known yet."""
        ...

    def publish_end(self, otherwise: Event, *, queue: Records, since: int) -> Job | None:
        """Take in the end of a run that began at `since`, unless the queue's own record knows better; do not wait.

        `since` is in microseconds since 1970, by the clock of the run's host.
        """
        ...

    async def apublish(self, event: Event, *, wait: float = ...) -> Job | None:
        """Do what `publish` does, on an event loop, which runs on meanwhile."""
        ...

    def renew(self, job_id: str, holder: str, seconds: float) -> None:
        """Extend the lease that `holder` (a run or a sending) has on a job."""
        ...

    def make_run(self, *, job_id: str, job_class: str, run_id: str, origin: Origin | None, queue: str = ...) -> Run:
        """Return a run in this process, of the queue of this name, that has not begun yet."""
        ...

    def begin(self, run: Run, known: Job | None = None) -> None:
        """Report that a run starts; afterwards `run.refused` says whether it must not.

        The `known` job is the one that the run's message tells of.
        """
        ...

    async def abegin(self, run: Run, known: Job | None = None) -> None:
        """Do what `begin` does, on an event loop."""
        ...

    def end(self, run: Run, kind: type[Event], *, wait: float | None = ..., **fields: object) -> Job | None:
        """Report how a run ended, with everything it has reported itself.

        Wait at most `wait` seconds; by default as long as a call of a job does, and on an event loop not at all.
        """
        ...

    def drain(self, timeout: float = ...) -> None:
        """Write what is left, for at most `timeout` seconds: the process is about to end or to fork."""
        ...
