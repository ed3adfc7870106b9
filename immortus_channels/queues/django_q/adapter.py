"""Django-Q2 as a task queue: `sending` and `running` tell what its hooks report, this module the queue.

Both are loaded when the first job is sent or a worker starts: `django.setup()` imports Django-Q2's hooks.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from functools import cached_property
from types import FunctionType
from typing import TYPE_CHECKING, Any, ClassVar

from django_q import signals
from django_q.conf import Conf
from django_q.exceptions import TimeoutException
from django_q.models import OrmQ

from immortus_channels.exceptions import ConfigurationError
from immortus_channels.loading import Later, when_imported
from immortus_channels.queues import tracked
from immortus_channels.queues.base import Queue
from immortus_channels.queues.django_q import functions, problems
from immortus_channels.queues.django_q.messages import END, HEADER, told
from immortus_channels.queues.hooks import Outcome, around, guard
from immortus_channels.queues.tracked import options_on

if TYPE_CHECKING:
    from django.core.checks import CheckMessage
    from django_q import models, tasks

    from immortus_channels.jobs import namespaces
    from immortus_channels.jobs.events import Failed, Finished
    from immortus_channels.jobs.job import Job
    from immortus_channels.queues.django_q import records, running, sending
    from immortus_channels.queues.port import Port
    from immortus_channels.queues.tracked import TaskOptions
else:
    models = Later("django_q.models")
    tasks = Later("django_q.tasks")
    namespaces = Later("immortus_channels.jobs.namespaces")
    records = Later("immortus_channels.queues.django_q.records")
    running = Later("immortus_channels.queues.django_q.running")
    sending = Later("immortus_channels.queues.django_q.sending")

Steps = Generator[None, Outcome, None]
_GROUP = "{what} is not a job but stands for several; give what async_task() returned for one of them."


class DjangoQQueue(Queue):
    """Follows the tracked functions that are sent by `async_task`."""

    name = "django-q2"
    interrupts = time_limits = (TimeoutException,)
    carries_headers = True
    runs_functions = True
    tried: ClassVar = {"django-q2": ("1.11",)}

    # The port

    def connect(self, port: Port) -> None:
        """Connect the signals; and the functions that say what no signal does, once their modules are loaded."""
        self._port = port
        signals.pre_enqueue.connect(self._enqueueing, weak=False)
        signals.pre_execute.connect(self._executing, weak=False)
        signals.post_execute_in_worker.connect(self._executed, weak=False)
        signals.post_execute.connect(self._saved, weak=False)
        around(OrmQ, delete=self._deleting)
        self._around("django_q.admin", "QueueAdmin", delete_queryset=self._deleting_many)
        self._around("django_q.scheduler", scheduler=self._scheduling)
        self._around("django_q.worker", worker=self._working)
        self._around("django_q.monitor", save_task=self._saving, save_cached=self._saving)

    def _around(self, module: str, owner: str = "", **hooks: Callable[..., Any]) -> None:
        def put() -> None:
            found = sys.modules[module]
            around(getattr(found, owner) if owner else found, **hooks)

        when_imported(module, put)

    @cached_property
    def _senders(self) -> sending.Senders:
        return sending.Senders(self._port)

    @cached_property
    def _workers(self) -> running.Workers:
        return running.Workers(self._port)

    @cached_property
    def _monitors(self) -> running.Monitors:
        return running.Monitors(self._port)

    # What other tasks pass

    @guard
    def _enqueueing(self, task: dict[str, Any], **_: object) -> None:
        told.set(None)
        function = functions.find(task["func"])
        if function is None or options_on(function) is not None or task.get("chain"):
            self._senders.enqueueing(task, function)

    @guard
    def _executing(self, func: Any, task: dict[str, Any], **_: object) -> None:
        options = options_on(func)
        if options is not None:
            self._workers.executing(func, options, task)

    @guard
    def _executed(self, func: Any, task: dict[str, Any], **_: object) -> None:
        if func is None or options_on(func) is not None:
            self._workers.executed(func, task)

    @guard
    def _saved(self, task: dict[str, Any], **_: object) -> None:
        if END in task:
            self._monitors.saved(task)

    def _saving(self, task: dict[str, Any], broker: Any) -> Steps | None:
        return self._monitors.saving(task, broker) if HEADER in task else None

    def _working(self, *_: object, **__: object) -> Steps:
        return self._workers.working()

    def _scheduling(self, *_: object, **__: object) -> Steps:
        return sending.scheduling()

    def _deleting(self, row: Any, *_: object, **__: object) -> Steps | None:
        return self._senders.deleting([row.task]) if HEADER in row.task else None

    def _deleting_many(self, _: object, __: object, rows: Any) -> Steps | None:
        jobs = [row.task for row in rows if HEADER in row.task]
        return self._senders.deleting(jobs) if jobs else None

    # The queue

    def options_of(self, job_class: str) -> TaskOptions | None:
        """Return the mark of the function of this dotted name, if its module is loaded here."""
        return functions.options_of(job_class)

    def tracked_names(self) -> set[str]:
        """Return the dotted names of all marked functions that no other queue has made a task of."""
        return {place for place in tracked.places.copy() if functions.options_of(place) is not None}

    def name_of(self, task: object) -> str | None:
        """Return the dotted name of a marked function."""
        return functions.name_of(task) if type(task) is FunctionType and options_on(task) is not None else None

    def job_of(self, given: object) -> tuple[str, str] | None:
        """Return the job behind a task's row, a waiting one's, or an `AsyncTask`; of an id nothing is known."""
        match given:
            case models.Task() | tasks.AsyncTask():
                return _job_of(given.id, given.func)
            case models.OrmQ():
                return _job_of(given.task_id(), given.task.get("func"))
            case str() if given in self._senders.groups:
                raise ConfigurationError(_GROUP.format(what=f"What {self._senders.groups[given]} returned"))
            case models.Schedule() | tasks.Iter() | tasks.Chain():
                raise ConfigurationError(_GROUP.format(what=f"A {type(given).__name__}"))
        return None

    def keeps_records(self) -> bool:
        """Return True: there is a row for each task that has failed, and for the latest that have not."""
        return True

    def fetch(self, job_id: str) -> Job | None:
        """Return the job as its row shows it, which does not know namespaces."""
        return None if namespaces.are_used() else records.job_of(job_id)

    def end_of(self, job_id: str, job_class: str, *, since: int) -> Finished | Failed | None:
        """Return the success, or the last failure, that is on record of a run that began at `since`."""
        return records.end_of(job_id, job_class, since=since, options=self.options_of(job_class))

    def is_eager(self) -> bool:
        """Return whether the cluster's `sync` is set."""
        return bool(Conf.SYNC)

    def problems(self) -> list[CheckMessage]:
        """Return what makes jobs run twice, without end, or not at all."""
        return list(problems.problems(sorted(self.tracked_names())))


def _job_of(job_id: str, func: Any) -> tuple[str, str]:
    if not job_id:
        msg = "This AsyncTask was not sent yet; call its run() first."
        raise ConfigurationError(msg)
    name = functions.name_of(func)
    function = functions.loaded(name)
    if function is not None and options_on(function) is None:
        msg = f"The function {name!r} is not tracked; write @tracked above it."
        raise ConfigurationError(msg)
    return job_id, name
