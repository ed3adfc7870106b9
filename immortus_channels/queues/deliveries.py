"""A message of a job that this process works at: the run that it is, from the queue's first hook to its last."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Self

from immortus_channels.exceptions import DocumentTooLarge, InvalidValue
from immortus_channels.jobs import namespaces
from immortus_channels.jobs.events import (
    Cancelled,
    Event,
    Failed,
    Finished,
    Origin,
    Refreshed,
    Reported,
    Requeued,
    Retrying,
)
from immortus_channels.jobs.ids import text_of
from immortus_channels.jobs.job import Job, State
from immortus_channels.keys import name_in, namespace_of
from immortus_channels.loading import name_of
from immortus_channels.logs import logger
from immortus_channels.queues.body import awaited
from immortus_channels.queues.messages import (
    from_header,
    is_about,
    job_in,
    key_in,
    namespace_in,
    tells_namespaces,
    with_owner,
)
from immortus_channels.queues.tracked import TaskOptions
from immortus_channels.queues.tracker import Tracker
from immortus_channels.queues.traits import QueueTraits
from immortus_channels.queues.verdicts import verdict
from immortus_channels.writer.run import Run, current_run
from immortus_channels.writer.values import clean_shown


class Delivery:
    """A run in this process, in whose context the code is that made it. It tells one end, the first."""

    def __init__(  # noqa: PLR0913 - keywords
        self,
        run: Run,
        options: TaskOptions,
        *,
        queue: QueueTraits,
        tracker: Tracker,
        known: Job | None = None,
        left: Callable[[Delivery], None] = lambda _: None,
    ) -> None:
        """Enter the run's context; `begin` begins the run.

        The `known` job is the one that the message tells of. `left` is called whenever the delivery leaves its context.
        """
        self.run, self.options = run, options
        self.job_id = name_in(run.job_id)
        self.value: object = None
        self.error: BaseException | None = None
        """What the body returned or raised, as far as the function or the adapter has noted it."""
        self.resent_for: int | None = None
        """When the message is due that this run sent for its own job, in microseconds; None if it sent none."""
        self._queue, self._tracker, self._known, self._left = queue, tracker, known, left
        self._is_told = False
        self._entered = namespaces.enter(namespace_of(run.job_id))
        self._before = current_run.get(), awaited.get()
        current_run.set(run)
        awaited.set(self)

    def begin(self, *, redelivered: bool = False) -> None:
        """Tell that the run begins, and wait 0.4 seconds at most for the answer.

        If its message may have been `redelivered`, the store is asked first whether the job is done.
        """
        try:
            if redelivered and self._is_done(self._tracker.publish(self._question)):
                return
            if not self.run.is_foreign:
                self._tracker.begin(self.run, self._known)
        except self._queue.interrupts as error:
            self.end(error)
            raise
        except BaseException:
            self.leave()
            raise
        self._begun()

    async def abegin(self, *, redelivered: bool = False) -> None:
        """Do what `begin` does, on an event loop; if it is cancelled meanwhile, the job waits for its next run."""
        try:
            if redelivered and self._is_done(await self._tracker.apublish(self._question)):
                return
            if not self.run.is_foreign:
                await self._tracker.abegin(self.run, self._known)
        except asyncio.CancelledError:
            self.back()
            raise
        except BaseException:
            self.leave()
            raise
        self._begun()

    @property
    def _question(self) -> Refreshed:
        """What changes nothing, and is answered with the job."""
        return Refreshed(job_id=self.run.job_id, job_class=self.run.job_class, queue=self._queue.name)

    def _is_done(self, job: Job | None) -> bool:
        """Return whether an earlier run has finished the job: of this one, which has not begun, nothing is told."""
        if job is not None and job.run_id and not job.is_of_another(self._queue.name):
            self._is_told = job.state is State.FINISHED
        return self._is_told

    def _begun(self) -> None:
        if self.run.is_foreign:
            self._is_told = True
            self.leave()

    @property
    def refused(self) -> bool:
        """Whether the job is over, cancelled while it waited for example: its body must not run."""
        return self.run.refused

    @property
    def is_silent(self) -> bool:
        """Whether nothing more is told of the run: its end was, or it is refused, or its job was done before."""
        return self._is_told or self.refused

    def is_of(self, job_id: object) -> bool:
        """Return whether it is this job's."""
        return self.job_id == text_of(job_id)

    @property
    def is_here(self) -> bool:
        """Whether the calling code is in this run's context."""
        return current_run.get() is self.run

    @contextmanager
    def body(self) -> Iterator[Self]:
        """Be around the call of the body, and note what that raises; what it returned goes into `value`."""
        awaited.set(None)
        try:
            yield self
        except BaseException as error:
            self.error = error
            raise

    # Ends: each leaves the run's context

    def end(self, error: BaseException | None = None, value: object = None) -> None:
        """Tell that the run is over for good, by what it raised, else by what it returned."""
        error = error or self.error
        if error is not None:
            limits = self._queue.time_limits
            kind, fields = verdict(error, self.job_id, asked=self.run.asked, limits=limits)
            self.tell(kind, **fields)
        else:
            self.finish(self.value if value is None else value)

    def finish(self, value: object, *, leaves: bool = True) -> None:
        """Tell that the body returned this."""
        try:
            if self.options.publish_result and not self.is_silent:
                self._publish(value)
        finally:
            self.tell(Finished, leaves=leaves)

    def _publish(self, value: object) -> None:
        """Publish what the body returned, if it can be: its task cannot know what that looks like as JSON."""
        try:
            result = clean_shown(value, self.job_id, what="The result", by_caller=False)
            self.run.set_result(result, by_caller=False)
        except (InvalidValue, DocumentTooLarge) as error:
            returned = f"{self.run.job_class} returned a value of type {type(value).__name__}"
            about = {"job_id": self.run.job_id}
            logger.warning("%s, which is not published: the job has no result. %s", returned, error, extra=about)

    def again(self, *, eta: int | None = None, is_sent: bool = True) -> None:
        """Tell that the run failed and the queue will run the job again, at `eta` in microseconds since 1970.

        `is_sent` says that the queue has the message of the next run.
        """
        self.tell(Retrying, eta=self.resent_for if eta is None else eta, is_sent=is_sent)

    def back(self, *, eta: int | None = None) -> None:
        """Tell that the message went back to the queue, without a failure; it is due at `eta`, in microseconds."""
        self.tell(Requeued, eta=eta)

    def fail(self, code: str) -> None:
        """Tell that the job failed for a reason of the queue's: `time_limit`, `worker_lost`, `rejected`."""
        self.tell(Failed, code=code)

    def cancel(self, code: str = "cancelled") -> None:
        """Tell that the job was cancelled by the queue's own means, or has expired."""
        self.tell(Cancelled, code=code)

    def hand_over(self) -> None:
        """Leave the end to another process that knows it better: it calls `Port.ended` with this run's id."""
        self.tell(Reported)

    def tell(self, kind: type[Event], *, leaves: bool = True, **fields: object) -> Job | None:
        """Tell an end, unless one was told or the run was refused; return the job after it, if it is known by then.

        With `leaves=False` the caller leaves the run's context later.
        """
        if leaves:
            self.leave()
        is_over, self._is_told = self.is_silent, True
        if is_over:
            return None
        wait = None if self._queue.waits_for_ends else 0.0
        return self._tracker.end(self.run, kind, wait=wait, **fields)

    def leave(self) -> None:
        """Put back what was before in this context; nothing changes in another one."""
        if self.is_here:
            current_run.set(self._before[0])
            awaited.set(self._before[1])
            namespaces.leave(self._entered)
        self._left(self)


