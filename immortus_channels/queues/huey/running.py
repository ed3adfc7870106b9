"""Huey's methods that run messages, and put them back, in a consumer's threads, processes or greenlets."""

from __future__ import annotations

import atexit
from collections.abc import Generator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from huey import signals
from huey.api import Huey, Task
from huey.consumer import Consumer
from huey.exceptions import CancelExecution, RateLimitExceeded, TaskLockedException, TaskTimeout
from huey.registry import Registry

from immortus_channels.loading import Later
from immortus_channels.queues.hooks import Outcome
from immortus_channels.queues.huey.calls import TOLD, after, call_of
from immortus_channels.queues.moments import due

if TYPE_CHECKING:
    from immortus_channels.jobs import events
    from immortus_channels.queues.deliveries import Delivery
    from immortus_channels.queues.port import Port
else:
    events = Later("immortus_channels.jobs.events")

_RUN = "immortus_run"
"""Set on a message that is being run: its `Run`."""
_IS_CONSUMER_S = "immortus_consumer"
"""Set on the registry of tasks in a consumer; elsewhere messages are read to be looked at."""
_RAISED = {
    signals.SIGNAL_CANCELED: CancelExecution(),
    signals.SIGNAL_LOCKED: TaskLockedException(),
    signals.SIGNAL_RATE_LIMITED: RateLimitExceeded("", 0),
    signals.SIGNAL_TIMEOUT: TaskTimeout(),
}
"""What the task has raised, by the signals that do not say it."""
_DROPPED = {signals.SIGNAL_REVOKED: "cancelled", signals.SIGNAL_EXPIRED: "expired"}
"""Why a message is not run, by the signals that say so."""


@dataclass(slots=True)
class Run:
    """What Huey has said of a run so far; the delivery is None for an untracked task that others follow."""

    delivery: Delivery | None
    error: BaseException | None = None
    is_complete: bool = False
    is_retried: bool = False


class RunningHooks:
    """Hooks around what reads and runs messages. Huey swallows what a task raises, and tells by signals what it was."""

    def __init__(self, port: Port) -> None:
        self._port = port

    def start(self, consumer: Consumer) -> None:
        """Note that this process takes the messages that it reads."""
        vars(consumer.huey._registry)[_IS_CONSUMER_S] = True  # noqa: SLF001 - it alone sees each message

    def create_task(self, registry: Registry, message: Any) -> None:
        """Tell of a message that was taken and is dropped: its task, or one that follows it, is unknown here."""
        if _IS_CONSUMER_S in vars(registry):
            pipeline = [message, *after(message)]
            if any(each.name not in registry._registry for each in pipeline):  # noqa: SLF001 - Huey would raise
                for each in pipeline:
                    self._port.ended(events.Failed, each.id, "", code="unknown_task", unstarted=True)

    def execute(self, huey: Huey, task: Task, timestamp: datetime) -> Generator[None, Outcome, None] | None:
        """Be around a run."""
        call = call_of(task)
        if call is None and task.on_complete is None:
            return None
        delivery = call and self._port.begin(task.id, call.job_class, call.options)
        return self._run(huey, task, Run(delivery))

    def _run(self, huey: Huey, message: Task, run: Run) -> Generator[None, Outcome, None]:
        vars(message).update({TOLD: True, _RUN: run})
        if run.delivery is not None and run.delivery.refused:
            _let_cancel(huey)
        outcome = yield
        if run.delivery is not None:
            _end(run.delivery, run, outcome)
        if not (run.is_complete or run.is_retried):
            self._cancel_after(message)

    def requeue(
        self, huey: Huey, task: Task, timestamp: datetime, retry_eta: datetime | None = None
    ) -> Generator[None, Outcome, None] | None:
        """Tell a retry before it is sent: another worker may begin it at once."""
        run: Run | None = vars(task).get(_RUN)
        if run is None:
            return None
        run.is_retried = True
        if retry_eta is None and task.retry_delay:
            retry_eta = timestamp + timedelta(seconds=task.retry_delay)
        return None if run.delivery is None else self._retry(run.delivery, due(retry_eta, is_utc=huey.utc))

    def _retry(self, delivery: Delivery, eta: int | None) -> Generator[None, Outcome, None]:
        delivery.again(eta=eta)
        if (yield).error is not None:
            self._port.ended(events.Failed, delivery.job_id, delivery.run.job_class)

    def emit(self, huey: Huey, signal: str, task: Task, *details: Any, **_: object) -> None:
        """Note what a signal says of the run, and tell of messages that are dropped."""
        if signal in _DROPPED:
            if (call := call_of(task)) is not None:
                self._port.ended(events.Cancelled, task.id, call.job_class, code=_DROPPED[signal], unstarted=True)
            self._cancel_after(task)
        elif (run := vars(task).get(_RUN)) is not None:
            _note(run, signal, *details)

    def _cancel_after(self, message: Task) -> None:
        """Cancel the jobs that were to follow a message: they will not be sent."""
        for follower in after(message):
            if (call := call_of(follower)) is not None:
                self._port.ended(events.Cancelled, follower.id, call.job_class, code="upstream")


def _note(run: Run, signal: str, error: BaseException | None = None, *_: object) -> None:
    if signal == signals.SIGNAL_COMPLETE:
        run.is_complete = True
    elif signal == signals.SIGNAL_INTERRUPTED:
        _interrupt(run.delivery)
    elif signal == signals.SIGNAL_ERROR:
        run.error = error
    elif signal in _RAISED:
        run.error = _RAISED[signal]


def _end(delivery: Delivery, run: Run, outcome: Outcome) -> None:
    """Tell the end, unless it was told; a decorator of the project's own may have met what the body raised."""
    delivery.error = None if run.is_complete else run.error or outcome.error
    match delivery.error:
        case CancelExecution():
            delivery.cancel()
        case TaskLockedException() | RateLimitExceeded():
            delivery.fail("rejected")
        case error:
            delivery.end(error, outcome.value)


def _interrupt(delivery: Delivery | None) -> None:
    """Tell that the worker was told to end now; a task in another thread may return before the process ends."""
    if delivery is None:
        return
    if delivery.is_here:
        delivery.fail("worker_lost")
    else:
        atexit.register(delivery.fail, "worker_lost")


def _let_cancel(huey: Huey) -> None:
    """Have Huey cancel refused runs: a hook of its own alone keeps it from a retry, and from what follows the task."""
    hooks = {**huey._pre_execute, "immortus_channels": _refuse}  # noqa: SLF001 - as below
    huey._pre_execute = hooks  # noqa: SLF001 - `pre_execute()` would change what another thread may be reading


def _refuse(message: Task) -> None:
    run: Run | None = vars(message).get(_RUN)
    if run is not None and run.delivery is not None and run.delivery.refused:
        raise CancelExecution
