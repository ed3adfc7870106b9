"""The jobs that follow a message: planned when it is sent, and cancelled when it does not succeed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dramatiq import Broker, Message, MessageProxy

from immortus_channels.loading import Later
from immortus_channels.queues.dramatiq import followers
from immortus_channels.queues.dramatiq.marks import HEADER, OWNER, QUEUE, options_of
from immortus_channels.queues.port import Port

if TYPE_CHECKING:
    from immortus_channels import writer
    from immortus_channels.jobs import events
    from immortus_channels.queues import messages, origins
    from immortus_channels.queues.sendings import Sending
else:
    events = Later("immortus_channels.jobs.events")
    messages = Later("immortus_channels.queues.messages")
    origins = Later("immortus_channels.queues.origins")
    writer = Later("immortus_channels.writer")


class Pipelines:
    """Tells of the jobs that follow a message, in its pipeline or by its group."""

    def __init__(self, port: Port) -> None:
        self._port = port

    def plan(self, broker: Broker, message: Message[Any], sending: Sending | None) -> None:
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

    def cancel_after(self, broker: Broker, message: MessageProxy) -> None:
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
