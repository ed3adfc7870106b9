"""An event loop whose time is not real: it passes only when nothing else can happen, and then at once.

So minutes of pings, re-checks and leases take milliseconds, and the same steps give the same order of events. The hub's
reader threads are real, but each works only while the loop has nothing to do, one call after the other.
"""

from __future__ import annotations

import asyncio
import selectors
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from immortus_channels.websocket.hub import threads
from immortus_channels.websocket.hub.threads import Readers

Result = TypeVar("Result")


class Turns:
    """Lets one call of a reader thread through at a time."""

    PATIENCE = 10.0

    def __init__(self, patches: pytest.MonkeyPatch) -> None:
        self._waiting = 0
        self._may_work = threading.Semaphore(0)
        self._has_worked = threading.Semaphore(0)
        run, answer = Readers.run, threads._answer

        def counted(*args: Any, **kwargs: Any) -> Any:
            self._waiting += 1
            return run(*args, **kwargs)

        def gated(*args: Any) -> None:
            self._may_work.acquire()
            try:
                answer(*args)
            finally:
                self._has_worked.release()

        patches.setattr(Readers, "THREADS", 1)
        patches.setattr(Readers, "run", counted)
        patches.setattr(threads, "_answer", gated)

    def take(self) -> bool:
        """Let the next call be made, if one waits, until it is done; whether one was."""
        if not self._waiting:
            return False
        self._waiting -= 1
        self._may_work.release()
        assert self._has_worked.acquire(timeout=self.PATIENCE), "a reader thread hangs"
        return True


class _Selector(selectors.DefaultSelector):
    """Lets a thread work, or time pass, where a real one would wait."""

    def __init__(self, turns: Turns) -> None:
        super().__init__()
        self.now = 1_000.0
        self._turns = turns

    def select(self, timeout: float | None = None) -> Any:
        if timeout != 0 and not self._turns.take():
            assert timeout is not None, "everything waits for something that will never happen"
            self.now += max(timeout, 0.0)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on virtual time."""

    def __init__(self, turns: Turns) -> None:
        self._virtual = _Selector(turns)
        super().__init__(self._virtual)

    def time(self) -> float:
        """Seconds."""
        return self._virtual.now

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """What the coroutine returns."""
        return self.run_until_complete(coroutine)

    def pass_time(self, seconds: float) -> None:
        """Let everything happen that happens in so many seconds."""
        self.run(asyncio.sleep(seconds))
