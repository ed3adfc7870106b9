"""An event loop for threads without one, to send through the channel layer.

It runs in the sender's thread and only during a call: handing each call to another thread costs 55 µs more (measured).
What a call leaves running continues in a thread of the loop's own: the heartbeats of a layer on RabbitMQ or NATS, whose
broker would otherwise drop it, and a late call. The first call after that has ended takes the loop back. If gevent or
eventlet have replaced threads, it continues during the next call.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from immortus_channels.threads import is_green

Answer = TypeVar("Answer")


class LayerLoop:
    """Runs coroutines for one thread. Layers bind their connections to a loop, so one stays open until `close`."""

    GRACE = 0.5
    """Seconds that running tasks have to end when the loop is closed."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._loop.set_task_factory(self._task)
        self._tasks: set[asyncio.Task[Any]] = set()
        """The tasks that have not ended; `asyncio.all_tasks` would include those of a server's loop."""
        self._thread: threading.Thread | None = None

    def run(self, coroutine: Coroutine[Any, Any, Answer], seconds: float) -> Answer:
        """Return what the coroutine returns, or raise; TimeoutError if it is late, though it continues."""
        if self._thread is not None and not (self._tasks and self._thread.is_alive()):
            self._come_back()
        return (self._run_here if self._thread is None else self._run_there)(coroutine, seconds)

    def close(self) -> None:
        """Cancel the running tasks and close the loop, with the layer's connections, within about a second.

        Raises TimeoutError if a task blocks the loop, or what the layer raises.
        """
        if self._loop.is_closed():
            return
        self._come_back()
        self._loop.run_until_complete(_cancel(self._tasks, self.GRACE))
        self._loop.close()  # channels_redis closes the loop's connections here: it wraps `close`

    def _task(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        task = asyncio.Task(coroutine, loop=loop, **options)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _run_here(self, coroutine: Coroutine[Any, Any, Answer], seconds: float) -> Answer:
        task, ended = self._loop.create_task(coroutine), self._loop.create_future()
        task.add_done_callback(partial(_settle, ended))
        limit = self._loop.call_later(seconds, _settle, ended)
        try:
            self._loop.run_until_complete(ended)
        finally:
            limit.cancel()
        if self._tasks:
            self._continue()
        if not task.done():
            raise _late(seconds)
        return task.result()

    def _run_there(self, coroutine: Coroutine[Any, Any, Answer], seconds: float) -> Answer:
        answer = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return answer.result(seconds)
        except TimeoutError:
            if answer.done():
                raise
            raise _late(seconds) from None

    def _continue(self) -> None:
        """Run in a thread, until `_come_back`."""
        if is_green():
            return
        thread = threading.Thread(target=self._loop.run_forever, name="immortus-layer", daemon=True)
        with suppress(RuntimeError):  # no thread can be started: the tasks continue during the next call
            thread.start()
            self._thread = thread

    def _come_back(self) -> None:
        """Run in the caller's thread again. Raises TimeoutError if a task blocks the loop."""
        if self._thread is None:
            return
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(self.GRACE)
        if self._thread.is_alive():
            raise _late(self.GRACE)
        self._thread = None


def _settle(ended: asyncio.Future[None], task: asyncio.Task[Any] | None = None) -> None:
    if task is not None and not task.cancelled():
        task.exception()  # which has no other reader if the task was late
    if not ended.done():
        ended.set_result(None)


def _late(seconds: float) -> TimeoutError:
    return TimeoutError(f"no answer within {seconds:g} s")


async def _cancel(tasks: set[asyncio.Task[Any]], seconds: float) -> None:
    others = tasks - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others, timeout=seconds)
