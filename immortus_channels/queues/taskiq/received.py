"""A message that a worker is at, from its first hook to its last."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from taskiq import TaskiqMessage
from taskiq.exceptions import NoResultError, TaskRejectedError

from immortus_channels.queues.hooks import Outcome
from immortus_channels.queues.taskiq.messages import REQUEUES

if TYPE_CHECKING:
    from immortus_channels.queues.deliveries import Delivery


_NOT_RUN = Outcome()


@dataclass(slots=True)
class Received:
    """A message that an asyncio task works at, as far as the worker has come."""

    delivery: Delivery | None = None
    labels: Mapping[str, Any] = field(default_factory=dict)
    requeues: object = None
    """How often it had been put back when it came."""
    ran: Outcome = _NOT_RUN
    """What the worker's call of the body came to: a result of taskiq's, unless a middleware raised."""

    def take(self, message: TaskiqMessage) -> None:
        """Note what the message says before its body is run, which may change its labels."""
        self.labels, self.requeues = message.labels, message.labels.get(REQUEUES)

    def end(self, delivery: Delivery) -> None:
        """Tell how the run ended, which a middleware may have decided."""
        result, raised = self.ran
        error = (delivery.error or raised) if result is None else result.error
        is_without_result = isinstance(error, NoResultError)
        if delivery.resent_for is not None:
            delivery.again()
        elif is_without_result and self.labels.get(REQUEUES) != self.requeues:
            delivery.back()
        elif error is None or (is_without_result and delivery.error in (None, error)):
            delivery.finish(None if result is None else result.return_value)
        elif isinstance(error, TimeoutError) and error is not delivery.error and "timeout" in self.labels:
            delivery.fail("time_limit")
        elif isinstance(error, TaskRejectedError):
            delivery.fail("rejected")
        else:
            delivery.end(delivery.error if is_without_result else error)


here: ContextVar[Received | None] = ContextVar("immortus_taskiq_received", default=None)
