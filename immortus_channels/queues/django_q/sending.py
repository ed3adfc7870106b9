"""Django-Q2's hooks around a message on its way to the broker, and around its row there."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

from django.db import transaction
from django_q.brokers import Broker
from django_q.conf import Conf

from immortus_channels.jobs.events import Cancelled
from immortus_channels.jobs.owner import is_owner_known
from immortus_channels.queues.django_q import functions
from immortus_channels.queues.django_q.messages import HEADER, told
from immortus_channels.queues.hooks import Outcome, around
from immortus_channels.queues.messages import from_header, owner_header
from immortus_channels.queues.port import Port
from immortus_channels.queues.sendings import Sending
from immortus_channels.queues.tracked import options_on
from immortus_channels.recent import Recent

_follows: ContextVar[Any] = ContextVar("immortus_django_q_follows", default=None)
"""The header of the job whose end is being saved: what is sent then follows it."""
_is_scheduling: ContextVar[bool] = ContextVar("immortus_django_q_scheduling", default=False)


class Senders:
    """Reports tasks that are sent, and those that are taken out of the queue's table."""

    def __init__(self, port: Port) -> None:
        self._port = port
        self.groups: Recent[str, str] = Recent(1000)
        """The ids of groups that were sent here lately, each with the name of what sent them."""

    def enqueueing(self, task: dict[str, Any], function: Any) -> None:
        """Tell the job, with its header in the message; a task that is not known here takes along its owner alone."""
        options = options_on(function)
        self._note_group(task)
        before = None if is_owner_known() else _follows.get()
        sending = self._port.prepare(
            task["id"],
            functions.name_of(function or task["func"]),
            options,
            args=task["args"],
            kwargs=task["kwargs"],
            function=function,
            planned=before and owner_header(from_header(before)),
            is_scheduled=_is_scheduling.get(),
        )
        if options is not None:
            sending.tell()
            told.set(sending)
            _hook_brokers(self.enqueued)
        if sending.header is not None:
            task[HEADER] = sending.header

    def enqueued(self, broker: Any, *_: object, **__: object) -> Generator[None, Outcome, None] | None:
        """Confirm the job that was told last."""
        sending = told.get()
        return None if sending is None else _confirm(sending, broker)

    def _note_group(self, task: dict[str, Any]) -> None:
        if task.get("group") and (task.get("iter_count") or task.get("chain")):
            self.groups[task["group"]] = "async_iter()" if task.get("iter_count") else "async_chain()"

    # Out of the table

    def deleting(self, tasks: list[dict[str, Any]]) -> Generator[None, Outcome, None]:
        """Tell that these waiting jobs were cancelled: their rows are deleted."""
        if (yield).error is None:
            for task in tasks:
                transaction.on_commit(partial(self._deleted, task), using=Conf.ORM, robust=True)

    def _deleted(self, task: dict[str, Any]) -> None:
        job_class = functions.name_of(task["func"])
        self._port.ended(Cancelled, task["id"], job_class, header=task[HEADER], unstarted=True)


def _confirm(sending: Sending, broker: Any) -> Generator[None, Outcome, None]:
    if (yield).error is None:
        sending.confirm(using=_database_of(broker))


def _database_of(broker: object) -> str | None:
    """Return the database to which this broker writes; None for one that is none of Django's."""
    orm = sys.modules.get("django_q.brokers.orm")
    return Conf.ORM if orm is not None and isinstance(broker, orm.ORM) else None


def _hook_brokers(hook: Any) -> None:
    """Put the hook around `enqueue` of every kind of broker; the one in use is loaded by now."""
    kinds = [Broker]
    while kinds:
        kind = kinds.pop()
        around(kind, enqueue=hook)
        kinds += kind.__subclasses__()


@contextmanager
def following(header: Any) -> Iterator[None]:
    """Give the owner of the job with this header to what is sent meanwhile: the next link of a chain, a hook's jobs."""
    token = _follows.set(header)
    try:
        yield
    finally:
        _follows.reset(token)


def scheduling(*_: object, **__: object) -> Generator[None, Outcome, None]:
    """Note that what is sent meanwhile is sent by a schedule."""
    token = _is_scheduling.set(True)
    yield
    _is_scheduling.reset(token)
