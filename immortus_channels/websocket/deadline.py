"""A deadline that moves with every frame of a socket; winding a timer of the event loop each time would cost more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["Alarm"]


class Alarm:
    """Rings once when the time that was set last has come, by the loop's clock.

    A timer that turns out to be early is wound again only then; so moving the time on costs next to nothing.
    """

    __slots__ = ("_at", "_loop", "_ring", "_timer")

    def __init__(self, ring: Callable[[], None]) -> None:
        """Never rings before a time is set."""
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def set(self, at: float) -> None:
        """Ring at this time, and at none that was set before."""
        self._at = at
        if self._timer is None or at < self._timer.when():
            self.stop()
            self._wind()

    def stop(self) -> None:
        """Ring no more, until a time is set again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wind(self) -> None:
        self._timer = self._loop.call_at(self._at, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._at > self._loop.time():
            self._wind()
        else:
            self._ring()
