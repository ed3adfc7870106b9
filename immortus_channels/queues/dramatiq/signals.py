"""What Dramatiq signals to a broker's middleware, told to the port.

The hooks stand around each emission, not in the list of middleware: so they know what all of it made of a message,
whatever its order, in every broker, however old. Acknowledgements are no ends: each delay and each retry has its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dramatiq import Actor, Broker, Message, MessageProxy, Worker
from dramatiq.common import current_millis
from dramatiq.middleware import AgeLimit, Shutdown, SkipMessage

from immortus_channels.loading import Later
from immortus_channels.logs import logger
from immortus_channels.queues.dramatiq import followers
from immortus_channels.queues.dramatiq.marks import HEADER, OWNER, QUEUE, expect_chosen_ends, function_of, options_of
from immortus_channels.queues.hooks import Instead, Outcome
from immortus_channels.queues.tracked import TaskOptions
from immortus_channels.threads import is_green

if TYPE_CHECKING:
    from immortus_channels import writer
    from immortus_channels.jobs import events
    from immortus_channels.queues import messages, origins
    from immortus_channels.queues.deliveries import Delivery
    from immortus_channels.queues.port import Port
    from immortus_channels.queues.sendings import Sending
else:
    events = Later("immortus_channels.jobs.events")
    messages = Later("immortus_channels.queues.messages")
    origins = Later("immortus_channels.queues.origins")
    writer = Later("immortus_channels.writer")

Steps = Generator[Any, Outcome, None]
"""A hook around an emission, see `hooks.around`."""


class _OnItsWay(threading.local):
    """The message that this thread is handing to a broker, and the sending that the broker's answer confirms."""

    message: Message[Any] | None = None
    sending: Sending | None = None
    given: Mapping[str, Any] = {}

    def take(self, message: Message[Any] | None, sending: Sending | None = None) -> None:
        """Take the next message, and give the last one, which may be the project's own, the options that it had.

        If the project sends that again, the job begins another life, perhaps for another user.
        """
        if self.message is not None:
            self.message.options.pop(HEADER, None)
            self.message.options.update(self.given)
        self.message, self.sending = message, sending
        self.given = {} if message is None else followers.in_options(message.options)


