"""The calls that this package makes into a channel layer: one at a time in a process, and none is cancelled.

A layer may share one connection among all its callers. Cancelling a call that has run out of time can end that
connection for all of them (measured with channels_rabbitmq 4.0: every later call raises CancelledError). So a late call
may end by itself, and while it waits no other call is made: a layer that hangs gets one call, not a pile of them.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from immortus_channels.push.connections import hang_up

Answer = TypeVar("Answer")


class Bulkhead:
    """Lets one task at a time through, of any thread and event loop."""

    LATE = 0.25
    """Seconds after which the task inside is late; shorter than any time limit of the callers."""

    def __init__(self) -> None:
        self.inside: asyncio.Task[Any] | None = None
        self._since = 0.0
        self._left: Future[None] | None = None
        """Done when the task inside has left; None while no task waits for that."""
        self._lock = threading.Lock()

    @property
    def is_stuck(self) -> bool:
        """Whether the task inside is late."""
        return self._is_taken() and time.monotonic() - self._since > self.LATE

    def _is_taken(self) -> bool:
        """Return whether a task is inside; one whose loop was closed no longer counts."""
        inside = self.inside
        return inside is not None and not inside.get_loop().is_closed()

    async def pass_through(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """Return what `ask()` returns, or raise what it raises, when the calling task's turn has come."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - only a task runs a coroutine
        while (others := self._enter(task)) is not None:
            await asyncio.wrap_future(others)
        try:
            return await ask()
        finally:
            self._leave(task)

    def _enter(self, task: asyncio.Task[Any]) -> Future[None] | None:
        """Enter, or return what to wait for while another task is inside."""
        with self._lock:
            if not self._is_taken():
                self.inside, self._since = task, time.monotonic()
                return None
            if self._left is None:
                self._left = Future()
                self._left.set_running_or_notify_cancel()  # a task that stops waiting must not cancel the others' wait
            return self._left

    def _leave(self, task: asyncio.Task[Any]) -> None:
        with self._lock:
            if self.inside is not task:  # its loop was closed, and another task has entered
                return
            self.inside, left, self._left = None, self._left, None
        if left is not None:
            left.set_result(None)


_bulkheads: WeakKeyDictionary[Any, Bulkhead] = WeakKeyDictionary()
# A child has no task of its own inside, and nothing there would release a parent's lock.
os.register_at_fork(after_in_child=_bulkheads.clear)


class LayerCalls:
    """A channel layer as this package calls it: a time limit around any call cancels nothing inside."""

    PATIENCE = 6.0
    """Seconds before a waiting call's connection is closed, for layers where that is possible; the hub's probe acts
    sooner."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self._bulkhead = _bulkheads.get(layer) or _bulkheads.setdefault(layer, Bulkhead())

    @property
    def is_stuck(self) -> bool:
        """Whether a late call still waits in the layer, so that no other can be made."""
        return self._bulkhead.is_stuck

    async def new_channel(self) -> str:
        """Return the name of a channel to receive on."""
        channel: str = await self._call(self._layer.new_channel)
        return channel

    async def group_add(self, group: str, channel: str) -> None:
        """Join a group."""
        await self._call(self._layer.group_add, group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        """Leave a group."""
        await self._call(self._layer.group_discard, group, channel)

    async def group_send(self, group: str, message: Mapping[str, object]) -> None:
        """Send to all members of a group."""
        await self._call(self._layer.group_send, group, message)

    async def send_in_this_task(self, group: str, message: Mapping[str, object]) -> None:
        """Do `group_send` in a task that is never cancelled. Raises TimeoutError at once while a call is late.

        It needs no second task, which costs 25 µs.
        """
        if self.is_stuck:
            msg = "an earlier call still waits in the layer"
            raise TimeoutError(msg)
        await self._pass_through(self._layer.group_send, group, message)

    async def receive(self, channel: str) -> Any:
        """Return the next message of the channel. This call is meant to wait, so others need not wait for it."""
        return await self._layer.receive(channel)

    async def hang_up(self) -> None:
        """Close the layer's connections of this event loop, if it is a known layer, so that it opens new ones."""
        await hang_up(self._layer)

    async def _call(self, ask: Callable[..., Awaitable[Any]], *arguments: object) -> Any:
        """Make the call; a caller that is cancelled once the call has begun leaves it running."""
        task = asyncio.ensure_future(self._pass_through(ask, *arguments))
        try:
            await asyncio.wait({task})
        finally:
            if self._bulkhead.inside is not task:
                task.cancel()
            task.add_done_callback(_mark_seen)
        return task.result()

    async def _pass_through(self, ask: Callable[..., Awaitable[Any]], *arguments: object) -> Any:
        async def call() -> Any:
            patience = asyncio.get_running_loop().call_later(self.PATIENCE, self._free)
            try:
                return await ask(*arguments)
            finally:
                patience.cancel()

        return await self._bulkhead.pass_through(call)

    def _free(self) -> None:
        """Close a connection that is dead without notice: it would hold the call for ever."""
        freeing = asyncio.ensure_future(self.hang_up())
        _freeing.add(freeing)
        freeing.add_done_callback(_freeing.discard)
        freeing.add_done_callback(_mark_seen)


_freeing: set[asyncio.Task[None]] = set()
"""Held, as an event loop does not hold its tasks."""


def _mark_seen(task: asyncio.Task[Any]) -> None:
    """Mark the outcome as seen: the caller has it, and asyncio need not log it."""
    if not task.cancelled():
        task.exception()
