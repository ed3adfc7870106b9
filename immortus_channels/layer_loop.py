"""An event loop in a thread of its own, from which threads without one send through the channel layer.

It runs all the time: a layer that answers its broker's heartbeats, as those on RabbitMQ and NATS do, loses its
connection where the loop stands still between two sends. A call is handed to it in 50 µs (measured). Where gevent or
eventlet have replaced threads, a loop that runs would be everybody's running loop: there it runs during a call only.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from immortus_channels.green import is_green

Answer = TypeVar("Answer")


class Late(TimeoutError):
    """There was no answer in time, and its caller waits no longer."""


class LayerLoop:
    """Runs coroutines for threads. Layers bind their connections to a loop, so one is kept open until `close`."""

    GRACE = 0.5
    """Seconds that what runs has to end when the loop is closed."""

    def __init__(self) -> None:
        """Raise RuntimeError where no thread can be started."""
        self._loop = asyncio.new_event_loop()
        self._thread: threading.Thread | None = None
        if is_green():
            return
        self._thread = threading.Thread(target=self._work, name="immortus-layer", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            self._loop.close()
            raise

    def run(self, coroutine: Coroutine[Any, Any, Answer], seconds: float) -> Answer:
        """What the coroutine returns, or raises; Late, and leaves it behind, when it takes longer."""
        if self._thread is None:
            return self._loop.run_until_complete(_within(seconds, coroutine))
        answer = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return answer.result(seconds)
        except TimeoutError:
            if answer.done():
                raise
            msg = f"no answer within {seconds:g} s"
            raise Late(msg) from None

    def call(self, function: Callable[[], None]) -> None:
        """Call it in the loop, soon."""
        self._loop.call_soon_threadsafe(function)

    def close(self) -> None:
        """Cancel what runs and close the loop, with the layer's connections, in about two seconds at most."""
        if self._thread is None:
            self._end()
            return
        with suppress(RuntimeError):  # closed already
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(4 * self.GRACE)

    def _work(self) -> None:
        self._loop.run_forever()
        self._end()

    def _end(self) -> None:
        self._loop.run_until_complete(_cancelled(asyncio.all_tasks(self._loop), self.GRACE))
        self._loop.close()  # channels_redis closes the loop's connections here: it wraps `close`


async def _within(seconds: float, coroutine: Coroutine[Any, Any, Answer]) -> Answer:
    """`wait_for` would also wait for what was cancelled to clean up, which a hung layer may never do."""
    task = asyncio.ensure_future(coroutine)
    done, _ = await asyncio.wait({task}, timeout=seconds)
    if not done:
        task.cancel()
        await asyncio.sleep(0)
        msg = f"no answer within {seconds:g} s"
        raise Late(msg)
    return task.result()


async def _cancelled(tasks: set[asyncio.Task[Any]], seconds: float) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=seconds)