class Signals:
    """Tells the port what brokers signal."""

    def __init__(self, port: Port, add: Callable[[Actor[..., Any]], None]) -> None:
        """Call `add` with each actor that is declared from now on, and each tracked one that is met."""
        self._port = port
        self._add = add
        self._on_its_way = _OnItsWay()
        self._before: dict[str, Callable[..., Steps | None]] = {
            "worker_boot": self._booting,
            "enqueue": self._sending,
            "process_message": self._beginning,
            "nack": self._rejecting,
        }
        self._after: dict[str, Callable[..., Steps | None]] = {
            "declare_actor": self._declared,
            "enqueue": self._sent,
            "process_message": self._processed,
            "skip_message": self._skipped,
        }

    def before(self, broker: Broker, signal: str, *args: Any, **kwargs: Any) -> Steps | None:
        """Be the hook around `Broker.emit_before`."""
        hook = self._before.get(signal)
        return None if hook is None else hook(broker, *args, **kwargs)

    def after(self, broker: Broker, signal: str, *args: Any, **kwargs: Any) -> Steps | None:
        """Be the hook around `Broker.emit_after`."""
        hook = self._after.get(signal)
        return None if hook is None else hook(broker, *args, **kwargs)

    def _booting(self, broker: Broker, worker: Worker) -> None:
        """Hear nothing in a worker of greenlets: the writer has no thread there that renews leases and pushes."""
        if is_green():
            logger.error("This worker does not track jobs: gevent is not supported; use `dramatiq`, whose are threads.")
            self._before.clear()
            self._after.clear()

    def _declared(self, broker: Broker, actor: Actor[..., Any]) -> None:
        self._add(actor)

    # Sending

    def _sending(self, broker: Broker, message: Message[Any], delay: int | None) -> Steps | None:
        actor = broker.actors.get(message.actor_name)
        options = options_of(actor)
        if options is None and actor is not None and not followers.are_in(message.options):
            return None
        return self._tell_sending(broker, message, actor, options)

    def _tell_sending(
        self, broker: Broker, message: Message[Any], actor: Actor[..., Any] | None, options: TaskOptions | None
    ) -> Steps:
        """Tell of a job before its message goes out, unless an earlier message told: of a retry, or before a delay.

        An actor that is unknown here may be tracked where it runs: its message names the owner, and the worker makes
        the record. RabbitMQ's broker signals again where it has to connect again.
        """
        if (yield).error is not None or messages.is_about(message.options.get(HEADER), message.message_id):
            return
        if options is None and actor is not None:
            self._on_its_way.take(message)
            self._plan(broker, message, None)
            return
        if actor is not None:
            self._add(actor)  # of an older broker
        sending = self._port.prepare(
            message.message_id,
            message.actor_name,
            options,
            args=message.args,
            kwargs=message.kwargs,
            function=None if actor is None else function_of(actor),
            eta=_due(message),
            planned=message.options.get(OWNER),
        )
        self._on_its_way.take(message, sending if options is not None else None)
        self._plan(broker, message, sending)
        if options is not None:
            sending.tell()
        if sending.header is not None:
            message.options[HEADER] = sending.header

    def _sent(self, broker: Broker, message: Message[Any], delay: int | None) -> None:
        """Confirm a sending, or note that the job that runs here is sent again."""
        if message is self._on_its_way.message:
            sending = self._on_its_way.sending
            self._on_its_way.take(None)
            if sending is not None:
                sending.confirm()
        elif (delivery := self._port.inside(message.message_id)) is not None:
            delivery.resent_for = _due(message) or time.time_ns() // 1000

    # Running

    def _beginning(self, broker: Broker, message: MessageProxy) -> Steps | None:
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

    def _processed(
        self,
        broker: Broker,
        message: MessageProxy,
        *,
        result: object = None,
        exception: BaseException | None = None,
    ) -> Steps | None:
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
            self._cancel_followers(broker, message)
        elif message.failed:
            self._end_unstarted(message, options, events.Failed, "rejected" if exception is None else "error")
            self._cancel_followers(broker, message)

    def _skipped(self, broker: Broker, message: MessageProxy) -> None:
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
        self._cancel_followers(broker, message)

    def _rejecting(self, broker: Broker, message: MessageProxy) -> None:
        """End a job whose actor the worker does not know; the end of any other one is told elsewhere."""
        if message.actor_name not in broker.actors and HEADER in message.options:
            self._end_unstarted(message, TaskOptions(), events.Failed, "unknown_task")
            self._cancel_followers(broker, message)

    def _end_unstarted(
        self, message: MessageProxy, options: TaskOptions | None, kind: type[events.Event], code: str
    ) -> None:
        header, planned = message.options.get(HEADER), message.options.get(OWNER)
        if options is not None and not messages.is_second(header):
            about = message.message_id, message.actor_name
            self._port.ended(kind, *about, header=header, planned=planned, code=code, unstarted=True)

    # Pipelines and groups

    def _plan(self, broker: Broker, message: Message[Any], sending: Sending | None) -> None:
        """Plan the jobs that follow a message, unless they were planned when an earlier one was sent.

        The owner is looked up for jobs only: a message without any costs no query.
        """
        named = [(each, broker.actors.get(each["actor_name"])) for each in followers.each_in(message.options)]
        jobs = [(each, options_of(actor)) for each, actor in named if actor is None or options_of(actor) is not None]
        if all(OWNER in each["options"] for each, _ in jobs):
            return
        if sending is not None:
            origin = messages.from_header(sending.header or {})
        else:
            origin = messages.with_owner(origins.origin_here(QUEUE, None), message.options.get(OWNER))
        more = {OWNER: messages.owner_header(origin)}
        message.options.update(followers.with_options(message.options, more))
        plan = replace(origin, send_id="", handler="", params=None, data=None)
        known = [(each, replace(plan, cancel=options.cancel)) for each, options in jobs if options is not None]
        for each, its_origin in known:  # they are written in order: to wait for the last one is to wait for all
            wait = writer.WAIT if sending is None and each is known[-1][0] else 0.0
            self._publish(events.Planned, each, origin.namespace, wait, origin=its_origin)

    def _cancel_followers(self, broker: Broker, message: MessageProxy) -> None:
        """Cancel the jobs that were to follow a message that has not succeeded."""
        namespace = messages.namespace_in(message.options.get(HEADER), message.options.get(OWNER))
        for each in followers.each_in(message.options):
            if options_of(broker.actors.get(each["actor_name"])) is not None:
                self._publish(events.Cancelled, each, namespace, code="upstream")

    def _publish(
        self, kind: type[events.Event], message: Mapping[str, Any], namespace: str, wait: float = 0.0, **fields: Any
    ) -> None:
        key = messages.key_in(namespace, message["message_id"])
        self._port.tracker.publish(kind(job_id=key, job_class=message["actor_name"], queue=QUEUE, **fields), wait=wait)


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


def _due(message: Message[Any]) -> int | None:
    """Return when a message is due, in microseconds since 1970; None for at once."""
    eta = message.options.get("eta")
    return None if eta is None else int(eta * 1000)


def _is_too_old(broker: Broker, actor: Actor[..., Any], message: MessageProxy) -> bool:
    """Return whether the message has exceeded its age limit, as AgeLimit has it."""
    general = next((each.max_age for each in broker.middleware if isinstance(each, AgeLimit)), None)
    limit = message.options.get("max_age") or actor.options.get("max_age", general)
    return bool(limit and current_millis() - message.message_timestamp >= limit)
