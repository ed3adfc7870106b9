"""A deadline that moves with every frame of a socket, at less cost than a new timer of the event loop each time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Alarm:
    """Calls a function once, at the time that was set last by the loop's clock.

    A timer that fires before that time is then started again, so moving the time onward costs next to nothing.
    """

    __slots__ = ("_at", "_loop", "_ring", "_timer")

    def __init__(self, ring: Callable[[], None]) -> None:
        """Call `ring`, but never before a time is set."""
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def set(self, at: float) -> None:
        """Ring at this time, and no longer at an earlier setting."""
        self._at = at
        if self._timer is None or at < self._timer.when():
            self.stop()
            self._wind()

    def stop(self) -> None:
        """Do not ring until a time is set again."""
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
