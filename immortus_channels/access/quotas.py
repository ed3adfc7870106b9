"""How much of this process each caller uses: requests, refusals and sockets, counted in memory.

The numbers are generous: they stop scripts, not pages. Processes do not share them.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from immortus_channels import keys
from immortus_channels.access.buckets import Bucket, Refusals
from immortus_channels.access.limits import kept_for_users, limits
from immortus_channels.exceptions import ImmortusError
from immortus_channels.jobs.owner import owner_key
from immortus_channels.logs import logger
from immortus_channels.recent import Recent
from immortus_channels.tracking.rules import User

_requests: Recent[str, Bucket] = Recent()
_lock = threading.Lock()
_refusals = Refusals()
_sockets: Counter[str] = Counter()
_ALL, _VISITORS = "all", "visitors"

ID_PRICE = 0.1
"""The price of each further id, in requests. Measured: a hundred take five times as long as one, before strategies."""


def key_of(user: User, session: Any, address: Callable[[], str | None], namespace: str = "") -> str | None:
    """Return the key of a caller's account: a user's, else a session's, else an address'; None for no account.

    Each namespace has its own.

    `address` returns the public address that identifies a visitor, for visitors behind one proxy must not share an
    account.
    """
    if user.is_authenticated:
        return f"user {keys.key_of(namespace, owner_key(user) or '')}"
    key = getattr(session, "session_key", None)
    if key is not None and getattr(session, "accessed", False) and not session.is_empty():
        return f"session {keys.key_of(namespace, key)}"
    known = address()
    return None if known is None else f"address {keys.key_of(namespace, known)}"


def is_users(key: str | None) -> bool:
    """Return whether the account is a logged-in user's."""
    return key is not None and key.startswith("user ")


class TooManyRequests(ImmortusError):
    """An account is used up; `wait` is in whole seconds."""

    def __init__(self, wait: int) -> None:
        super().__init__(f"Wait for {wait} s.")
        self.wait = wait


def ask(key: str | None) -> None:
    """Count a request. Raises TooManyRequests."""
    wait = max(_missing(key, 1.0), _suspension(key))
    if wait:
        raise TooManyRequests(math.ceil(wait))


def ask_for(key: str | None, ids: int) -> None:
    """Count the ids beyond the first that a request names. Raises TooManyRequests."""
    wait = _missing(key, (ids - 1) * ID_PRICE) if ids > 1 else 0.0
    if wait:
        raise TooManyRequests(math.ceil(wait))


def _missing(key: str | None, price: float) -> float:
    """Return the seconds, 1 or more, until the account can pay this price; 0 if it has just paid."""
    if key is None:
        return 0.0
    now, numbers = time.monotonic(), limits()
    rate, burst = numbers.requests_per_second, numbers.requests_at_once
    price = min(price, burst)
    with _lock:
        bucket = _requests[key] = _requests.get(key) or Bucket(rate, burst, now)
        return 0.0 if bucket.take(now, price) else max(bucket.wait(price), 1.0)


def deny(key: str | None, job_ids: Iterable[str]) -> bool:
    """Count jobs that were refused; return whether they are too many by now, which is logged once a minute."""
    if key is None:
        return False
    most = limits().denials
    if _refusals.count(key, job_ids, most, time.monotonic()):
        msg = "%s asked for more than %d jobs in a minute that are unknown or not theirs; they wait for the rest of it"
        # A session's key is a secret.
        logger.warning(msg, "An anonymous session" if key.startswith("session ") else key.capitalize(), most)
    return is_suspended(key)


def is_suspended(key: str | None) -> bool:
    """Return whether the account was refused too much to be served now."""
    return _suspension(key) > 0


def _suspension(key: str | None) -> float:
    return 0.0 if key is None else _refusals.wait(key, time.monotonic())


def enter(key: str | None) -> bool:
    """Take a seat for a socket, to be returned with `leave`; return False if the account or the process has none left.

    Some are kept for logged-in users, whom visitors, who are unlimited in number, could otherwise crowd out.
    """
    numbers, is_user = limits(), is_users(key)
    most = numbers.sockets_per_user if is_user else numbers.sockets_per_address
    if _sockets[_ALL] >= numbers.sockets or (key is not None and _sockets[key] >= most):
        return False
    if not is_user and _sockets[_VISITORS] >= numbers.sockets - kept_for_users(numbers.sockets):
        return False
    _sockets.update(_seats(key))
    return True


def leave(key: str | None) -> None:
    """Return the seat."""
    for taken in _seats(key):
        _sockets[taken] -= 1
        if not _sockets[taken]:
            del _sockets[taken]


def _seats(key: str | None) -> list[str]:
    """Return the counts that a socket of this account adds to."""
    return [_ALL, *([] if is_users(key) else [_VISITORS]), *([] if key is None else [key])]
