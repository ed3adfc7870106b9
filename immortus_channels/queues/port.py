"""What an adapter calls: it says which of its queue's hooks means what, and the port does what all queues share.

Adapters hold a port from the start, so this module loads nothing before the first job.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from immortus_channels.loading import Later
from immortus_channels.queues.tracked import TaskOptions
from immortus_channels.queues.tracker import Tracker
from immortus_channels.queues.traits import QueueTraits

if TYPE_CHECKING:
    from immortus_channels.jobs.events import Event
    from immortus_channels.queues import deliveries, sendings
    from immortus_channels.queues.deliveries import Delivery
    from immortus_channels.queues.hooks import Outcome
    from immortus_channels.queues.sendings import Sending
else:
    deliveries = Later("immortus_channels.queues.deliveries")
    sendings = Later("immortus_channels.queues.sendings")


class Message(TypedDict, total=False):
    """What the message says of its job, besides the id and the class."""

    header: Mapping[str, Any] | None
    """What its first sending put in; one that names another job counts as none."""
    planned: Mapping[str, Any] | None
    """The owner, where another process planned the job: `messages.owner_header` makes it."""


class Sent(Message, total=False):
    """What is known when a job is sent."""

    args: Any
    kwargs: Mapping[str, Any] | None
    function: Callable[..., Any] | None
    """What the arguments are for; it tells their names."""
    eta: int | None
    """The earliest start in microseconds since 1970."""
    is_scheduled: bool
    """Whether a schedule sends it: without an owner it is then for staff only."""


class Port:
    """One adapter's side of the tracker. Its methods raise nothing but what the queue raises in running code."""

    def __init__(self, queue: QueueTraits, tracker: Tracker) -> None:
        self.queue = queue
        self.tracker = tracker
        self._here: list[Delivery] = []
        """The deliveries of this process, the latest last."""

    # Sending

    def prepare(self, job_id: object, job_class: str, options: TaskOptions | None, **sent: Unpack[Sent]) -> Sending:
        """Return a sending that is not told yet; the options are None for a task that this process does not know.

        A message that has this very job's header is sent again: the job was told by its first sending.
        """
        return sendings.prepare(self.queue, self.tracker, job_id, job_class, options, **sent)

    def sent(self, job_id: object, job_class: str, options: TaskOptions, **sent: Unpack[Sent]) -> Sending:
        """Tell that a job is about to go to its queue, or has just gone; wait 0.4 seconds at most."""
        sending = self.prepare(job_id, job_class, options, **sent)
        sending.tell()
        return sending

    async def aprepare(
        self, job_id: object, job_class: str, options: TaskOptions | None, **sent: Unpack[Sent]
    ) -> Sending:
        """Do what `prepare` does, on an event loop, which runs on meanwhile."""
        return await sendings.aprepare(self.queue, self.tracker, job_id, job_class, options, **sent)

    async def asent(self, job_id: object, job_class: str, options: TaskOptions, **sent: Unpack[Sent]) -> Sending:
        """Do what `sent` does, on an event loop, which runs on meanwhile."""
        sending = await self.aprepare(job_id, job_class, options, **sent)
        await sending.atell()
        return sending

    def sending(
        self,
        job_id: object,
        job_class: str,
        options: TaskOptions,
        *,
        using: str | None = None,
        **sent: Unpack[Sent],
    ) -> Generator[None, Outcome, None]:
        """Be the whole hook around the method that hands a job to its queue: tell it before, confirm it after."""
        sending = self.sent(job_id, job_class, options, **sent)
        if (yield).error is None:
            sending.confirm(using=using)

    def resume(self, job_id: object, job_class: str, header: Mapping[str, Any]) -> Sending:
        """Return the sending whose message has this header, where it is not at hand any more: to confirm it."""
        return sendings.resume(self.queue, self.tracker, job_id, job_class, header)

    # Running

    def begin(
        self, job_id: object, job_class: str, options: TaskOptions, *, run_id: str = "", **message: Unpack[Message]
    ) -> Delivery:
        """Begin a run, in this context, and wait 0.4 seconds at most for the answer.

        Without a `run_id` it gets one; give it where another process may tell the end. A run under the id of another
        queue's job is not refused, and its ends say nothing.
        """
        delivery = self._enter(job_id, job_class, options, run_id, message)
        delivery.begin()
        return delivery

    async def abegin(
        self, job_id: object, job_class: str, options: TaskOptions, *, run_id: str = "", **message: Unpack[Message]
    ) -> Delivery:
        """Do what `begin` does, on an event loop; if it is cancelled meanwhile, the job waits for its next run."""
        delivery = self._enter(job_id, job_class, options, run_id, message)
        await delivery.abegin()
        return delivery

    def _enter(self, job_id: object, job_class: str, options: TaskOptions, run_id: str, message: Message) -> Delivery:
        delivery = deliveries.enter(
            self.queue, self.tracker, job_id, job_class, options, left=self._left, run_id=run_id, **message
        )
        self._here.append(delivery)
        return delivery

    def _left(self, delivery: Delivery) -> None:
        if delivery in self._here:
            self._here.remove(delivery)

    def inside(self, job_id: object) -> Delivery | None:
        """Return the delivery of this job in whose context the calling code is."""
        return next((each for each in self._of(job_id) if each.is_here), None)

    def here(self, job_id: object) -> Delivery | None:
        """Return the delivery of this job that the calling code is in, else the latest one in this process."""
        return self.inside(job_id) or next(iter(self._of(job_id)), None)

    def _of(self, job_id: object) -> list[Delivery]:
        return [each for each in reversed(self._here.copy()) if each.is_of(job_id)] if self._here else []

    def noted(self, job_id: object, error: BaseException | None) -> None:
        """Note what ended the run here, for `Delivery.end`, which may be called later and know less."""
        if error is not None and (delivery := self.here(job_id)) is not None:
            delivery.error = error

    # Told from outside of a run

    def ended(
        self,
        kind: type[Event],
        job_id: object,
        job_class: str,
        *,
        header: Mapping[str, Any] | None = None,
        planned: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> None:
        """Tell how a job ended that does not run here, and do not wait for the store.

        It ended before its start (`unstarted=True`), or in another process (`run_id`). `fields` are the event's others.
        The `job_class` is empty where the adapter cannot know whether a task of this id was tracked: such a word makes
        no record.
        """
        message: Message = {"header": header, "planned": planned}
        deliveries.end_elsewhere(self.queue, self.tracker, kind, job_id, job_class, **message, **fields)
