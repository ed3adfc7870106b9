"""Huey as a task queue: hooks in its own methods, for every instance of this process."""

from __future__ import annotations

import gc
import uuid
from collections.abc import Generator
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

from huey.api import ChordResult, Huey, Result, ResultGroup, Task, TaskWrapper
from huey.consumer import Consumer
from huey.exceptions import TaskTimeout
from huey.registry import Registry

from immortus_channels.exceptions import ConfigurationError
from immortus_channels.keys import name_in
from immortus_channels.queues.base import Queue
from immortus_channels.queues.hooks import Outcome, around
from immortus_channels.queues.huey import calls
from immortus_channels.queues.huey.problems import problems
from immortus_channels.queues.huey.running import RunningHooks
from immortus_channels.queues.huey.sending import SendingHooks

if TYPE_CHECKING:
    from django.core.checks import CheckMessage

    from immortus_channels.jobs.job import Job
    from immortus_channels.queues.port import Port

_RANDOM = 4
"""The version of the UUIDs that Huey makes (RFC 9562)."""


class HueyQueue(Queue):
    """Follows the tracked tasks of every Huey instance of this process."""

    name = "huey"
    interrupts = time_limits = (TaskTimeout,)
    tried: ClassVar = {"huey": ("3.4", "3.5")}

    def connect(self, port: Port) -> None:
        """Put hooks into Huey's classes, and find the tasks that are older than this adapter."""
        sending, running = SendingHooks(port), RunningHooks(port)
        around(TaskWrapper, __init__=self._declaring)
        around(Huey, enqueue=sending.enqueue, read_schedule=sending.read_schedule, _result_handle=sending.promise)
        around(Huey, _execute=running.execute, _requeue_task=running.requeue, _emit=running.emit)
        around(Consumer, start=running.start)
        around(Registry, create_task=running.create_task)
        for kind in (Result, ResultGroup, ChordResult):
            kind.do_not_call_in_templates = _IsOfJobs()
        for task in gc.get_referrers(TaskWrapper, *TaskWrapper.__subclasses__()):
            if issubclass(type(task), TaskWrapper):
                self._declare(task)

    def _declaring(self, task: TaskWrapper, *args: Any, **kwargs: Any) -> Generator[None, Outcome, None]:
        if (yield).error is None:
            self._declare(task)

    def _declare(self, task: TaskWrapper) -> None:
        calls.declare(task)
        self.tasks[calls.name_of(task.task_class)] = task

    def name_of(self, task: object) -> str | None:
        """Return the registered name of a task; `on_commit_task` leaves a function of that name."""
        if isinstance(task, TaskWrapper):
            return calls.name_of(task.task_class)
        name = f"{task.__module__}.{getattr(task, '__name__', '')}" if hasattr(task, "call_local") else ""
        return name if name in self.tasks else None

    def job_of(self, given: object) -> tuple[str, str] | None:
        """Return the job behind a result or a message: a pipeline's is its last one, a chord's its callback."""
        match given:
            case ChordResult():
                message = given.callback.task
            case ResultGroup():
                message = _last(given)
            case Result():
                message = given.task
            case Task():
                message = given
            case _:
                return None
        if type(message) is Task:  # of a result that was made from an id alone
            return message.id, ""
        if (call := calls.call_of(message)) is None:
            msg = f"The task {calls.name_of(type(message))!r} is not tracked; write @tracked under its decorator."
            raise ConfigurationError(msg)
        return message.id, call.job_class

    def cancel(self, job: Job, *, terminate: bool) -> None:
        """Revoke the message of a job that waits: a worker then drops it, even one that cannot ask the store.

        Not where the caller chose the id: a revocation that meets no message would meet the next one of that id.
        """
        task, job_id = self.tasks.get(job.job_class), name_in(job.job_id)
        if isinstance(task, TaskWrapper) and not terminate and _is_random(job_id):
            task.huey.revoke_by_id(job_id, revoke_once=True)

    def problems(self) -> list[CheckMessage]:
        """Return what keeps tracked tasks from being followed as they could be, and what Huey does not say."""
        return list(problems(self._followed()))

    def is_eager(self) -> bool:
        """Return whether the instances of all tracked tasks are in immediate mode."""
        tracked = self._followed()
        return bool(tracked) and all(task.huey.immediate for task in tracked)

    def _followed(self) -> list[TaskWrapper]:
        return [self.tasks[name] for name in sorted(self.tracked_names())]


class _IsOfJobs:
    """Keeps templates of Django from calling a result of jobs, which would take the value out of Huey.

    A project can still set the attribute of a result itself.
    """

    def __get__(self, given: Any, owner: type | None = None) -> bool:
        results = given.results if isinstance(given, ChordResult) else given
        tasks = [results.task] if isinstance(results, Result) else [each.task for each in results or ()]
        return any(calls.call_of(task) is not None for task in tasks)


def _last(group: ResultGroup) -> Task:
    """Return the last message of a pipeline."""
    messages = [result.task for result in group]
    if not messages or any(one.on_complete is not next_one for one, next_one in pairwise(messages)):
        msg = "A group has no job of its own; render one of its results, as in `for result in group`."
        raise ConfigurationError(msg)
    return messages[-1]


def _is_random(job_id: str) -> bool:
    with suppress(ValueError):
        return uuid.UUID(job_id).version == _RANDOM
    return False
