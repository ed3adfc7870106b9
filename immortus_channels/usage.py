"""How much of this process each caller uses: requests, refusals and sockets, counted in memory.

The numbers are generous: they stop scripts, not pages. Processes do not tell each other.
"""

from __future__ import annotations

import ipaddress
import logging
import math
import time
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from immortus_channels.buckets import Bucket, Recent, Tally
from immortus_channels.limits import limits
from immortus_channels.owners import owner_key

if TYPE_CHECKING:
    from immortus_channels.access import User

logger = logging.getLogger("immortus_channels")

_requests: Recent[Bucket] = Recent()
_denials: Recent[Tally] = Recent()
_sockets: Counter[str] = Counter()
_ALL = ""


def key_of(user: User, session: Any, address: str | None) -> str | None:
    """Whose account it is: a user's, else a session's, else a public address'; None for nobody's.

    A private address is a proxy's, behind which are many people: they must not stand in for each other.
    """
    if user.is_authenticated:
        return f"user {owner_key(user)}"
    key = getattr(session, "session_key", None)
    if key is not None and getattr(session, "accessed", False) and not session.is_empty():
        return f"session {key}"
    return _key_of_address(address)


def _key_of_address(address: str | None) -> str | None:
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return None
    # A listener for both families names those of IPv4 within IPv6.
    parsed = getattr(parsed, "ipv4_mapped", None) or parsed
    if not parsed.is_global:
        return None
    # Whoever has one address of IPv6 has at least 2^64.
    return f"address {parsed if parsed.version == 4 else ipaddress.ip_network((parsed, 64), strict=False)}"  # noqa: PLR2004


def ask(key: str | None) -> int:
    """Count a request; the whole seconds to wait before the next one when it is too much, else 0."""
    if key is None:
        return 0
    now, numbers = time.monotonic(), limits()
    with _requests.lock:
        rate, burst = numbers.requests_per_second, numbers.requests_at_once
        bucket = _requests.get(key, lambda: Bucket(rate, burst, now))
        missing = 0.0 if bucket.take(now) else max(bucket.wait(), 1.0)
    return math.ceil(max(missing, _suspension(key)))


def deny(key: str | None, job_ids: Iterable[str]) -> bool:
    """Count jobs that were refused; whether they are too many by now, which is logged once a minute."""
    if key is None:
        return False
    now, most = time.monotonic(), limits().denials
    with _denials.lock:
        tally = _denials.get(key, lambda: Tally(now))
        tally.count(job_ids, most, now)
        is_news = tally.wait(most, now) > 0 and not tally.is_told
        tally.is_told = tally.is_told or is_news
    if is_news:
        msg = "%s asked for more than %d jobs in a minute that are unknown or not theirs; they wait for the rest of it"
        logger.warning(msg, _named(key), most)
    return is_suspended(key)


def is_suspended(key: str | None) -> bool:
    """Whether whoever it is was refused too much to be listened to now."""
    return key is not None and _suspension(key) > 0


def _suspension(key: str) -> float:
    now = time.monotonic()
    with _denials.lock:
        return _denials.get(key, lambda: Tally(now)).wait(limits().denials, now)


def _named(key: str) -> str:
    """Fit for a log: a session's key is a secret."""
    return "An anonymous session" if key.startswith("session ") else key.capitalize()


def enter(key: str | None) -> bool:
    """Take a seat for a socket, to be left with `leave`; False when there is none for whoever it is, or for anybody."""
    numbers = limits()
    is_user = key is not None and key.startswith("user ")
    most = numbers.sockets_per_user if is_user else numbers.sockets_per_address
    if _sockets[_ALL] >= numbers.sockets or (key is not None and _sockets[key] >= most):
        return False
    _sockets.update([_ALL, key] if key else [_ALL])
    return True


def leave(key: str | None) -> None:
    """Give the seat back."""
    for taken in [_ALL, key] if key else [_ALL]:
        _sockets[taken] -= 1
        if not _sockets[taken]:
            del _sockets[taken]


def reset() -> None:
    """Forget everybody's requests and refusals."""
    _requests.clear()
    _denials.clear()
