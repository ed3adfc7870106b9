"""How many requests are answered at a time by this process.

Under ASGI Django gives each request a thread, and each thread a database connection: all pages that poll at once, as
they do when a proxy restarts, would take more connections than a database has.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connections

from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.limits import limits

PATIENCE = 5.0
"""Seconds that a request waits for its turn."""

_changed = threading.Condition()
_taken = 0


@contextmanager
def turn() -> Iterator[None]:
    """Wait until there is room to answer a request here. Raises StoreUnavailable when that takes too long.

    Connections that Django would close after the request are closed with the turn: else those of the next turns come
    on top.
    """
    _take()
    try:
        yield
    finally:
        try:
            _close_connections()
        finally:
            _give_back()


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
