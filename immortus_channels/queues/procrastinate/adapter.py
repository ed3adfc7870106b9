"""Procrastinate as a task queue: `deferring` is for processes that defer, `working` for workers."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import ref

from procrastinate import app as apps
from procrastinate import jobs, manager, tasks

from immortus_channels.exceptions import ConfigurationError
from immortus_channels.loading import Later
from immortus_channels.queues.base import Queue
from immortus_channels.queues.hooks import Outcome, around
from immortus_channels.queues.procrastinate.deferring import Deferring
from immortus_channels.queues.procrastinate.marks import QUEUE, id_of, number_of, options_of
from immortus_channels.queues.procrastinate.working import Working
from immortus_channels.queues.tracked import TaskOptions

if TYPE_CHECKING:
    from immortus_channels import keys
    from immortus_channels.jobs import namespaces
    from immortus_channels.jobs.events import Cancelled, Failed, Finished
    from immortus_channels.jobs.job import Job
    from immortus_channels.queues.port import Port
    from immortus_channels.queues.procrastinate import records
else:
    keys = Later("immortus_channels.keys")
    namespaces = Later("immortus_channels.jobs.namespaces")
    records = Later("immortus_channels.queues.procrastinate.records")

_DJANGO = "procrastinate.contrib.django.procrastinate_app"
_WORKER = "procrastinate.worker"
"""Workers alone import it."""


class ProcrastinateQueue(Queue):
    """Follows the tracked tasks of Procrastinate's Django app and of every other `App` of this process.

    Only the tables of the Django app are asked how a job ended.
    """

    name = QUEUE
    counts_ids = True
    tried: ClassVar = {"procrastinate": ("3.2", "3.5", "3.9", "3.10")}

    def __init__(self) -> None:
        super().__init__()
        self._apps: list[ref[apps.App]] = []
        self._deferring: Deferring | None = None
        self._working: Working | None = None

    # The port

    def connect(self, port: Port) -> None:
        """Put hooks around what defers, cancels and retries jobs, and around a worker once its module is imported.

        Both modules that bring this along connect it: the hooks have to be the same ones, or each job is told twice.
        """
        deferring = self._deferring = self._deferring or Deferring(port, self._task_of)
        around(apps.App, __init__=self._on_app)
        around(
            manager.JobManager,
            batch_defer_jobs=deferring.deferred,
            batch_defer_jobs_async=deferring.deferred_async,
            defer_periodic_job=deferring.scheduled,
            cancel_job_by_id=deferring.cancelled,
            cancel_job_by_id_async=deferring.cancelled_async,
        )
        if _WORKER in sys.modules:
            working = self._working = self._working or Working(port)
            worker: type = sys.modules[_WORKER].Worker
            around(worker, _process_job=working.process, _persist_job_status=working.persisted)
            around(tasks.Task, get_retry_exception=working.decided)

    def _on_app(self, app: apps.App, **_: object) -> Generator[None, Outcome, None]:
        """Note an app once it has been made."""
        yield
        self._apps.append(ref(app))

    def _known_apps(self) -> Iterator[Any]:
        """Yield the apps of this process: Django's, which may be older than this adapter, and those made since."""
        if _DJANGO in sys.modules:
            yield sys.modules[_DJANGO].current_app
        yield from filter(None, (known() for known in self._apps))

    def _task_of(self, name: str) -> Any:
        return next((app.tasks[name] for app in self._known_apps() if name in app.tasks), None)

    def options_of(self, job_class: str) -> TaskOptions | None:
        """Return how the task registered under this name is tracked."""
        return options_of(self._task_of(job_class))

    def tracked_names(self) -> set[str]:
        """Return the names, aliases included, of the tracked tasks."""
        return {name for app in self._known_apps() for name, task in app.tasks.items() if options_of(task) is not None}

    def name_of(self, task: object) -> str | None:
        """Return the registered name of one of Procrastinate's tasks."""
        return task.name if isinstance(task, tasks.Task) else None

    def id_of(self, number: int) -> str:
        """Return the id of the job with the number that `defer()` returned."""
        return id_of(number)

    def job_of(self, given: object) -> tuple[str, str] | None:
        """Return the job behind one of Procrastinate's jobs, or behind its row; `defer()` itself returns a number."""
        is_row = any(kind.__name__ == "ProcrastinateJob" for kind in type(given).__mro__)
        job: Any = getattr(given, "procrastinate_job", given) if is_row else given
        if not isinstance(job, jobs.Job):
            return None
        task = self._task_of(job.task_name)
        if task is not None and options_of(task) is None:
            msg = f"The task {job.task_name!r} is not tracked; write @tracked under its decorator."
            raise ConfigurationError(msg)
        if job.id is None:
            msg = f"The job of {job.task_name!r} has not been deferred, so it has no id yet."
            raise ConfigurationError(msg)
        return id_of(job.id), job.task_name

    def cancel(self, job: Job, *, terminate: bool) -> None:
        """Cancel the job in Procrastinate's table if it waits, or else, with `terminate`, ask it to abort.

        That cancels the `asyncio.Task` of a coroutine function; any other has to look at `context.should_abort()`.
        """
        number = number_of(keys.name_in(job.job_id))
        if number is not None and self._may_ask():
            records.cancel(number, abort=terminate)

    def keeps_records(self) -> bool:
        """Return whether the project has Procrastinate's Django app, which knows where the tables are."""
        return records.are_kept()

    def _may_ask(self) -> bool:
        """Return whether the tables tell of one job only under each number: they do not know namespaces."""
        return self.keeps_records() and not namespaces.are_used()

    def fetch(self, job_id: str) -> Job | None:
        """Return the job as its row in Procrastinate's table shows it, if its task is tracked."""
        number = number_of(job_id)
        if number is None or not self._may_ask():
            return None
        job = records.job_of(number, job_id)
        return job if job is not None and self.options_of(job.job_class) is not None else None

    def end_of(self, job_id: str, job_class: str, *, since: int) -> Finished | Failed | Cancelled | None:
        """Return the end that the job's row in Procrastinate's table tells."""
        number = number_of(job_id)
        return records.end_of(number, job_id, job_class) if number is not None and self._may_ask() else None
