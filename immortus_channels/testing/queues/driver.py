"""How the suite runs one queue: its settings, its worker, and its ways to declare, send and cancel tasks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar

from django.db import transaction

VERSION = 1
"""Of this suite; it rises when drivers have to change."""


class Driver(ABC):
    """One queue. Made without arguments in the test's process, in the sender and in every worker.

    Only `services`, `command` and the class's own values are used in the test's process, where the queue need not be
    installed.
    """

    name: ClassVar[str]
    """What records call the queue by."""
    packages: ClassVar[Sequence[str]] = ()
    """The distributions whose versions the table shows."""
    cannot: ClassVar[Mapping[str, str]] = {}
    """The cases that the queue cannot have, by the names of their tests, each with its reason."""
    outcomes: ClassVar[Mapping[str, str]] = {}
    """The states of jobs that end otherwise on this queue, by the names of their tasks, or of their cases."""
    patience: ClassVar[float] = 15.0
    """Seconds in which what a case waits for must be told."""
    period: ClassVar[float] = 1.0
    """Seconds between two runs of what `repeat` declares, the queue's own delays included."""
    many: ClassVar[int] = 1000
    """How many jobs the queue runs in a minute, at most a thousand."""
    apps: ClassVar[Sequence[str]] = ()
    """Django apps that the queue needs."""

    # In the test's process

    @contextmanager
    def services(self) -> Iterator[Mapping[str, str]]:
        """Start what the queue needs; yield the environment in which its processes find it."""
        yield {}

    @abstractmethod
    def command(self) -> Sequence[str]:
        """Return the arguments after `python -m` of a worker that runs two jobs at once."""

    # In the project's processes

    def settings(self) -> Mapping[str, Any]:
        """Return the Django settings that the queue needs."""
        return {}

    def setup(self) -> None:  # noqa: B027 - not every queue has something to prepare
        """Prepare what the project's `manage.py` would, after `migrate`."""

    @abstractmethod
    def task(self, function: Callable[..., Any], **options: Any) -> Any:
        """Declare a task in the queue's own way.

        `function` bears the mark already. `options` has some of `retries` (how often at most), `delay` (seconds before
        a retry) and `limit` (seconds that a run may take).
        """

    @abstractmethod
    def send(self, task: Any, *args: Any, delay: float = 0, job_id: str | None = None) -> Any:
        """Send the task, due in `delay` seconds; return what the queue's own call returned."""

    def send_many(self, task: Any, count: int) -> Sequence[Any]:
        """Send the task so often by the queue's own means for many; by default one by one."""
        return [self.send(task, number) for number in range(count)]

    def send_expiring(self, task: Any, *args: Any, seconds: float) -> Any:
        """Send the task, not to be run later than in so many seconds."""
        raise NotImplementedError

    def repeat(self, task: Any) -> None:
        """Have the queue's own schedule start the task, every `period` seconds; called while tasks are declared."""
        raise NotImplementedError

    def retry(self, task: Any) -> Any:
        """Have the running job run again, in the queue's own way: raise, or return what the task is to return."""
        raise NotImplementedError

    def cancel(self, sent: Any) -> None:
        """Cancel a job by the queue's own means."""
        raise NotImplementedError

    def message(self, sent: Any) -> Any:  # noqa: B027 - few brokers forget a message when it is taken
        """Return the message of a waiting job as its broker has it, if `deliver_again` needs it later."""

    def deliver_again(self, sent: Any, message: Any) -> None:
        """Have the message of a running job delivered again, as the queue does when it takes the worker for dead."""
        raise NotImplementedError

    def says(self, sent: Any) -> str:
        """Return what the queue's own record says of a job, in its own word; empty if it keeps none."""
        return ""

    def transaction(self) -> AbstractContextManager[Any]:
        """Return a transaction in the database to which the queue's messages go."""
        return transaction.atomic()
