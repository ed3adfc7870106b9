"""The calls that this package makes into a channel layer: one at a time in a process, and none is cancelled.

A layer may share one connection among all its callers. Cancelling a call that waits for it, because its time is up, can
end it for everybody (measured with channels_rabbitmq 4.0: every later call raises CancelledError). So a call that is
late is left to end by itself, and while it waits nothing else is asked: what hangs is asked once, not piled up on.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from immortus_channels.layer_connections import hang_up

Answer = TypeVar("Answer")


class Bulkhead:
    """Lets one call at a time through, from any thread and event loop; a call that is abandoned goes on inside."""

    def __init__(self) -> None:
        self.is_stuck = False
        """Whether the call inside was abandoned, and still waits."""
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._left: Future[None] = Future()
        """Done when the call inside has ended."""

    async def call(self, ask: Callable[[], Awaitable[Answer]], abandoned: Callable[[], None]) -> Answer:
        """What `ask()` returns, or raises, once its turn has come.

        Whoever is cancelled meanwhile leaves the call inside behind; `abandoned` is called then.
        """
        await self._turn()
        task = asyncio.ensure_future(ask())
        task.add_done_callback(self._ended)
        try:
            await asyncio.wait({task})
        finally:
            if not task.done():
                abandoned()
        return task.result()

    async def pass_through(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """The same for a caller that nobody cancels, without a task of its own for the call: that costs 50 µs."""
        await self._turn()
        try:
            return await ask()
        finally:
            self._leave()

    async def _turn(self) -> None:
        while (others := self._enter()) is not None:
            await asyncio.wrap_future(others)

    def _enter(self) -> Future[None] | None:
        """Go inside; or what to wait for, as somebody is there. A loop that was closed has nobody inside any more."""
        with self._lock:
            if self._loop is not None and not self._loop.is_closed():
                return self._left
            self._loop, self._left, self.is_stuck = asyncio.get_running_loop(), Future(), False
            self._left.set_running_or_notify_cancel()  # so that nobody who stops waiting cancels it for the others
            return None

    def abandon(self) -> None:
        """Whoever asked the call inside waits for it no more."""
        with self._lock:
            self.is_stuck = self._loop is not None

    def _ended(self, task: asyncio.Future[Any]) -> None:
        if not task.cancelled():
            task.exception()  # which its caller has seen, or nobody wants to see any more
        self._leave()

    def _leave(self) -> None:
        with self._lock:
            self._loop, self.is_stuck = None, False
        self._left.set_result(None)


_bulkheads: WeakKeyDictionary[Any, Bulkhead] = WeakKeyDictionary()
_lock = threading.Lock()


def _bulkhead_of(layer: Any) -> Bulkhead:
    with _lock:
        return _bulkheads.setdefault(layer, Bulkhead())


class LayerCalls:
    """A channel layer as this package calls it: set a time limit around any call, it cancels nothing inside."""

    PATIENCE = 5.0
    """Seconds until the connection is closed on which an abandoned call waits, where it is known how."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self._bulkhead = _bulkhead_of(layer)

    @property
    def is_stuck(self) -> bool:
        """Whether a call whose time was up still waits in the layer, so that nothing more can be asked of it."""
        return self._bulkhead.is_stuck

    async def new_channel(self) -> str:
        """The name of a channel to receive on."""
        channel: str = await self._call(self._layer.new_channel)
        return channel

    async def group_add(self, group: str, channel: str) -> None:
        """Join a group."""
        await self._call(self._layer.group_add, group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        """Leave a group."""
        await self._call(self._layer.group_discard, group, channel)

    async def group_send(self, group: str, message: Mapping[str, object]) -> None:
        """Send to all in a group."""
        await self._call(self._layer.group_send, group, message)

    async def send(self, group: str, message: Mapping[str, object]) -> None:
        """`group_send` for a caller that is never cancelled: it may walk away and say so to `abandon`."""
        await self._bulkhead.pass_through(lambda: self._layer.group_send(group, message))

    async def receive(self, channel: str) -> Any:
        """The next message of the channel. Waiting for one is what this call is for: others need not wait for it."""
        return await self._layer.receive(channel)

    async def hang_up(self) -> None:
        """Close the layer's connections of this event loop, so that it opens new ones; where it is known how."""
        await hang_up(self._layer)

    async def _call(self, ask: Callable[..., Awaitable[Any]], *arguments: object) -> Any:
        async def asked() -> Any:
            return await ask(*arguments)

        return await self._bulkhead.call(asked, self.abandon)

    def abandon(self) -> None:
        """Nobody waits for the call inside any more; a line that is dead without a word would hold it for ever."""
        self._bulkhead.abandon()
        asyncio.get_running_loop().call_later(self.PATIENCE, self._free)

    def _free(self) -> None:
        if self._bulkhead.is_stuck:
            freeing = asyncio.ensure_future(self.hang_up())
            _freeing.add(freeing)
            freeing.add_done_callback(_freed)


_freeing: set[asyncio.Future[None]] = set()
"""Held, as an event loop holds no task."""


def _freed(freeing: asyncio.Future[None]) -> None:
    _freeing.discard(freeing)
    if not freeing.cancelled():
        freeing.exception()  # the call inside tells its own


def _after_fork() -> None:
    global _lock  # noqa: PLW0603 - the child has nobody inside, and the lock may be held by nobody
    _lock = threading.Lock()
    _bulkheads.clear()


os.register_at_fork(after_in_child=_after_fork)
