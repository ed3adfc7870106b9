"""A broker's signals in the process that sends a message: a web server, or a worker whose job starts others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from dramatiq import Actor, Broker, Message

from immortus_channels.loading import Later
from immortus_channels.queues.dramatiq import followers
from immortus_channels.queues.dramatiq.marks import HEADER, OWNER, Steps, due, function_of, options_of
from immortus_channels.queues.dramatiq.pipelines import Pipelines
from immortus_channels.queues.port import Port
from immortus_channels.queues.tracked import TaskOptions

if TYPE_CHECKING:
    from immortus_channels.queues import messages, sendings
else:
    messages = Later("immortus_channels.queues.messages")


class _OnItsWay(threading.local):
    """The message that this thread is handing to a broker, and the sending that the broker's answer confirms."""

    message: Message[Any] | None = None
    sending: sendings.Sending | None = None
    given: Mapping[str, Any] = {}

    def take(self, message: Message[Any] | None, sending: sendings.Sending | None = None) -> None:
        """Take the next message, and give the last one, which may be the project's own, the options that it had.

        If the project sends that again, the job begins another life, perhaps for another user.
        """
        if self.message is not None:
            self.message.options.pop(HEADER, None)
            self.message.options.update(self.given)
        self.message, self.sending = message, sending
        self.given = {} if message is None else followers.in_options(message.options)


class Sending:
    """Reports messages that are sent."""

    def __init__(self, port: Port, add: Callable[[Actor[..., Any]], None]) -> None:
        """Call `add` with each tracked actor that is met."""
        self._port = port
        self._add = add
        self._pipelines = Pipelines(port)
        self._on_its_way = _OnItsWay()

    def before(self, broker: Broker, message: Message[Any], delay: int | None) -> Steps | None:
        """Tell of a message that is a job, or that jobs follow."""
        actor = broker.actors.get(message.actor_name)
        options = options_of(actor)
        if options is None and actor is not None and not followers.are_in(message.options):
            return None
        return self._tell(broker, message, actor, options)

    def _tell(
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
            self._pipelines.plan(broker, message, None)
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
            eta=due(message),
            planned=message.options.get(OWNER),
        )
        self._on_its_way.take(message, sending if options is not None else None)
        self._pipelines.plan(broker, message, sending)
        if options is not None:
            sending.tell()
        if sending.header is not None:
            message.options[HEADER] = sending.header

    def after(self, broker: Broker, message: Message[Any], delay: int | None) -> None:
        """Confirm a sending, or note that the job that runs here is sent again."""
        if message is self._on_its_way.message:
            sending = self._on_its_way.sending
            self._on_its_way.take(None)
            if sending is not None:
                sending.confirm()
        elif (delivery := self._port.inside(message.message_id)) is not None:
            delivery.resent_for = due(message) or time.time_ns() // 1000
