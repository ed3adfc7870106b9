"""taskiq as a task queue: hooks in its own methods, for all brokers, senders and workers of this process."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextvars import ContextVar
from copy import copy
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from django.core.checks import CheckMessage
from taskiq import AsyncTaskiqDecoratedTask, AsyncTaskiqTask, InMemoryBroker, TaskiqMessage, TaskiqResult
from taskiq.exceptions import NoResultError, SendTaskError
from taskiq.kicker import AsyncKicker
from taskiq.receiver import Receiver
from taskiq.scheduler.created_schedule import CreatedSchedule

from immortus_channels.exceptions import ConfigurationError
from immortus_channels.loading import Later
from immortus_channels.queues import tracked
from immortus_channels.queues.base import Queue
from immortus_channels.queues.functions import is_told, with_told
from immortus_channels.queues.hooks import Given, Instead, Outcome, around
from immortus_channels.queues.moments import due
from immortus_channels.queues.taskiq.messages import HEADER, REQUEUES, delay_of, header_in, without_dependencies
from immortus_channels.queues.taskiq.problems import problems
from immortus_channels.queues.tracked import TaskOptions, options_on

if TYPE_CHECKING:
    from immortus_channels.jobs import events, namespaces
    from immortus_channels.queues import classes, messages
    from immortus_channels.queues.deliveries import Delivery
    from immortus_channels.queues.port import Port
else:
    classes = Later("immortus_channels.queues.classes")
    events = Later("immortus_channels.jobs.events")
    messages = Later("immortus_channels.queues.messages")
    namespaces = Later("immortus_channels.jobs.namespaces")

Steps = AsyncGenerator[Any, Outcome]


@dataclass(slots=True)
class _Received:
    """A message that this asyncio task works at, as far as the worker has come."""

    message: TaskiqMessage | None = None
    delivery: Delivery | None = None
    requeues: object = None
    """How often the message had been put back when it came."""
    ran: Outcome | None = None
    """How the worker's call of the body ended: with taskiq's result, if no middleware raised."""


_received: ContextVar[_Received | None] = ContextVar("immortus_taskiq_received", default=None)


class TaskiqQueue(Queue):
    """Follows the tracked tasks of every broker of this process."""

    name = "taskiq"
    carries_headers = True
    tried: ClassVar = {"taskiq": ("0.12", "0.13")}

    def connect(self, port: Port) -> None:
        """Put hooks into taskiq's classes, and find the tasks that were declared before."""
        self._port = port
        around(AsyncTaskiqDecoratedTask, __init__=self._declaring)
        around(AsyncKicker, kiq=self._kicking, schedule_by_time=self._planning)
        around(CreatedSchedule, unschedule=self._unplanning)
        around(TaskiqMessage, parse_labels=self._reading)
        around(Receiver, callback=self._receiving, run_task=self._running, listen=self._working)
        for place in tuple(tracked.places):
            module, _, name = place.rpartition(".")
            task = getattr(sys.modules.get(module), name, None)
            if isinstance(task, AsyncTaskiqDecoratedTask):
                self.tasks[task.task_name] = task

    def _declaring(self, task: AsyncTaskiqDecoratedTask[..., Any], *_: object, **__: object) -> Iterator[None]:
        yield
        self.tasks[task.task_name] = task

    def name_of(self, task: object) -> str | None:
        """Return the name of a task."""
        return str(task.task_name) if isinstance(task, AsyncTaskiqDecoratedTask) else None

    def job_of(self, given: object) -> tuple[str, str] | None:
        """Return the job behind what sending or `schedule_by_time` returned; the former knows its id alone."""
        if isinstance(given, CreatedSchedule):
            if given.task.time is None or given.task.task_id is None:
                msg = f"The schedule of {given.task.task_name!r} is no job: each of its runs is one of its own."
                raise ConfigurationError(msg)
            return given.task.task_id, given.task.task_name
        if not isinstance(given, AsyncTaskiqTask):
            return None
        return given.task_id, classes.class_of(namespaces.here(given.task_id)) or ""

    def is_eager(self) -> bool:
        """Return whether the brokers of all tracked tasks run them in the process that sends."""
        tracked_tasks = self._tracked()
        return bool(tracked_tasks) and all(isinstance(task.broker, InMemoryBroker) for task in tracked_tasks)

    def problems(self) -> list[CheckMessage]:
        """Return what taskiq makes of tracked tasks without a word."""
        return list(problems(self._tracked()))

    def _tracked(self) -> list[AsyncTaskiqDecoratedTask[..., Any]]:
        tasks: dict[str, Any] = self.tasks.copy()
        return [tasks[name] for name in sorted(self.tracked_names())]

    # Sending

    def _kicking(self, kicker: AsyncKicker[..., Any], *args: Any, **kwargs: Any) -> Steps | None:
        return self._sending(kicker, (), args, kwargs, delay_of(kicker.labels))

    def _planning(
        self, kicker: AsyncKicker[..., Any], source: object, time: datetime, *args: Any, **kwargs: Any
    ) -> Steps | None:
        """Be around what has the scheduler send a job at a time: it is told here, where its sender is known."""
        return self._sending(kicker, (source, time), args, kwargs, due(time, is_utc=True))

    def _sending(
        self, kicker: AsyncKicker[..., Any], ahead: tuple[Any, ...], args: Any, kwargs: dict[str, Any], eta: int | None
    ) -> Steps | None:
        # A broker that was made for this sending alone does not have the task.
        task: Any = kicker.broker.find_task(kicker.task_name) or self.tasks.get(kicker.task_name)
        options = None if task is None else options_on(task.original_func)
        if task is not None and options is None:
            return None
        if kicker.custom_task_id is not None:
            delivery = self._port.inside(kicker.custom_task_id)
            if delivery is not None:
                return _send_again(delivery, eta)
            if messages.is_about(header_in(kicker.labels), kicker.custom_task_id):
                return None  # the scheduler sends what was told when it was planned
        return self._send(kicker, ahead, args, kwargs, task=task, options=options, eta=eta)

    async def _send(
        self, kicker: AsyncKicker[..., Any], ahead: tuple[Any, ...], args: Any, kwargs: dict[str, Any], **known: Any
    ) -> Steps:
        """Be around a sending: tell it before, under an id that is known then, and give it its header.

        The task is unknown to a process that sends by a name alone; the owner travels all the same.
        """
        sender: AsyncKicker[..., Any] = copy(kicker)
        sender.custom_task_id = kicker.broker.id_generator() if kicker.custom_task_id is None else kicker.custom_task_id
        task, options = known["task"], known["options"]
        sending = await self._port.aprepare(
            sender.custom_task_id,
            kicker.task_name,
            options,
            args=args,
            kwargs=kwargs,
            function=None if task is None else without_dependencies(task.original_func),
            eta=known["eta"],
            is_scheduled="schedule_id" in kicker.labels,
        )
        if options is not None:
            await sending.atell()
        sender.labels = {name: value for name, value in kicker.labels.items() if name != HEADER}
        if sending.header is not None:
            sender.labels[HEADER] = json.dumps(with_told(sending.header, is_told=options is not None))
        outcome = yield Given((sender, *ahead, *args), kwargs)
        if options is not None and outcome.error is None:
            sending.confirm()
        elif options is not None and _is_refused(outcome.error):
            sending.fail()
        if isinstance(outcome.value, CreatedSchedule):
            outcome.value.kicker = kicker

    def _unplanning(self, schedule: CreatedSchedule[Any], *_: object) -> Steps | None:
        """Be around the end of a schedule; one whose time has come may have sent its job."""
        planned, header = schedule.task, header_in(schedule.task.labels)
        is_ahead = planned.time is not None and (due(planned.time, is_utc=True) or 0) > time.time_ns() // 1000
        return self._unplan(planned, header) if is_ahead and is_told(header) else None

    async def _unplan(self, planned: Any, header: Mapping[str, Any] | None) -> Steps:
        if (yield).error is None:
            about = planned.task_id, planned.task_name
            self._port.ended(events.Cancelled, *about, header=header, unstarted=True)

    # Running

    async def _receiving(self, receiver: Receiver, *_: object, **__: object) -> Steps:
        """Be around all that a worker does about a message: middlewares that send at its end are in the job still."""
        before, received = _received.get(), _Received()
        _received.set(received)
        outcome = yield
        _received.set(before)
        message = received.message
        if received.delivery is not None:
            _end(received.delivery, received)
        elif message is not None and outcome.error is None and receiver.broker.find_task(message.task_name) is None:
            header = header_in(message.labels)
            if is_told(header) and not messages.is_second(header):
                about = message.task_id, message.task_name
                self._port.ended(events.Failed, *about, header=header, code="unknown_task", unstarted=True)

    def _reading(self, message: TaskiqMessage) -> None:
        received = _received.get()
        if received is not None and received.message is None:
            received.message = message

    def _running(
        self, receiver: Receiver, target: Callable[..., Any], message: TaskiqMessage, *_: object, **__: object
    ) -> Steps | None:
        options, received = options_on(target), _received.get()
        return None if options is None or received is None else self._run(received, message, options)

    async def _run(self, received: _Received, message: TaskiqMessage, options: TaskOptions) -> Steps:
        """Be around the call of a body; one that must not run is left out, and is a success that returned None."""
        received.requeues, header = message.labels.get(REQUEUES), header_in(message.labels)
        delivery = await self._port.abegin(message.task_id, message.task_name, options, header=header)
        received.delivery = delivery
        if delivery.refused:
            nothing = {"is_err": False, "return_value": None, "execution_time": 0.0}
            yield Instead(TaskiqResult(**nothing, labels=message.labels))
        received.ran = yield

    async def _working(self, *_: object) -> Steps:
        """Be around the life of a worker: its process ends soon after, and waits for no thread."""
        yield
        await asyncio.to_thread(self._port.tracker.drain)


