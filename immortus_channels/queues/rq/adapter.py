"""RQ as a task queue, with django-rq or without: the hooks are in `sending` and `running`."""

from __future__ import annotations

from types import FunctionType
from typing import TYPE_CHECKING, Any, ClassVar

import rq
from rq import group, registry, worker
from rq.command import send_stop_job_command
from rq.exceptions import ShutDownImminentException
from rq.job import Job, JobStatus
from rq.timeouts import JobTimeoutException

from immortus_channels.exceptions import ConfigurationError
from immortus_channels.keys import name_in
from immortus_channels.loading import when_imported
from immortus_channels.queues import tracked
from immortus_channels.queues.base import Queue
from immortus_channels.queues.hooks import around
from immortus_channels.queues.rq import records
from immortus_channels.queues.rq.marks import QUEUE, class_of, function_at, function_of, is_loaded, options_in
from immortus_channels.queues.rq.problems import are_all_eager, problems
from immortus_channels.queues.rq.running import Running
from immortus_channels.queues.rq.sending import Sending
from immortus_channels.queues.rq.servers import Servers
from immortus_channels.queues.tracked import TaskOptions

if TYPE_CHECKING:
    from django.core.checks import CheckMessage

    from immortus_channels.jobs import job as jobs
    from immortus_channels.jobs.events import Cancelled, Failed, Finished
    from immortus_channels.queues.port import Port


class RQQueue(Queue):
    """Follows the jobs of marked functions on every queue of RQ's that this process uses."""

    name = QUEUE
    interrupts = (JobTimeoutException, ShutDownImminentException)
    time_limits = (JobTimeoutException,)
    carries_headers = True
    runs_functions = True
    waits_for_ends = True
    ends_silently = True
    tried: ClassVar = {"rq": ("2.8", "2.9", "2.10", "2.11", "2.12", "3.0"), "django-rq": ("4.2",)}

    def __init__(self) -> None:
        super().__init__()
        self._servers = Servers()

    # The port

    def connect(self, port: Port) -> None:
        """Put hooks around the methods that every queue, job and worker of RQ's inherits."""
        sending, running = Sending(port, self._servers.note), Running(port, self.options_of)
        around(
            rq.Queue,
            _enqueue_job=sending.enqueues,
            schedule_job=sending.schedules,
            setup_dependencies=sending.waits,
            create_job=sending.creates,
            run_sync=running.runs_here,
        )
        if hasattr(rq.Queue, "_enqueue_rate_limited_job"):  # since RQ 3
            around(rq.Queue, _enqueue_rate_limited_job=sending.enqueues)
        around(Job, perform=running.performs, cancel=sending.calls_off, delete=sending.calls_off)
        around(
            worker.BaseWorker,
            perform_job=running.performs_job,
            handle_job_success=running.succeeds,
            handle_job_failure=running.fails,
            handle_job_retry=running.fails,
        )
        around(registry.BaseRegistry, requeue=sending.again)
        when_imported("rq.cron", lambda: _follow("rq.cron", "CronJob", enqueue=sending.by_schedule))
        when_imported(
            "rq_scheduler.scheduler",
            lambda: _follow("rq_scheduler.scheduler", "Scheduler", enqueue_job=sending.by_schedule),
        )

    def options_of(self, job_class: str) -> TaskOptions | None:
        """Return the mark on the function with this dotted path, if its module has been imported here."""
        return options_in(function_at(job_class))

    def tracked_names(self) -> set[str]:
        """Return the paths of all marked functions that are not made tasks of another queue: RQ runs any."""
        return {place for place in tracked.places if tracked.is_marked_function(function_at(place), place)}

    def name_of(self, task: object) -> str | None:
        """Return the dotted path of a marked function, or of one under RQ's decorator."""
        if type(task) is not FunctionType or not (options_in(task) or hasattr(task, "enqueue")):
            return None
        return f"{task.__module__}.{task.__qualname__}"

    def job_of(self, given: object) -> tuple[str, str] | None:
        """Return the id and the class of an RQ job; a group has none of its own."""
        if isinstance(given, group.Group):
            msg = "A group has no job of its own; render its jobs one by one."
            raise ConfigurationError(msg)
        if not isinstance(given, Job):
            return None
        if is_loaded(given) and (function := function_of(given)) is not None and options_in(function) is None:
            msg = f"The function {class_of(given)!r} is not tracked; write @tracked under its decorator, if it has one."
            raise ConfigurationError(msg)
        return given.id, class_of(given)

    def cancel(self, job: jobs.Job, *, terminate: bool) -> None:
        """Cancel a job that waits or, with `terminate`, have its worker kill the process that runs it."""
        found = self._servers.find(name_in(job.job_id))
        if found is None or not records.is_of(found, job.job_id):
            return
        status = found.get_status(refresh=False)
        if terminate and status == JobStatus.STARTED:
            send_stop_job_command(found.connection, found.id)
        elif status in records.WAITING:
            found.cancel()

    def keeps_records(self) -> bool:
        """Return whether this process knows a Redis of RQ's."""
        return self._servers.are_known()

    def fetch(self, job_id: str) -> jobs.Job | None:
        """Return a tracked job as RQ's own record shows it."""
        found = self._servers.find(name_in(job_id))
        return None if found is None else records.job_of(found, job_id)

    def end_of(self, job_id: str, job_class: str, *, since: int) -> Finished | Failed | Cancelled | None:
        """Return how RQ says that the job ended, if that was after `since`."""
        found = self._servers.find(name_in(job_id))
        options = self.options_of(job_class)
        return None if found is None else records.end_of(found, job_id, job_class, since=since, options=options)

    def is_eager(self) -> bool:
        """Return whether all queues of django-rq run their jobs where they are sent (`ASYNC: False`)."""
        return are_all_eager()

    def problems(self) -> list[CheckMessage]:
        """Return what keeps jobs from being followed: a worker without Django, and what knows no user."""
        return list(problems())


def _follow(module: str, name: str, **hooks: Any) -> None:
    around(function_at(f"{module}.{name}"), **hooks)
