"""How many requests are answered at a time by this process.

Under ASGI Django gives each request a thread, and each thread a database connection: all pages that poll at once, as
they do when a proxy restarts, would take more connections than a database has.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from django.db import connections

from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.limits import limits

PATIENCE = 5.0
"""Seconds that a request waits for its turn."""

_changed = threading.Condition()
_taken = 0


class _Turn:
    """A request's; it may be left for a while."""

    def __init__(self) -> None:
        self.is_taken = False

    def take(self) -> None:
        _take()
        self.is_taken = True

    def leave(self) -> None:
        """Give it back, with the connections.

        Those that Django would close after the request are closed: else those of the next turns come on top.
        """
        try:
            _close_connections()
        finally:
            if self.is_taken:
                self.is_taken = False
                _give_back()


_current: ContextVar[_Turn | None] = ContextVar("immortus_turn", default=None)


@contextmanager
def turn() -> Iterator[None]:
    """Wait until there is room to answer a request here. Raises StoreUnavailable when that takes too long."""
    mine = _Turn()
    mine.take()
    token = _current.set(mine)
    try:
        yield
    finally:
        _current.reset(token)
        mine.leave()


@contextmanager
def aside() -> Iterator[None]:
    """Leave the turn to others while something else than the store is waited for, if this is in one.

    Raises StoreUnavailable when there is no room again in time.
    """
    mine = _current.get()
    if mine is None:
        yield
        return
    mine.leave()
    try:
        yield
    finally:
        mine.take()


def _close_connections() -> None:
    """As Django does after a request, but for one in whose transaction this is: a test's."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()


def _take() -> None:
    global _taken  # noqa: PLW0603 - guarded by the condition
    most = limits().requests_in_parallel
    with _changed:
        if _taken >= most:
            _close_connections()  # a middleware's: whoever waits holds none
        if not _changed.wait_for(lambda: _taken < most, PATIENCE):
            msg = f"{most} requests are being answered, and none has ended within {PATIENCE:g} s."
            raise StoreUnavailable(msg)
        _taken += 1


def _give_back() -> None:
    global _taken  # noqa: PLW0603
    with _changed:
        _taken -= 1
        _changed.notify()