async def _send_again(delivery: Delivery, eta: int | None) -> Steps:
    """Be around what a retry middleware sends for the job that runs here; the message has its header."""
    if (yield).error is None:
        delivery.resent_for = eta or time.time_ns() // 1000


def _end(delivery: Delivery, received: _Received) -> None:
    """Tell how a run ended, which a middleware may have decided."""
    result, raised = received.ran or Outcome()
    labels = {} if received.message is None else received.message.labels
    error = (delivery.error or raised) if result is None else result.error
    is_without_result = isinstance(error, NoResultError)
    if delivery.resent_for is not None:
        delivery.again()
    elif is_without_result and labels.get(REQUEUES) != received.requeues:
        delivery.back()
    elif error is None or (is_without_result and delivery.error in (None, error)):
        delivery.finish(None if result is None else result.return_value)
    elif isinstance(error, TimeoutError) and error is not delivery.error and "timeout" in labels:
        delivery.fail("time_limit")
    else:
        delivery.end(delivery.error if is_without_result else error)


def _is_refused(error: BaseException | None) -> bool:
    """Return whether a message cannot have gone out: it cannot be written, or there is nobody to send it to."""
    return isinstance(error, SendTaskError) and isinstance(error.__cause__, TypeError | ValueError | SendTaskError)
