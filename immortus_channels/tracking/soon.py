"""What code on an event loop has said of jobs, while a strategy has yet to react: a thread waits for that, in order."""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from itertools import count

from django.db import connections

from immortus_channels import writer
from immortus_channels.conf import is_inline
from immortus_channels.errands import Errands
from immortus_channels.logs import logger
from immortus_channels.threads import is_in_event_loop
from immortus_channels.writer.thread import DRAIN


def may_wait() -> bool:
    """Return whether the caller may wait for the store; where jobs are written inline, it writes them itself."""
    return is_inline() or not is_in_event_loop()


class Soon(Errands[int, Callable[[], object]]):
    """Calls to make one after the other, with their callers' context variables."""

    NAME = "immortus-soon"
    PENDING = 1_000
    """Calls that may wait behind a strategy that hangs; further ones are refused."""

    def _begin(self) -> None:
        super()._begin()
        self._count = count()

    def put(self, call: Callable[[], object]) -> None:
        """Have the call made."""
        with self._condition:
            if len(self._pending) >= self.PENDING:
                logger.error("A strategy hangs; what code on an event loop says of jobs is left out")
                return
            with suppress(RuntimeError):  # the system has no thread left: the next call tries again
                self._put(next(self._count), partial(copy_context().run, call))

    def flush(self, timeout: float) -> float:
        """Wait until all calls are made, for at most `timeout` seconds, of which it returns what is left.

        A call that comes here does not wait.
        """
        if not self._pending or threading.current_thread() is self._thread:
            return timeout
        until = time.monotonic() + timeout
        with self._condition:
            self._condition.wait_for(lambda: not self._pending, timeout)
        return max(until - time.monotonic(), 0)

    def _work(self) -> None:
        while (due := self._next()) is not None:
            number, call = due
            try:
                call()
            except BaseException:
                logger.exception("A strategy ended its thread; the next call goes on")
            connections.close_all()
            with self._condition:
                del self._pending[number]
                self._condition.notify_all()


soon = Soon()


def drain(timeout: float = DRAIN) -> None:
    """Make what calls are left, and write what they say, before the process ends or forks."""
    soon.flush(min(timeout, 1.0))
    writer.drain(timeout)


atexit.register(drain)
