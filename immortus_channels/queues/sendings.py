"""A job on its way to its queue: told before its message goes out, and confirmed once the queue has that."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from django.db import connections, transaction

from immortus_channels.conf import leases
from immortus_channels.jobs.events import Enqueued, Failed, Origin
from immortus_channels.jobs.job import Job
from immortus_channels.jobs.lifecycle import SECOND, is_foreign
from immortus_channels.keys import name_in
from immortus_channels.queues import classes
from immortus_channels.queues.messages import (
    first_header,
    from_header,
    is_about,
    key_in,
    second_header,
    tells_namespaces,
    with_owner,
    with_record,
)
from immortus_channels.queues.origins import origin_here, params_of, with_owner_in
from immortus_channels.queues.tracked import TaskOptions
from immortus_channels.queues.tracker import Tracker
from immortus_channels.queues.traits import QueueTraits
from immortus_channels.writer.run import aowner_here

_SOON = 10 * SECOND
"""How long before the end of a sender's lease the store may have given the job up when a word of it arrives."""


class Sending:
    """A job on its way to its queue. `header` is what its message takes along, None where that has no room for one."""

    def __init__(self, tracker: Tracker, event: Enqueued | None, header: dict[str, Any] | None) -> None:
        """Begin with the event that tells the sending; None if an earlier one of the job has told it."""
        self.header = header
        self._tracker = tracker
        self._event = event
        self._is_second = False
        """Whether the job has another message, which the queue has."""
        self._told_at = time.monotonic()

    def tell(self, *, waits: bool = True) -> None:
        """Have the job recorded; wait 0.4 seconds at most.

        Of many jobs only the last one need wait: they are recorded in order.
        """
        if self._event is not None:
            self._learn(self._event, self._tracker.publish(self._event, **_patience(waits=waits)))

    async def atell(self, *, waits: bool = True) -> None:
        """Do what `tell` does, on an event loop, which runs on meanwhile."""
        if self._event is not None:
            self._learn(self._event, await self._tracker.apublish(self._event, **_patience(waits=waits)))

    def _learn(self, event: Enqueued, job: Job | None) -> None:
        """Take in the record: what is sent under the id of a job that is not over is one more run of that job.

        What is sent under the id of another queue's job is none, nor is it under that of another user's job by hand.
        """
        self._told_at = time.monotonic()
        if job is None or event.origin is None:
            return
        if job.is_of_another(event.queue):
            self._event = self.header = None
        elif job.send_id == event.origin.send_id:
            self.header = self.header and with_record(self.header, job)
        elif not is_foreign(job, event.queue, event.origin):
            origin = replace(Origin.of(job), eta=event.origin.eta)
            self._event, self._is_second = replace(event, origin=origin), True
            self.header = self.header and second_header(origin, name_in(job.job_id))

    def confirm(self, *, using: str | None = None) -> None:
        """Say that the queue has the message: inside of `atomic()` on its database `using` once that is committed.

        A job that nobody confirms counts as not sent after a minute.
        """
        if using is not None and connections[using].in_atomic_block:
            transaction.on_commit(self._confirm, using=using, robust=True)
        else:
            self._confirm()

    def fail(self) -> None:
        """Say that the queue does not take the message; do not wait for the store."""
        event = self._event
        if event is not None and not self._is_second:
            failed = Failed(
                job_id=event.job_id,
                job_class=event.job_class,
                queue=event.queue,
                origin=event.origin,
                code="not_sent",
                unstarted=True,
            )
            self._tracker.publish(failed, wait=0)

    def _confirm(self) -> None:
        event = self._event
        if event is None or event.origin is None or not event.origin.send_id:
            return  # it was told before, or is one more run of a job that no queue knew about
        if time.monotonic() - self._told_at > (leases().sending - _SOON) / SECOND:
            self._tracker.publish(replace(event, is_confirmed=True), wait=0)
        else:
            delay = max((event.origin.eta or 0) / SECOND - time.time(), 0)
            self._tracker.renew(event.job_id, event.origin.send_id, delay + leases().waiting / SECOND)


def _patience(*, waits: bool) -> dict[str, float]:
    return {} if waits else {"wait": 0.0}


def prepare(  # noqa: PLR0913 - keywords
    queue: QueueTraits,
    tracker: Tracker,
    job_id: object,
    job_class: str,
    options: TaskOptions | None,
    *,
    args: Any = (),
    kwargs: Mapping[str, Any] | None = None,
    function: Callable[..., Any] | None = None,
    eta: int | None = None,
    header: Mapping[str, Any] | None = None,
    planned: Mapping[str, Any] | None = None,
    is_scheduled: bool = False,
) -> Sending:
    """Return a sending that is not told yet: see `Port.prepare`."""
    if not tells_namespaces(queue):
        return Sending(tracker, None, None)
    if header is not None and is_about(header, job_id):
        return Sending(tracker, None, dict(header))
    params = params_of(options, job_class, function, args, kwargs) if options else None
    origin = with_owner(origin_here(queue.name, options, eta=eta, params=params), planned)
    if options and planned is None:  # what follows another job is the owner's of that one, or nobody's
        origin = with_owner_in(origin, options, job_class, function=function, args=args, kwargs=kwargs)
    if origin.owner is None and (is_scheduled or queue.counts_ids):
        origin = replace(origin, staff_only=True)
    event = Enqueued(
        job_id=key_in(origin.namespace, job_id),
        job_class=job_class,
        queue=queue.name,
        origin=origin,
        sent_at=None if queue.carries_headers else time.time_ns() // 1000,
    )
    classes.remember(event.job_id, job_class)
    return Sending(tracker, event, first_header(origin, job_id) if queue.carries_headers else None)


async def aprepare(*args: Any, **sent: Any) -> Sending:
    """Do what `prepare` does, on an event loop, which runs on if the store has to be asked for the owner."""
    await aowner_here()
    return prepare(*args, **sent)


def resume(queue: QueueTraits, tracker: Tracker, job_id: object, job_class: str, header: Mapping[str, Any]) -> Sending:
    """Return the sending whose message has this header: see `Port.resume`."""
    origin = from_header(header)
    key = key_in(origin.namespace, job_id)
    event = Enqueued(job_id=key, job_class=job_class, queue=queue.name, origin=origin)
    return Sending(tracker, event, dict(header))