def enter(  # noqa: PLR0913 - keywords
    queue: QueueTraits,
    tracker: Tracker,
    job_id: object,
    job_class: str,
    options: TaskOptions,
    *,
    left: Callable[[Delivery], None],
    header: Mapping[str, Any] | None = None,
    planned: Mapping[str, Any] | None = None,
    run_id: str = "",
) -> Delivery:
    """Return a delivery whose run has not begun, and be in its context: see `Port.begin`."""
    header = header if is_about(header, job_id) else None
    key = key_in(namespace_in(header, planned), job_id)
    run = tracker.make_run(
        job_id=key,
        job_class=job_class,
        run_id=run_id or uuid.uuid4().hex,
        origin=None if header is None else _origin_in(header, options),
        queue=queue.name,
    )
    run.is_foreign = not tells_namespaces(queue)
    return Delivery(run, options, queue=queue, tracker=tracker, known=job_in(header, key, job_class), left=left)


def _origin_in(header: Mapping[str, Any], options: TaskOptions) -> Origin:
    """Return what the sender knew; the worker knows the task: how it may be cancelled, what handles its page."""
    origin = from_header(header)
    return replace(origin, cancel=options.cancel, handler=origin.handler or name_of(options.handler))


def end_elsewhere(  # noqa: PLR0913 - keywords
    queue: QueueTraits,
    tracker: Tracker,
    kind: type[Event],
    job_id: object,
    job_class: str,
    *,
    header: Mapping[str, Any] | None = None,
    planned: Mapping[str, Any] | None = None,
    **fields: Any,
) -> None:
    """Tell how a job ended that does not run here: see `Port.ended`."""
    if not tells_namespaces(queue):
        return
    header = header if is_about(header, job_id) else None
    key = key_in(namespace_in(header, planned), job_id)
    origin = None
    if header is not None:
        origin = from_header(header)
    elif job_class:
        origin = with_owner(Origin(staff_only=True), planned)
    tracker.publish(kind(job_id=key, job_class=job_class, queue=queue.name, origin=origin, **fields), wait=0)
