"""The receivers of the framework's three signals: most backends send them all, from whichever process knows."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

from immortus_channels import queues
from immortus_channels.current import run_here
from immortus_channels.keys import name_in
from immortus_channels.loading import Later
from immortus_channels.queues.django_tasks import rows
from immortus_channels.queues.django_tasks.names import sent
from immortus_channels.queues.hooks import Outcome, guard
from immortus_channels.queues.port import Port
from immortus_channels.queues.tracked import TaskOptions, options_on

if TYPE_CHECKING:
    from immortus_channels.jobs import events
    from immortus_channels.queues.deliveries import Delivery
else:
    events = Later("immortus_channels.jobs.events")

FAILED = "FAILED"
"""The status of a result; the package of its task defines the enumeration."""
OTHERS = {"django_tasks_celery": "celery", "django_tasks_rq": "rq", "huey": "huey"}
"""The queues on which backends run their jobs, by the backends' packages. Where such a queue has an adapter, that finds
the marks of the framework's tasks, and knows of retries and cancels."""


class Receivers:
    """Tells the port what the signals say, except of jobs that another queue's adapter follows."""

    def __init__(self, port: Port) -> None:
        self._port = port

    def each(self) -> Iterator[tuple[str, Any]]:
        """Yield the names of the signals, each with its receiver."""
        yield from (("enqueued", self.enqueued), ("started", self.started), ("finished", self.finished))

    @guard
    def enqueued(self, task_result: Any, **_: object) -> None:
        """Tell that a job was sent. Most backends say so after the queue has it; its run may be told before."""
        task = task_result.task
        options = _options_of(task)
        if options is not None and not rows.is_told(task_result):
            sending = self._port.sent(
                task_result.id, task.module_path, options, **sent(task, task_result.args, task_result.kwargs)
            )
            sending.confirm(using=rows.database_of(task_result))

    @guard
    def started(self, task_result: Any, **_: object) -> None:
        """Begin a run, in the context in which the task's function will be called."""
        task = task_result.task
        options = _options_of(task)
        if options is not None:
            self._port.begin(task_result.id, task.module_path, options)

    @guard
    def finished(self, task_result: Any, **_: object) -> None:
        """End the run. If a receiver of the project raises, this comes once more, and is not believed."""
        task = task_result.task
        if _options_of(task) is None:
            return
        delivery = self._port.here(task_result.id)
        if delivery is not None:
            _end(delivery, task_result)
        else:
            kind = events.Failed if task_result.status == FAILED else events.Finished
            self._port.ended(kind, task_result.id, task.module_path)

    def whole(self, *_arguments: object, **_named: object) -> Generator[None, Outcome, None]:
        """Be around the method of a backend that runs jobs: one that it leaves without a signal has failed."""
        before = run_here()
        error = (yield).error
        run = run_here()
        if error is not None and run is not None and run is not before:
            delivery = self._port.inside(name_in(run.job_id))
            if delivery is not None:
                delivery.end(error)


def _end(delivery: Delivery, task_result: Any) -> None:
    error = delivery.error or sys.exception()
    if task_result.status != FAILED:
        delivery.finish(task_result.return_value if delivery.value is None else delivery.value)
    elif error is not None:
        delivery.end(error)
    else:
        delivery.fail("error")


def _options_of(task: Any) -> TaskOptions | None:
    """Return the options of a tracked task; None for others, and where the adapter of another queue has its jobs."""
    options = options_on(task.func)
    return None if options is None or _is_of_another(task) else options


def _is_of_another(task: Any) -> bool:
    package = type(task.get_backend()).__module__.partition(".")[0]
    return package in OTHERS and queues.by_name(OTHERS[package]) is not None
