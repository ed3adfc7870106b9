"""Errands: work done beside everything else, by threads that exist only while there is some."""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Errands(ABC, Generic[Key, Value]):
    """The errands that wait, by key, the oldest first; a subclass says how to do one.

    An errand stays in `_pending` until the subclass removes it, holding the condition. A forked child begins with none.
    """

    NAME: str
    """The name of the threads."""
    IDLE = 0.0
    """Seconds for which a thread waits for more."""
    MOST = 1
    """Threads at a time. With several, each removes its errand before doing it."""

    def __init__(self) -> None:
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._condition = threading.Condition()
        self._pending: dict[Key, Value] = {}
        self._threads = self._idle = 0
        self._thread: threading.Thread | None = None
        """The thread that was started last."""
        self._is_ending = False

    def __len__(self) -> int:
        """Return how many errands wait."""
        return len(self._pending)

    def _put(self, key: Key, value: Value) -> None:
        """Add an errand, holding the condition. Raises RuntimeError if the system can start no thread for it."""
        self._pending[key] = value
        self._condition.notify_all()
        if self._idle < len(self._pending) and self._threads < self.MOST:
            thread = threading.Thread(target=self._work, name=self.NAME, daemon=True)
            thread.start()
            self._thread, self._threads = thread, self._threads + 1

    @abstractmethod
    def _work(self) -> None:
        """Do the errands that `_next` returns, until it returns None."""

    def _next(self) -> tuple[Key, Value] | None:
        """Return the oldest errand; None, which ends the thread, if none came for `IDLE` seconds."""
        with self._condition:
            self._idle += 1
            self._condition.wait_for(lambda: self._pending or self._is_ending, self.IDLE)
            self._idle -= 1
            if self._pending:
                return next(iter(self._pending.items()))
            self._threads -= 1
            self._condition.notify_all()
            return None
