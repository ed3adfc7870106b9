"""What is to be done beside everything else, by threads that there are only while something is."""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Errands(ABC, Generic[Key, Value]):
    """What waits to be done, by key and the oldest first; a subclass says what to do with it.

    It stays here until the subclass takes it out of `_pending`, with the condition. A forked child has none of it.
    """

    NAME: str
    """Of the threads."""
    IDLE = 0.0
    """Seconds for which a thread waits for more."""
    MOST = 1
    """Threads at a time; where there are several, each takes out what it does before it does it."""

    def __init__(self) -> None:
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._condition = threading.Condition()
        self._pending: dict[Key, Value] = {}
        self._threads = self._idle = 0
        self._thread: threading.Thread | None = None
        """The last one."""
        self._is_ending = False

    def __len__(self) -> int:
        """How many wait."""
        return len(self._pending)

    def _put(self, key: Key, value: Value) -> None:
        """Add one, with the condition. Raises RuntimeError where the system has no thread left for it."""
        self._pending[key] = value
        self._condition.notify_all()
        if self._idle < len(self._pending) and self._threads < self.MOST:
            thread = threading.Thread(target=self._work, name=self.NAME, daemon=True)
            thread.start()
            self._thread, self._threads = thread, self._threads + 1

    @abstractmethod
    def _work(self) -> None:
        """Do what `_next` returns until it is None."""

    def _next(self) -> tuple[Key, Value] | None:
        """Return the oldest; None, which ends the thread, when there was none for a while."""
        with self._condition:
            self._idle += 1
            self._condition.wait_for(lambda: self._pending or self._is_ending, self.IDLE)
            self._idle -= 1
            if self._pending:
                return next(iter(self._pending.items()))
            self._threads -= 1
            self._condition.notify_all()
            return None
