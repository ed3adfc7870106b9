"""How many requests this process answers at a time, and how many of them for one account.

Under ASGI Django gives each request a thread, and each thread a database connection: when all pages poll at once, as
they do when a proxy restarts, they would take more connections than a database has.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

from django.db import connections

from immortus_channels.access.limits import kept_for_users, limits
from immortus_channels.access.quotas import is_users
from immortus_channels.exceptions import StoreUnavailable

PATIENCE = 5.0
"""Seconds that a request waits for its turn."""

_lock = threading.Lock()
_ALL, _VISITORS = "all", "visitors"


class _Place:
    """How many requests hold a turn on one account, and how many wait for one; used with the lock."""

    def __init__(self) -> None:
        self.held = self.waiting = 0
        self.changed = threading.Condition(_lock)


_places: dict[str, _Place] = {}


class Turn:
    """The turn of one request; its account is known only after its session was read."""

    def __init__(self) -> None:
        self._until = time.monotonic() + PATIENCE
        self._held: list[str] = []
        self._charged: list[str | None] = []

    def take(self) -> None:
        """Wait until there is room to answer a request. Raises StoreUnavailable if that takes too long."""
        self._enter(_ALL, limits().requests_in_parallel)

    def charge(self, account: str | None) -> None:
        """Charge the turn to this account; wait without it if the account holds half, or visitors too many."""
        self._charged = [account]
        most = limits().requests_in_parallel
        for name, share in _shares(account, most):
            if not self._enter_within(0, name, share):
                self._leave(_ALL)
                self._enter(name, share)
                self._enter(_ALL, most)

    def give_back(self) -> None:
        """Release the turn."""
        while self._held:
            self._leave(self._held[-1])

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Release the turn for a while. Raises StoreUnavailable if there is no room again in time."""
        _close_connections()
        self.give_back()
        try:
            yield
        finally:
            self._until = time.monotonic() + PATIENCE
            self.take()
            for account in self._charged:
                self.charge(account)

    def _enter(self, name: str, most: int) -> None:
        """Enter once there is room. Raises StoreUnavailable if that takes too long."""
        if self._enter_within(0, name, most):
            return
        _close_connections()  # a middleware's, and those used to find the account: a waiting request holds none
        if not self._enter_within(self._until - time.monotonic(), name, most):
            msg = f"The server is answering {most} requests, and none has ended within {PATIENCE:g} s."
            raise StoreUnavailable(msg)

    def _enter_within(self, seconds: float, name: str, most: int) -> bool:
        """Enter if there is room within so many seconds; return whether there was."""
        with _lock:
            place = _places.setdefault(name, _Place())
            place.waiting += 1
            has_room = place.changed.wait_for(lambda: place.held < most, seconds)
            place.waiting -= 1
            place.held += has_room
        if has_room:
            self._held.append(name)
        return has_room

    def _leave(self, name: str) -> None:
        self._held.remove(name)
        with _lock:
            place = _places[name]
            place.held -= 1
            place.changed.notify()
            if not place.held and not place.waiting:
                del _places[name]


def _shares(account: str | None, most: int) -> Iterator[tuple[str, int]]:
    """Yield the places that an account takes, and how many of `most` turns it may hold there."""
    if account is not None:
        yield f"account {account}", max(most // 2, 1)
    if not is_users(account):
        yield _VISITORS, most - kept_for_users(most)


_current: ContextVar[Turn | None] = ContextVar("immortus_turn", default=None)


@contextmanager
def turn() -> Iterator[Turn]:
    """Wait until there is room to answer a request here. Raises StoreUnavailable if that takes too long.

    Connections that Django would close after the request are closed with the turn: otherwise they would add to those of
    the next turns.
    """
    current = Turn()
    current.take()
    token = _current.set(current)
    try:
        yield current
    finally:
        _current.reset(token)
        try:
            _close_connections()
        finally:
            current.give_back()


def aside() -> AbstractContextManager[None]:
    """Release this request's turn, if it has one, while it waits for something other than the store.

    Raises StoreUnavailable if there is no room again in time.
    """
    current = _current.get()
    return nullcontext() if current is None else current.aside()


def _close_connections() -> None:
    """Close connections as Django does after a request, except in a transaction around this call: a test's."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()
