"""Django-Q2's hooks in a worker, which runs tasks, and in the monitor, which records and acknowledges what they did.

A failure is an end where the message does not come back: on a broker that keeps none (Redis), with `ack_failure`, or
when the monitor has acknowledged it because of `max_attempts`. A success is one, and stays on record whatever another
delivery of the message does.
"""

from __future__ import annotations

from collections.abc import Generator
from contextvars import ContextVar
from typing import Any

from django_q.conf import Conf
from django_q.exceptions import TimeoutException

from immortus_channels.jobs.events import Cancelled, Failed, Finished, Retrying
from immortus_channels.logs import logger
from immortus_channels.queues.deliveries import Delivery
from immortus_channels.queues.django_q import functions
from immortus_channels.queues.django_q.messages import END, HEADER, can_be_kept, comes_back, may_be_second
from immortus_channels.queues.django_q.sending import following
from immortus_channels.queues.hooks import Outcome, around
from immortus_channels.queues.moments import due
from immortus_channels.queues.port import Port
from immortus_channels.queues.tracked import TaskOptions
from immortus_channels.queues.verdicts import verdict
from immortus_channels.writer import report_of

TIME_LIMITS = (TimeoutException,)
_at_work: ContextVar[tuple[Delivery, dict[str, Any]] | None] = ContextVar("immortus_django_q_at_work", default=None)
"""The run that has begun here, and its message."""


class Workers:
    """Reports tasks that run."""

    def __init__(self, port: Port) -> None:
        self._port = port

    def executing(self, func: Any, options: TaskOptions, task: dict[str, Any]) -> None:
        """Begin the run."""
        name, header, again = functions.name_of(func), task.get(HEADER), may_be_second(task)
        delivery = self._port.begin(task["id"], name, options, header=header, redelivered=again)
        _at_work.set((delivery, task))

    def executed(self, func: Any, task: dict[str, Any]) -> None:
        """End the run, before the result leaves the worker; the sentinel may wait meanwhile, so do not wait."""
        at_work = _at_work.get()
        _at_work.set(None)
        if func is None:
            self._is_unknown(task)
        elif at_work is not None and at_work[1] is task:
            delivery = at_work[0]
            if task.get("success"):
                self._returned(delivery, task)
            else:
                self._raised(delivery, task, delivery.error or RuntimeError())

    def _is_unknown(self, task: dict[str, Any]) -> None:
        """Tell that no worker finds the function, unless the message comes back, to a newer worker perhaps."""
        if HEADER in task and not comes_back(task):
            name, header = functions.name_of(task["func"]), task[HEADER]
            self._port.ended(Failed, task["id"], name, header=header, code="unknown_task", unstarted=True)

    def _returned(self, delivery: Delivery, task: dict[str, Any]) -> None:
        if not can_be_kept(task["result"]):
            msg = "The result of %s cannot be pickled, so Django-Q2 neither records nor acknowledges it"
            logger.error(msg, delivery.run.job_class, extra={"job_id": delivery.job_id})
            self._raised(delivery, task, RuntimeError(), is_saved=False)
            return
        was_silent = delivery.is_silent
        delivery.finish(task["result"])
        if may_be_second(task) and not was_silent:
            self._settle(delivery, task)

    def _settle(self, delivery: Delivery, task: dict[str, Any]) -> None:
        """Tell that the job is done even if another delivery of its message has begun since: the queue says so too."""
        report = report_of(delivery.run, Finished).report
        name, header = delivery.run.job_class, task.get(HEADER)
        self._port.ended(Finished, task["id"], name, header=header, report=report)

    def _raised(self, delivery: Delivery, task: dict[str, Any], error: BaseException, *, is_saved: bool = True) -> None:
        kind, fields = verdict(error, delivery.job_id, asked=delivery.run.asked, limits=TIME_LIMITS)
        if kind is Cancelled or not comes_back(task):
            delivery.tell(kind, **fields)
        elif Conf.MAX_ATTEMPTS > 0 and is_saved:
            if not delivery.is_silent:
                about = {"job_id": task["id"], "job_class": delivery.run.job_class, "run_id": delivery.run.run_id}
                task[END] = {**about, **fields}
            delivery.hand_over()
        else:
            delivery.again(eta=due(Conf.RETRY))

    def working(self, *_: object, **__: object) -> Generator[None, Outcome, None]:
        """Tell of a run whose worker ends with it, by `sys.exit()` for example."""
        outer = _at_work.set(None)
        error = (yield).error
        at_work = _at_work.get()
        _at_work.reset(outer)
        if at_work is not None and error is not None:
            delivery, task = at_work
            if task.get("sync"):
                delivery.end(error)
            elif comes_back(task):
                delivery.again(eta=due(Conf.RETRY))
            else:
                delivery.fail("worker_lost")


class Monitors:
    """Reports what the monitor makes of failures."""

    def __init__(self, port: Port) -> None:
        self._port = port
        self._is_acknowledged = False

    def saving(self, task: dict[str, Any], broker: Any) -> Generator[None, Outcome, None]:
        """Be around the record of a run, which also sends the next link of a chain and calls the task's hook."""
        self._is_acknowledged = False
        around(type(broker), acknowledge=self.acknowledging)
        with following(task[HEADER]):
            yield

    def acknowledging(self, *_: object, **__: object) -> None:
        """Note that the message will not come back."""
        self._is_acknowledged = True

    def saved(self, task: dict[str, Any]) -> None:
        """Tell whether the failure was the last one."""
        end = task[END]
        about = {name: end.pop(name) for name in ("job_id", "job_class", "run_id")}
        header = task.get(HEADER)
        if self._is_acknowledged:
            self._port.ended(Failed, header=header, **about, **end)
        else:
            self._port.ended(Retrying, header=header, **about, eta=due(Conf.RETRY))
