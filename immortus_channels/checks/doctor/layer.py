"""The channel layer: whether the worker's pushes of the probe arrive here, and which of its hosts does not deliver."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

from immortus_channels.checks.doctor.finding import Finding, reason_of
from immortus_channels.checks.doctor.layer_hosts import ask_hosts
from immortus_channels.conf import settings
from immortus_channels.push.layer import group_name, shared_layer
from immortus_channels.push.messages import Push


class Listener(threading.Thread):
    """A listener to the channel layer's messages about one job."""

    def __init__(self, job_id: str) -> None:
        super().__init__(name="immortus-doctor", daemon=True)
        self.is_ready = threading.Event()
        self.heard_end = threading.Event()
        self.heard: list[Push] = []
        self.has_layer = True
        self.error: Exception | None = None
        self._job_id = job_id

    def run(self) -> None:
        """Listen until the job is over."""
        try:
            asyncio.run(self._listen())
        except Exception as error:  # noqa: BLE001 - a layer may raise anything
            self.error = error
        self.is_ready.set()

    async def _listen(self) -> None:
        layer = shared_layer()
        if layer is None:
            self.has_layer = False
            return
        channel = await layer.new_channel()
        await layer.group_add(group_name(self._job_id), channel)
        self.is_ready.set()
        while not self.heard_end.is_set():
            push = Push.from_message(await layer.receive(channel))
            if push is not None:
                self.heard.append(push)
                if push.is_over:
                    self.heard_end.set()
        await layer.group_discard(group_name(self._job_id), channel)


def examine_layer(listener: Listener, *, worked: bool) -> Finding:
    """Report what the listener heard of a probe, which a worker has run or not."""
    alias = settings.CHANNEL_LAYER
    if not listener.has_layer:
        return Finding(part="layer", level="ok", message="none that reaches other processes: pages re-check the store")
    if listener.error is not None or not listener.is_ready.is_set():
        message = reason_of(listener.error or TimeoutError())
        hint = f"Start Redis, or correct CHANNEL_LAYERS[{alias!r}]; meanwhile pages re-check the store."
        return Finding(part="layer", level="wrong", message=message, hint=hint)
    if worked and not listener.heard_end.wait(1.0):
        message = "the worker's push did not arrive here"
        hint = f"Give the worker the same CHANNEL_LAYERS[{alias!r}], prefix included; its log may say more."
        return Finding(part="layer", level="wrong", message=message, hint=hint)
    if not listener.heard:
        hint = "The log says why nothing could be sent."
        return Finding(part="layer", level="wrong", message="what was sent here did not come back", hint=hint)
    return Finding(part="layer", level="ok", message=f"brought {len(listener.heard)} changes of the probe")


def examine_hosts(timeout: float, *, is_layer_wrong: bool) -> Iterator[Finding]:
    """Yield a finding for each host of the layer that does not deliver; the probe's group was on one of the hosts.

    Where there is only one host and `is_layer_wrong`, the layer's own finding says it all.
    """
    try:
        errors = ask_hosts(timeout)
    except Exception:  # noqa: BLE001 - the layer's own finding says what is wrong with it
        return
    for host, error in errors.items():
        if error is not None and not (is_layer_wrong and len(errors) == 1):
            hint = (
                "Start it, or take it out of `hosts` in every process: pages re-check the jobs whose groups it has. "
                "With a Redis Cluster the pubsub layer works, the core layer does not."
            )
            yield Finding(part="layer", level="wrong", message=f"{host}: {reason_of(error)}", hint=hint)
