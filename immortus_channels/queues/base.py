"""The port to task queues: an adapter translates what one queue tells into events."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

from django.core.checks import CheckMessage

from immortus_channels.jobs.events import Cancelled, Event, Failed, Finished, Origin
from immortus_channels.jobs.job import Job
from immortus_channels.queues.tracked import Named, Tracking
from immortus_channels.writer.run import Run


class Tracker(Protocol):
    """What an adapter reports to: the module `tracking`. Nothing of it raises."""

    def publish(self, event: Event, *, wait: float = ...) -> Job | None:
        """Take an event in, waiting at most `wait` seconds; the job after it, None when that is not known yet."""
        ...

    def publish_end(self, otherwise: Event, *, queue: Queue, since: int) -> Job | None:
        """Take in how a run ended that began at `since`, unless the queue's own record knows better; waits for nothing.

        `since` is in microseconds since 1970, by the clock of the run's host.
        """
        ...

    def renew(self, job_id: str, holder: str, seconds: float) -> None:
        """Move the lease that `holder` (a run or a sending) has on a job."""
        ...

    def make_run(self, *, job_id: str, job_class: str, run_id: str, origin: Origin | None) -> Run:
        """A run in this process, not begun yet."""
        ...

    def begin(self, run: Run) -> None:
        """Tell that a run starts; afterwards `run.refused` says whether it must not."""
        ...

    def end(self, run: Run, kind: type[Event], **fields: object) -> Job | None:
        """Tell how a run ended, with everything it has said."""
        ...

    def drain(self, timeout: float = ...) -> None:
        """Write what is left, for so many seconds at most: the process is about to end or to fork."""
        ...


class Queue(ABC):
    """Translates what one task queue tells into events."""

    name: str
    interrupts: tuple[type[BaseException], ...] = ()
    """What the queue raises in the middle of a task's code, whatever that is: nobody but the task may catch it."""
    strategy: Named = "immortus_channels.TrackingStrategy"
    """The strategy inferred for this queue's tasks when nobody named one."""

    @abstractmethod
    def connect(self, tracker: Tracker) -> None:
        """Tell `tracker` of every tracked job from now on."""

    @abstractmethod
    def tracking(self, job_class: str) -> Tracking | None:
        """How the task of this registered name is tracked; None when it is unknown here or not tracked."""

    @abstractmethod
    def tracked_names(self) -> set[str]:
        """The registered names of the tracked tasks."""

    @abstractmethod
    def name_of(self, task: object) -> str | None:
        """The registered name of a task of this queue; None for anything else."""

    @abstractmethod
    def job_of(self, result: object) -> tuple[str, str] | None:
        """The id and, when it is known, the class of the job that the queue's own result stands for.

        None when it is not a result of this queue. Raises ConfigurationError when it cannot be followed.
        """

    def cancel(self, job: Job, *, terminate: bool) -> None:  # noqa: B027 - not every queue can
        """Ask the queue to drop the job or, with `terminate`, to end the process that runs it."""

    def keeps_records(self) -> bool:
        """Whether the queue has records of its own that `fetch` and `end_of` can read; found without reading them."""
        return False

    def fetch(self, job_id: str) -> Job | None:
        """A job that is not on record, as the queue's own records tell of it; None when they do not.

        Called in a thread of its own, which nobody waits for longer than two seconds. May raise anything.
        """
        return None

    def end_of(self, job_id: str, job_class: str, *, since: int) -> Finished | Failed | Cancelled | None:
        """How a run ended that began at `since`, microseconds since 1970 by the clock of its host; without a run's id.

        None when the queue's own records do not say: what they say of an earlier run, or of a job that is not over,
        does not count. Called like `fetch`, once, before a job of which nothing is heard is called lost.
        """
        return None

    def is_eager(self) -> bool:
        """Whether jobs run at once, in the process that sends them."""
        return False

    def problems(self) -> list[CheckMessage]:
        """What is wrong with how the project has set this queue up; found without connecting to anything."""
        return []
