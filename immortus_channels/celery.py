"""For Celery's class-based style: a base class whose tasks are tracked."""

from __future__ import annotations

from contextvars import copy_context
from typing import Any

from celery import Task, uuid
from celery.result import AsyncResult
from django.db import transaction

from immortus_channels.jobs import namespaces
from immortus_channels.jobs.ids import text_of
from immortus_channels.keys import key_of, name_in
from immortus_channels.queues import classes
from immortus_channels.queues.tracked import MARK, Named, TaskOptions
from immortus_channels.tracking import strategies
from immortus_channels.writer.run import current_run


class _Strategy:
    """The strategy of a task; on a class of tasks, that of the task registered under the class's name."""

    def __get__(self, task: Task | None, task_class: type[TrackedTask]) -> Any:
        if task is None:
            return strategies.strategy_for(task_class.name or "", task_class.tracking_strategy)
        run = current_run.get()
        if run is not None and name_in(run.job_id) == text_of(task.request.id):
            return run.strategy
        return strategies.get_strategy(task)


class TrackedTask(Task):  # type: ignore[misc]
    """A task whose jobs are tracked: `@shared_task(base=TrackedTask, bind=True)`, or subclass it.

    `tracking_strategy` (a class, dotted path or short name) is the inline choice; subclasses inherit it.
    """

    abstract = True
    tracking_strategy: Named = None

    @property
    def job_id(self) -> str | None:
        """The id of the job this task runs now; None outside one."""
        return text_of(self.request.id)

    strategy = _Strategy()
    """The strategy of the task, or of its class. In a running job, each method call also publishes its meta."""

    def delay_on_commit(self, *args: Any, **kwargs: Any) -> AsyncResult:
        """Call `delay` once the transaction commits; the result has its id already."""
        return self.apply_async_on_commit(args, kwargs)

    def apply_async_on_commit(self, *args: Any, using: str | None = None, **options: Any) -> AsyncResult:
        """Call `apply_async` once the transaction (on the database `using`) commits; the result has its id already."""
        task_id = options.setdefault("task_id", uuid())
        # The job belongs to the user who sends it now; when the transaction commits, `started_by` may be over.
        context, namespace = copy_context(), namespaces.current()

        def send() -> None:
            with namespaces.inside(namespace):
                self.apply_async(*args, **options)

        transaction.on_commit(lambda: context.run(send), using=using)
        classes.remember(key_of(namespace, text_of(task_id) or task_id), self.name)
        return self.AsyncResult(task_id)


setattr(TrackedTask, MARK, TaskOptions())
