"""The port to task queues: an adapter translates what one queue reports into events."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from django.core.checks import CheckMessage

    from immortus_channels.jobs.events import Cancelled, Event, Failed, Finished, Origin
    from immortus_channels.jobs.job import Job
    from immortus_channels.queues.tracked import Named, TaskOptions
    from immortus_channels.writer.run import Run


class Tracker(Protocol):
    """What an adapter reports to: the module `tracking`. None of these methods raises."""

    def publish(self, event: Event, *, wait: float = ...) -> Job | None:
        """Take in an event, waiting at most `wait` seconds; return the job after it, None if that is not known yet."""
        ...

    def publish_end(self, otherwise: Event, *, queue: Queue, since: int) -> Job | None:
        """Take in the end of a run that began at `since`, unless the queue's own record knows better; do not wait.

        `since` is in microseconds since 1970, by the clock of the run's host.
        """
        ...

    def renew(self, job_id: str, holder: str, seconds: float) -> None:
        """Extend the lease that `holder` (a run or a sending) has on a job."""
        ...

    def make_run(self, *, job_id: str, job_class: str, run_id: str, origin: Origin | None) -> Run:
        """Return a run in this process that has not begun yet."""
        ...

    def begin(self, run: Run, known: Job | None = None) -> None:
        """Report that a run starts; afterwards `run.refused` says whether it must not.

        The `known` job is the one that the run's message tells of.
        """
        ...

    def end(self, run: Run, kind: type[Event], **fields: object) -> Job | None:
        """Report how a run ended, with everything it has reported itself."""
        ...

    def drain(self, timeout: float = ...) -> None:
        """Write what is left, for at most `timeout` seconds: the process is about to end or to fork."""
        ...


class Queue(ABC):
    """Translates what one task queue reports into events."""

    name: str
    interrupts: tuple[type[BaseException], ...] = ()
    """What the queue raises in the middle of a task's code, whatever that code is: only the task itself may catch
    it."""
    strategy: Named = "immortus_channels.TrackingStrategy"
    """The strategy for this queue's tasks that name none."""
    tried: ClassVar[Mapping[str, Collection[str]]] = {}
    """The queue's packages, each with the releases that the adapter was tried with, as `"5.7"`; `check` warns of others
    (W023)."""
    gives_way: bool = False
    """Whether other adapters are asked first: its queue runs jobs on other queues, which know them better."""
    ends_silently: ClassVar[bool] = False
    """Whether some ends stand in its own records alone: readers ask `end_of` for jobs that should run by now, too."""

    @abstractmethod
    def connect(self, tracker: Tracker) -> None:
        """Report every tracked job to `tracker` from now on."""

    @abstractmethod
    def options_of(self, job_class: str) -> TaskOptions | None:
        """Return the options of the tracked task of this registered name; None if it is unknown here or not tracked."""

    @abstractmethod
    def tracked_names(self) -> set[str]:
        """Return the registered names of the tracked tasks."""

    @abstractmethod
    def name_of(self, task: object) -> str | None:
        """Return the registered name of a task of this queue; None for anything else."""

    @abstractmethod
    def job_of(self, given: object) -> tuple[str, str] | None:
        """Return the id and, if known, the class of the job behind a result of this queue; None for anything else.

        Raises ConfigurationError when the job cannot be followed.
        """

    def cancel(self, job: Job, *, terminate: bool) -> None:  # noqa: B027 - not every queue can
        """Ask the queue to drop the job or, with `terminate`, to end the process that runs it."""

    def keeps_records(self) -> bool:
        """Return whether the queue has records of its own for `fetch` and `end_of`, without reading them."""
        return False

    def fetch(self, job_id: str) -> Job | None:
        """Return a job that the store does not have, as the queue's own records show it; None if they do not.

        Tracking calls it in a thread of its own and waits at most two seconds. It may raise anything.
        """
        return None

    def end_of(self, job_id: str, job_class: str, *, since: int) -> Finished | Failed | Cancelled | None:
        """Return how a run ended that began at `since`, microseconds since 1970 by the clock of its host.

        The caller does not know the run's id. None if the queue's own records do not say: an earlier run, or a job that
        is not over, does not count. Called like `fetch`: once, before a silent job is marked lost; where
        `ends_silently`, also every ten seconds while a watched job waits that should run by now.
        """
        return None

    def is_eager(self) -> bool:
        """Return whether jobs run at once, in the process that sends them."""
        return False

    def problems(self) -> list[CheckMessage]:
        """Return what is wrong with how the project has set this queue up, without connecting to anything."""
        return []
