"""What Dramatiq signals to a broker's middleware.

The hooks stand around each emission, not in the list of middleware: so they know what all of it made of a message,
whatever its order, in every broker, however old. Acknowledgements are no ends: each delay and each retry has its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dramatiq import Actor, Broker, Worker

from immortus_channels.logs import logger
from immortus_channels.queues.dramatiq.enqueue_signals import Sending
from immortus_channels.queues.dramatiq.marks import Steps
from immortus_channels.queues.dramatiq.worker_signals import Running
from immortus_channels.queues.port import Port
from immortus_channels.threads import is_green


class Signals:
    """Lets those that may concern a job reach `Sending` and `Running`."""

    def __init__(self, port: Port, add: Callable[[Actor[..., Any]], None]) -> None:
        """Call `add` with each actor that is declared from now on, and each tracked one that is met."""
        self._add = add
        sending, running = Sending(port, add), Running(port, add)
        self._before: dict[str, Callable[..., Steps | None]] = {
            "worker_boot": self._booting,
            "enqueue": sending.before,
            "process_message": running.beginning,
            "nack": running.rejecting,
        }
        self._after: dict[str, Callable[..., Steps | None]] = {
            "declare_actor": self._declared,
            "enqueue": sending.after,
            "process_message": running.processed,
            "skip_message": running.skipped,
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
