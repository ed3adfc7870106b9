"""Pushes a job's newest document: to hubs of this process directly, to all others through the channel layer.

A push is a hint that may be lost; the store is the truth. Other consumers may join a job's group too: the
group is `group_name(job_id)`, the message what `Push.to_message` returns.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

from channels.layers import (  # type: ignore[import-untyped]
    InMemoryChannelLayer,
    channel_layers,
    get_channel_layer,
)
from django.utils.crypto import salted_hmac

from immortus_channels import metrics
from immortus_channels.conf import settings
from immortus_channels.jobs.ids import is_job_id
from immortus_channels.jobs.job import MAX_DEPTH, Job, State
from immortus_channels.jobs.strict_json import Bounds, loads
from immortus_channels.jobs.versions import is_believable
from immortus_channels.logs import Breaker, Trouble
from immortus_channels.push.calls import LayerCalls
from immortus_channels.push.loop import LayerLoop

if TYPE_CHECKING:
    from immortus_channels.push.revocations import Revocation

logger = logging.getLogger("immortus_channels")

MESSAGE_TYPE = "immortus.job"
MAX_TEXT = 64 * 1024
"""Bytes; twice a document's limit. A longer text did not come from this package."""
BOUNDS = Bounds(size=MAX_TEXT, depth=MAX_DEPTH)


def group_name(job_id: str) -> str:
    """The channel layer group of a job: a keyed hash, so that any id makes a valid name that tells nothing."""
    return f"immortus.job.{salted_hmac('immortus.job', job_id, algorithm='sha256').hexdigest()}"


def shared_layer() -> Any:
    """The channel layer that reaches other processes; None when there is none."""
    layer = get_channel_layer(settings.CHANNEL_LAYER)
    return None if isinstance(layer, InMemoryChannelLayer) else layer


def has_shared_layer() -> bool:
    """Whether pushes reach other processes."""
    try:
        return shared_layer() is not None
    except RuntimeError:
        if is_in_event_loop():
            raise
        return True  # it can be made in a running event loop only, as that of channels_rabbitmq


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """One version of a job on its way to those who watch it; `text` is its document."""

    job_id: str
    version: int
    event: str
    state: State
    text: str
    attempt: int = 1

    @property
    def is_over(self) -> bool:
        """Whether the job has ended."""
        return self.state.is_over

    @property
    def is_last(self) -> bool:
        """Whether nothing can follow: a lost job is over but may be revived."""
        return self.is_over and self.state is not State.LOST

    @classmethod
    def of(cls, job: Job) -> Self:
        """The push of a job as it stands."""
        return cls(
            job_id=job.job_id,
            version=job.version,
            event=job.event,
            state=job.state,
            text=job.text,
            attempt=job.attempt,
        )

    def to_message(self) -> dict[str, object]:
        """The channel layer message."""
        return {
            "type": MESSAGE_TYPE,
            "job_id": self.job_id,
            "version": self.version,
            "event": self.event,
            "over": self.is_over,
            "text": self.text,
        }

    @classmethod
    def from_message(cls, message: object) -> Self | None:
        """The push in a channel layer message; None when it is not one of ours.

        Whoever can write to the layer can write anything, and the text goes to browsers as it is: so the text
        must be the document that the message says it is.
        """
        match message:
            case {"type": "immortus.job", "job_id": job_id, "version": version, "event": event, "text": text}:
                document = _document(text)
            case _:
                return None
        told = (document.get("job_id"), document.get("version"))
        state, attempt = document.get("state"), document.get("attempt")
        if not (isinstance(text, str) and isinstance(event, str) and event.isascii() and isinstance(state, str)):
            return None
        if told != (job_id, version) or not is_job_id(job_id) or state not in _STATES:
            return None
        if type(version) is not int or type(attempt) is not int or not _is_of_now(version):
            return None
        return cls(job_id=job_id, version=version, event=event, state=_STATES[state], text=text, attempt=attempt)


def _is_of_now(version: int) -> bool:
    """Whether the version may be shown: after one far ahead, nothing true would count until the clock has caught up."""
    if is_believable(version):
        return True
    logger.warning(
        "A push through the channel layer is dropped: its version is far ahead of this host's clock. Either the clocks "
        "of the store and of this host differ: synchronise them. Or somebody else writes to the layer: keep them out."
    )
    return False


_STATES: Mapping[str, State] = {state.value: state for state in State}


