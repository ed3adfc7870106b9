"""The writer where gevent or eventlet have replaced threads: a greenlet that renews leases and pushes nothing."""

from __future__ import annotations

import sys

from immortus_channels.logs import logger
from immortus_channels.push.broadcaster import Broadcaster
from immortus_channels.threads import is_in_event_loop
from immortus_channels.writer.thread import Writer
from immortus_channels.writer.write import Write


class GreenWriter(Writer):
    """A writer whose thread is a greenlet. Pages learn of changes by the re-check of their server.

    All greenlets are one thread to asyncio: an event loop of ours, which the channel layer needs, would keep tasks from
    running theirs (measured). A task that never yields keeps the greenlet from renewing its lease.
    """

    def __init__(self) -> None:
        super().__init__()
        logger.warning("Threads are patched (gevent, eventlet): nothing is pushed, and pages learn by re-checks")

    def _cycle(self, broadcaster: Broadcaster) -> None:
        """Write in a real thread while a greenlet runs an event loop, where Django lets nobody use the database."""
        gevent = sys.modules.get("gevent")
        if gevent is not None and is_in_event_loop():
            gevent.get_hub().threadpool.apply(super()._cycle, (broadcaster,))
        else:
            super()._cycle(broadcaster)

    def _push(self, broadcaster: Broadcaster, write: Write) -> None:
        """Push nothing."""
