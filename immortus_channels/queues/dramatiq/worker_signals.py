"""A broker's signals in a worker, in the thread that runs the message."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dramatiq import Actor, Broker, MessageProxy
from dramatiq.common import current_millis
from dramatiq.middleware import AgeLimit, Shutdown, SkipMessage

from immortus_channels.loading import Later
from immortus_channels.queues.dramatiq import followers
from immortus_channels.queues.dramatiq.marks import HEADER, OWNER, Steps, expect_chosen_ends, options_of
from immortus_channels.queues.dramatiq.pipelines import Pipelines
from immortus_channels.queues.hooks import Instead
from immortus_channels.queues.port import Port
from immortus_channels.queues.tracked import TaskOptions

if TYPE_CHECKING:
    from immortus_channels.jobs import events
    from immortus_channels.queues import messages
    from immortus_channels.queues.deliveries import Delivery
else:
    events = Later("immortus_channels.jobs.events")
    messages = Later("immortus_channels.queues.messages")


class Running:
    """Reports messages that are run."""

    def __init__(self, port: Port, add: Callable[[Actor[..., Any]], None]) -> None:
        """Call `add` with each tracked actor that is met."""
        self._port = port
        self._add = add
        self._pipelines = Pipelines(port)

    def beginning(self, broker: Broker, message: MessageProxy) -> Steps | None:
        """Begin a run, before the actor is called."""
        actor = broker.actors.get(message.actor_name)
        options = options_of(actor)
        return None if actor is None or options is None else self._begin(actor, message, options)

    def _begin(self, actor: Actor[..., Any], message: MessageProxy, options: TaskOptions) -> Steps:
        """Begin a run once no middleware has refused it; refuse it if the job is over."""
        if (yield).error is not None or message.failed:
            return
        self._add(actor)
        expect_chosen_ends(actor)
        header, planned = message.options.get(HEADER), message.options.get(OWNER)
        delivery = self._port.begin(message.message_id, message.actor_name, options, header=header, planned=planned)
        if delivery.refused:
            yield Instead(error=SkipMessage("The job is over; the worker does not run it."))

    def processed(
        self,
        broker: Broker,
        message: MessageProxy,
        *,
        result: object = None,
        exception: BaseException | None = None,
    ) -> Steps | None:
        """End a run that returned or raised."""
        options = options_of(broker.actors.get(message.actor_name))
        is_well = exception is None and not message.failed
        if options is None and (is_well or not followers.are_in(message.options)):
            return None
        return self._end(broker, message, options, result, exception)

    def _end(
        self,
        broker: Broker,
        message: MessageProxy,
        options: TaskOptions | None,
        result: object,
        exception: BaseException | None,
    ) -> Steps:
        """End a run once the middleware has decided whether another one follows."""
        yield
        delivery = self._port.inside(message.message_id)
        if delivery is not None and delivery.resent_for is not None:
            delivery.again()
        elif delivery is not None and exception is None and not message.failed:
            delivery.finish(result)
        elif delivery is not None:
            _fail(delivery, exception)
            self._pipelines.cancel_after(broker, message)
        elif message.failed:
            self._end_unstarted(message, options, events.Failed, "rejected" if exception is None else "error")
            self._pipelines.cancel_after(broker, message)

    def skipped(self, broker: Broker, message: MessageProxy) -> None:
        """End a job whose message a middleware refuses, or its own code, or that was over."""
        actor = broker.actors.get(message.actor_name)
        options = options_of(actor)
        delivery = self._port.inside(message.message_id) if options is not None else None
        if delivery is not None:
            delivery.cancel()
        elif not message.failed:
            self._end_unstarted(message, options, events.Cancelled, "cancelled")
        elif actor is not None and _is_too_old(broker, actor, message):
            self._end_unstarted(message, options, events.Cancelled, "expired")
        else:
            self._end_unstarted(message, options, events.Failed, "rejected")
        self._pipelines.cancel_after(broker, message)

    def rejecting(self, broker: Broker, message: MessageProxy) -> None:
        """End a job whose actor the worker does not know; the end of any other one is told elsewhere."""
        if message.actor_name not in broker.actors and HEADER in message.options:
            self._end_unstarted(message, TaskOptions(), events.Failed, "unknown_task")
            self._pipelines.cancel_after(broker, message)

    def _end_unstarted(
        self, message: MessageProxy, options: TaskOptions | None, kind: type[events.Event], code: str
    ) -> None:
        header, planned = message.options.get(HEADER), message.options.get(OWNER)
        if options is not None and not messages.is_second(header):
            about = message.message_id, message.actor_name
            self._port.ended(kind, *about, header=header, planned=planned, code=code, unstarted=True)


def _fail(delivery: Delivery, exception: BaseException | None) -> None:
    """Tell that a run was the last one of its job."""
    match exception:
        case None:
            delivery.fail("rejected")
        case Shutdown():
            delivery.fail("worker_lost")
        case _ if type(exception).__module__.startswith("dramatiq_abort."):
            delivery.cancel()
        case _:
            delivery.end(exception)


def _is_too_old(broker: Broker, actor: Actor[..., Any], message: MessageProxy) -> bool:
    """Return whether the message has exceeded its age limit, as AgeLimit has it."""
    general = next((each.max_age for each in broker.middleware if isinstance(each, AgeLimit)), None)
    limit = message.options.get("max_age") or actor.options.get("max_age", general)
    return bool(limit and current_millis() - message.message_timestamp >= limit)
