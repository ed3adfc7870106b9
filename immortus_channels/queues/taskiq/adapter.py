"""taskiq as a task queue: hooks in its own methods, for all brokers, senders and workers of this process."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from copy import copy
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from django.core.checks import CheckMessage
from taskiq import AsyncBroker, AsyncTaskiqDecoratedTask, AsyncTaskiqTask, InMemoryBroker, TaskiqMessage, TaskiqResult
from taskiq.acks import AckableMessage
from taskiq.exceptions import SendTaskError
from taskiq.kicker import AsyncKicker
from taskiq.receiver import Receiver
from taskiq.scheduler.created_schedule import CreatedSchedule

from immortus_channels.exceptions import ConfigurationError
from immortus_channels.loading import Later
from immortus_channels.logs import logger
from immortus_channels.queues import tracked
from immortus_channels.queues.base import Queue
from immortus_channels.queues.functions import is_told, with_told
from immortus_channels.queues.hooks import Given, Instead, Outcome, around
from immortus_channels.queues.moments import due
from immortus_channels.queues.taskiq.messages import HEADER, IN_BYTES, delay_of, header_in, without_dependencies
from immortus_channels.queues.taskiq.problems import problems
from immortus_channels.queues.taskiq.received import Received, here
from immortus_channels.queues.tracked import TaskOptions, options_on
from immortus_channels.threads import await_in_thread

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
Kicker: TypeAlias = AsyncKicker[..., Any]
Task: TypeAlias = AsyncTaskiqDecoratedTask[..., Any]


class TaskiqQueue(Queue):
    """Follows the tracked tasks of every broker of this process."""

    name = "taskiq"
    carries_headers = True
    waits_for_ends = True
    tried: ClassVar = {"taskiq": ("0.12", "0.13")}

    def connect(self, port: Port) -> None:
        """Put hooks into taskiq's classes, and find the tasks that were declared before."""
        self._port = port
        around(AsyncTaskiqDecoratedTask, __init__=self._declaring)
        around(AsyncKicker, kiq=self._kicking, schedule_by_time=self._planning)
        around(CreatedSchedule, unschedule=self._unplanning)
        around(Receiver, callback=self._receiving, run_task=self._running, listen=self._working)
        for place in tuple(tracked.places):
            module, _, name = place.rpartition(".")
            task = getattr(sys.modules.get(module), name, None)
            if isinstance(task, AsyncTaskiqDecoratedTask):
                self.tasks[task.task_name] = task

    def _declaring(self, task: Task, *_: object, **__: object) -> Iterator[None]:
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

    def _tracked(self) -> list[Task]:
        tasks: dict[str, Any] = self.tasks.copy()
        return [tasks[name] for name in sorted(self.tracked_names())]

    # Sending

    def _kicking(self, kicker: Kicker, /, *args: Any, **kwargs: Any) -> Steps | None:
        return self._sending(kicker, (), args, kwargs, delay_of(kicker.labels))

    def _planning(self, kicker: Kicker, /, source: object, time: datetime, *args: Any, **kwargs: Any) -> Steps | None:
        """Be around what has the scheduler send a job at a time: it is told here, where its sender is known."""
        return self._sending(kicker, (source, time), args, kwargs, due(time, is_utc=True))

    def _sending(self, kicker: Kicker, ahead: tuple[Any, ...], args: Any, kwargs: Any, eta: int | None) -> Steps | None:
        # A broker that was made for this sending alone does not have the task.
        task: Any = kicker.broker.find_task(kicker.task_name) or self.tasks.get(kicker.task_name)
        options = None if task is None else options_on(task.original_func)
        if task is not None and options is None:
            return None
        if kicker.custom_task_id is not None:
            delivery = self._port.inside(kicker.custom_task_id)
            if delivery is not None:
                return self._send_again(delivery, kicker, eta)
            if messages.is_about(header_in(kicker.labels), kicker.custom_task_id):
                return None  # the scheduler sends what was told when it was planned
        return self._send(kicker, ahead, args, kwargs, task=task, options=options, eta=eta)

    async def _send(self, kicker: Kicker, ahead: tuple[Any, ...], args: Any, kwargs: Any, **known: Any) -> Steps:
        """Be around a sending: tell it before, under an id that is known then, and give it its header.

        The task is unknown to a process that sends by a name alone; the owner travels all the same.
        """
        sender: Kicker = copy(kicker)
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
        if sending.header is not None:
            header = with_told(sending.header, is_told=options is not None)
            sender.labels = {**kicker.labels, HEADER: json.dumps(header)}
        outcome = yield Given((sender, *ahead, *args), kwargs)
        if options is not None and outcome.error is None:
            sending.confirm()
        elif options is not None and _is_refused(outcome.error):
            sending.fail()
        if isinstance(outcome.value, CreatedSchedule):
            outcome.value.kicker = kicker

    async def _send_again(self, delivery: Delivery, kicker: Kicker, eta: int | None) -> Steps:
        """Be around the next message of the job that runs here: its labels have the header.

        That the body has failed is on record before: another process may begin the next run at once, and must not if
        the job is cancelled. On the event loop, telling would not wait for that.
        """
        delivery.resent_for = eta or time.time_ns() // 1000
        if delivery.error is not None:
            await await_in_thread(partial(delivery.tell, events.Retrying, leaves=False, eta=eta))
        if (yield).error is not None:
            delivery.resent_for = None
            about, header = (delivery.job_id, kicker.task_name), header_in(kicker.labels)
            self._port.ended(events.Failed, *about, header=header, code="not_sent", unstarted=True)

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

    def _receiving(self, receiver: Receiver, message: bytes | AckableMessage, **_: object) -> Steps | None:
        data: bytes = getattr(message, "data", message)
        return self._receive(receiver, data) if IN_BYTES in data else None

    async def _receive(self, receiver: Receiver, data: bytes) -> Steps:
        """Be around all that a worker does about a message: middlewares that send at its end are in the job still."""
        before, received = here.get(), Received()
        here.set(received)
        yield
        here.set(before)
        if received.delivery is not None:
            received.end(received.delivery)
        else:
            self._end_unknown(receiver.broker, data)

    def _end_unknown(self, broker: AsyncBroker, data: bytes) -> None:
        """Tell of a message that was not run, if that is so because the worker has no such task."""
        message = broker.formatter.loads(data)
        header = header_in(message.labels) if broker.find_task(message.task_name) is None else None
        if is_told(header) and not messages.is_second(header):
            about = message.task_id, message.task_name
            self._port.ended(events.Failed, *about, header=header, code="unknown_task", unstarted=True)

    def _running(self, receiver: Receiver, target: Callable[..., Any], message: TaskiqMessage, **_: object) -> Any:
        options = options_on(target)
        return None if options is None else self._run(message, options)

    async def _run(self, message: TaskiqMessage, options: TaskOptions) -> Steps:
        """Be around the call of a body; one that must not run is left out, and is a success that returned None."""
        outer, header = here.get(), header_in(message.labels)
        received = Received() if outer is None or outer.delivery is not None else outer
        received.take(message)
        delivery = await self._port.abegin(message.task_id, message.task_name, options, header=header)
        received.delivery = delivery
        if delivery.refused:
            delivery.leave()
            nothing = TaskiqResult(is_err=False, return_value=None, execution_time=0.0, labels=message.labels)
            yield Instead(nothing)
        received.ran = yield
        if received is not outer:  # without a header nothing is around all that is done about the message
            received.end(delivery)

    async def _working(self, receiver: Receiver, *_: object) -> Steps:
        """Be around the life of a worker: its process ends soon after, and waits for no thread."""
        if receiver.is_process_pool:
            msg = "A pool of processes runs plain functions: they do not know their jobs, and no cancel stops them"
            logger.warning(msg)
        yield
        await await_in_thread(self._port.tracker.drain)


def _is_refused(error: BaseException | None) -> bool:
    """Return whether a message cannot have gone out: it cannot be written, or there is nobody to send it to."""
    return isinstance(error, SendTaskError) and isinstance(error.__cause__, TypeError | ValueError | SendTaskError)
