"""Pushes a job's newest document: to hubs of this process directly, to all others through the channel layer.

A push is a hint that may be lost; the store is the truth. Other consumers may join a job's group too: the group is
`group_name(job_id)`, the message is what `Push.to_message` returns.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from immortus_channels import metrics
from immortus_channels.jobs.job import Job
from immortus_channels.logs import Trouble, logger
from immortus_channels.push import receivers
from immortus_channels.push.breaker import Breaker
from immortus_channels.push.calls import LayerCalls
from immortus_channels.push.layer import group_name, has_shared_layer, is_bound_to_one_loop, make_layer, shared_layer
from immortus_channels.push.loop import LayerLoop
from immortus_channels.push.messages import Push
from immortus_channels.threads import is_in_event_loop


class Broadcaster:
    """Sends pushes, for one thread, and never raises.

    Channel layers bind their connections to an event loop, and a new loop per send costs 5 ms and a Redis connection
    each: so one loop runs until `close`.
    """

    TIMEOUT = 0.3
    """Seconds; shorter than a task waits for its own write, which may be queued behind a push that hangs."""

    def __init__(self) -> None:
        self._loop: LayerLoop | None = None
        self._own: Any = None
        """A layer of this loop's own, if the project's works in one loop only, which is the server's."""
        self._breaker = Breaker()
        self._trouble = Trouble(
            "Sending through the channel layer",
            "Pages learn of changes by re-checks and polling until it works again.",
        )

    def send(self, job: Job) -> None:
        """Push the job to all its watchers; takes at most `TIMEOUT` seconds."""
        try:
            push = Push.of(job)
            for receiver in receivers.current():
                receiver.receive(push)
        except Exception:
            logger.exception("The push of %r failed", job.job_id, extra={"job_id": job.job_id})
            return
        if self._breaker.allows(time.monotonic()):
            self.send_to_group(group_name(push.job_id), push.to_message())

    def send_to_group(self, group: str, message: Mapping[str, object]) -> bool:
        """Send a message to a group, through the layer alone, within `TIMEOUT` seconds; return whether it went out."""
        try:
            self._send_through_layer(group, message)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - a layer may raise anything; this is a hint
            metrics.LAYER_ERRORS.add(of="group_send")
            self._trouble.begin(error)
            self._breaker.note_failure(time.monotonic(), slowly=isinstance(error, TimeoutError))
            return False
        self._breaker.note_success()
        return True

    def _send_through_layer(self, group: str, message: Mapping[str, object]) -> None:
        if is_in_event_loop():
            return
        if self._loop is None:
            if not has_shared_layer():
                return
            self._loop, self._own = _open(self.TIMEOUT)
        layer = shared_layer() if self._own is None else self._own
        if layer is None:  # the settings have changed, as they do in tests
            return
        began = time.perf_counter()
        self._loop.run(LayerCalls(layer).send_in_this_task(group, message), self.TIMEOUT)
        metrics.PUBLISHED.add()
        metrics.PUBLISH_SECONDS.add(time.perf_counter() - began)
        self._trouble.end()

    def close(self) -> None:
        """Close the loop, and with it the layer's connections; the next send opens a new one."""
        loop, self._loop = self._loop, None
        own, self._own = self._own, None
        if loop is None:
            return
        try:
            if hasattr(own, "close"):
                with suppress(Exception):  # closing the loop ends it anyway
                    loop.run(own.close(), self.TIMEOUT)
            loop.close()
        except Exception as error:  # noqa: BLE001 - nothing more can be done about a connection that will not close
            self._trouble.begin(error)


def _open(seconds: float) -> tuple[LayerLoop, Any]:
    """Return a loop to send from, and a layer of its own if the project's works in one loop only."""
    loop = LayerLoop()
    try:
        return loop, loop.run(make_layer(), seconds) if is_bound_to_one_loop() else None
    except BaseException:
        loop.close()
        raise
