"""The end of a server: each client first learns when to come back, so that not all come back at once.

No server does this on its own. On SIGTERM, Uvicorn closes all sockets in the same moment (code 1012), Daphne cuts them
without a close frame, and neither asks the application first. So the drain delays the server's own handler a little:
until all sockets have left, `GRACE` seconds have passed, or a second signal arrives.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from weakref import WeakKeyDictionary, ref

from immortus_channels import metrics
from immortus_channels.conf import settings
from immortus_channels.websocket.outbox import Outbox

Handler = Callable[[int, FrameType | None], object]

DRAINING = 4001

_drains: WeakKeyDictionary[asyncio.AbstractEventLoop, Drain] = WeakKeyDictionary()


def get_drain() -> Drain:
    """Return the drain of the running event loop."""
    loop = asyncio.get_running_loop()
    if loop not in _drains:
        _drains[loop] = Drain(loop)
    return _drains[loop]


def is_draining() -> bool:
    """Return whether a server of this process is about to end."""
    return any(drain.is_on and not loop.is_closed() for loop, drain in tuple(_drains.items()))


class Drain:
    """The open sockets of one event loop, and what SIGTERM means for them."""

    GRACE = 2.0

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take the place of the server's SIGTERM handler, if it has installed one."""
        self.is_on = False
        self._loop = ref(loop)
        self._sockets: set[Outbox] = set()
        self.server_handler: Handler | None = None
        if settings.DRAIN > 0 and threading.current_thread() is threading.main_thread():
            self._take_over(signal.getsignal(signal.SIGTERM))

    def _take_over(self, handler: Handler | int | None) -> None:
        """Replace a handler; without one the signal ends the process at once, and that stays so."""
        before = getattr(handler, "__self__", None)
        if isinstance(before, Drain):  # an earlier event loop's
            handler = before.server_handler
        if callable(handler):
            self.server_handler = handler
            signal.signal(signal.SIGTERM, self.terminated)

    @contextlib.contextmanager
    def holding(self, socket: Outbox) -> Iterator[None]:
        """Count the socket as open while the block runs; if the server is draining, send the socket away at once."""
        self._sockets.add(socket)
        metrics.SOCKETS.add()
        try:
            if self.is_on:
                self._send_away(socket)
            yield
        finally:
            metrics.SOCKETS.add(-1)
            self._sockets.discard(socket)
            if self.is_on and not self._sockets:
                self._hand_on()

    def terminated(self, signum: int, frame: FrameType | None) -> None:
        """Handle SIGTERM: drain first; on a second signal, or without a loop, do what the server would."""
        if not self.is_on:
            self.is_on = True
            loop = self._loop()
            if loop is not None and not loop.is_closed():
                loop.call_soon_threadsafe(self.begin)
                return
        self._hand_on()

    def begin(self) -> None:
        """Send all sockets away, and let the server end when they have gone."""
        self.is_on = True
        asyncio.get_running_loop().call_later(self.GRACE, self._hand_on)
        for socket in tuple(self._sockets):
            self._send_away(socket)
        if not self._sockets:
            self._hand_on()

    def _send_away(self, socket: Outbox) -> None:
        socket.leave(DRAINING, random.uniform(0, settings.DRAIN))  # noqa: S311 - spreads load

    def _hand_on(self) -> None:
        handler, self.server_handler = self.server_handler, None
        if handler is not None:
            signal.signal(signal.SIGTERM, handler)
            handler(signal.SIGTERM, None)
