"""What an adapter is: it translates what one task queue reports into calls of the port."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from immortus_channels.queues.tracked import options_on
from immortus_channels.queues.traits import QueueTraits

if TYPE_CHECKING:
    from django.core.checks import CheckMessage

    from immortus_channels.jobs.events import Cancelled, Failed, Finished
    from immortus_channels.jobs.job import Job
    from immortus_channels.queues.port import Port
    from immortus_channels.queues.tracked import TaskOptions


class Queue(QueueTraits, ABC):
    """Translates what one task queue reports into calls of the port."""

    def __init__(self) -> None:
        self.tasks: dict[str, object] = {}
        """What may bear a mark, by its registered name: an adapter adds each task or function that it meets."""

    @abstractmethod
    def connect(self, port: Port) -> None:
        """Report every tracked job to `port` from now on."""

    def options_of(self, job_class: str) -> TaskOptions | None:
        """Return the options of the tracked task of this registered name; None if it is unknown here or not tracked."""
        return options_on(self.tasks.get(job_class))

    def tracked_names(self) -> set[str]:
        """Return the registered names of the tracked tasks."""
        return {name for name, task in self.tasks.copy().items() if options_on(task) is not None}

    @abstractmethod
    def name_of(self, task: object) -> str | None:
        """Return the registered name of a task of this queue; None for anything else."""

    @abstractmethod
    def job_of(self, given: object) -> tuple[str, str] | None:
        """Return the id and, if known, the class of the job behind a result of this queue; None for anything else.

        Raises ConfigurationError when the job cannot be followed.
        """

    def id_of(self, number: int) -> str:
        """Return the id of the job that has this number in the queue, where sending returns a number.

        Numbers are counted, and each queue begins with 1: an id should tell the queue as well.
        """
        return str(number)

    def cancel(self, job: Job, *, terminate: bool) -> None:
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