def _document(text: object) -> Mapping[str, object]:
    try:
        document = loads(text, BOUNDS)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


class Receiver(Protocol):
    """Takes what is told within this process, from any thread, without blocking and without raising."""

    def receive(self, push: Push) -> None:
        """Take a push for a job that may be watched here."""
        ...

    def reconsider(self, revocation: Revocation) -> None:
        """Ask again whether those whom it is about may see what they watch here."""
        ...


_receivers: tuple[Receiver, ...] = ()


def enter(receiver: Receiver) -> None:
    """Hand every push of this process to `receiver` from now on."""
    global _receivers  # noqa: PLW0603 - replaced, never changed, so that the writer may iterate without a lock
    _receivers = (*_receivers, receiver)


def leave(receiver: Receiver) -> None:
    """Stop handing pushes to `receiver`."""
    global _receivers  # noqa: PLW0603
    _receivers = tuple(other for other in _receivers if other is not receiver)


def receivers() -> tuple[Receiver, ...]:
    """All that have entered."""
    return _receivers


class Broadcaster:
    """Sends pushes, for one thread, and never raises.

    Channel layers bind their connections to an event loop, and a new one per send costs 5 ms and a Redis connection
    each: so one loop runs until `close`.
    """

    TIMEOUT = 0.3
    """Seconds; shorter than a task waits for its own write, which may come after a push that hangs."""

    def __init__(self) -> None:
        self._loop: LayerLoop | None = None
        self._own: Any = None
        """A layer of this loop's own, where the project's can be used in one loop only, which is the server's."""
        self._breaker = Breaker()
        self._trouble = Trouble(
            "Sending through the channel layer",
            "Pages learn of changes by re-checks and polling until it works again.",
        )

    def send(self, job: Job) -> None:
        """Push the job to all who watch it; takes at most `TIMEOUT` seconds."""
        try:
            push = Push.of(job)
            for receiver in _receivers:
                receiver.receive(push)
        except Exception:
            logger.exception("%r could not be pushed", job.job_id, extra={"job_id": job.job_id})
            return
        if self._breaker.allows(time.monotonic()):
            self._send(push)

    def _send(self, push: Push) -> None:
        self.tell(group_name(push.job_id), push.to_message())

    def tell(self, group: str, message: Mapping[str, object]) -> bool:
        """Send a message to a group, through the layer alone, in at most `TIMEOUT` seconds; whether it went out."""
        try:
            self._send_through_layer(group, message)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - a layer may raise anything; this is a hint
            metrics.LAYER_ERRORS.add(of="group_send")
            self._trouble.begin(error)
            self._breaker.failed(time.monotonic(), slowly=isinstance(error, TimeoutError))
            return False
        self._breaker.succeeded()
        return True

    def _send_through_layer(self, group: str, message: Mapping[str, object]) -> None:
        if is_in_event_loop():
            return
        if self._loop is None:
            if not has_shared_layer():
                return
            self._loop, self._own = _opened(self.TIMEOUT)
        layer = shared_layer() if self._own is None else self._own
        if layer is None:  # the settings have changed, as they do in tests
            return
        began = time.perf_counter()
        self._loop.run(LayerCalls(layer).send(group, message), self.TIMEOUT)
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
                with suppress(Exception):  # it goes with the loop, if not of itself
                    loop.run(own.close(), self.TIMEOUT)
            loop.close()
        except Exception as error:  # noqa: BLE001 - nothing more can be done about a connection that will not close
            self._trouble.begin(error)


def _opened(seconds: float) -> tuple[LayerLoop, Any]:
    """A loop to send from, and a layer of its own where the project's can be used in one loop only."""
    loop = LayerLoop()
    try:
        return loop, loop.run(_made_here(), seconds) if _is_bound_to_one_loop() else None
    except BaseException:
        loop.close()
        raise


def _is_bound_to_one_loop() -> bool:
    """Whether the layer can be made in a running event loop only, as that of channels_rabbitmq, and used there only."""
    try:
        channel_layers.make_backend(settings.CHANNEL_LAYER)
    except RuntimeError:
        return True
    except Exception:  # noqa: BLE001 - what is wrong with its settings is told where it is used
        return False
    return False


async def _made_here() -> Any:
    return channel_layers.make_backend(settings.CHANNEL_LAYER)


def is_in_event_loop() -> bool:
    """Whether this is an event loop's thread, where no other loop can run: writes made inline may come from one."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
