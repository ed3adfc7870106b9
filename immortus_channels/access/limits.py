"""The numbers that `IMMORTUS_LIMITS` may change: how long a server waits, and how much of it one visitor may use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from immortus_channels.conf import settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Seconds, bytes and counts. An ordinary page never reaches any of them."""

    ping: float = 20.0
    """Seconds between two pings of a socket."""
    silence: float = 30.0
    """Seconds that a socket may go without a frame from the client."""
    slow: float = 40.0
    """Seconds until the client must acknowledge what was sent."""
    age: float = 4 * 3600.0
    """Seconds a socket lives, give or take a quarter."""
    window: int = 64 * 1024
    """Bytes sent without being acknowledged."""
    frames_per_second: float = 20.0
    frames_at_once: int = 400
    bytes_per_second: float = 64 * 1024.0
    bytes_at_once: int = 1024 * 1024
    """What one socket may send; likewise the frames."""
    sockets_per_user: int = 20
    """Open sockets of a logged-in user, in one process; further tabs poll."""
    sockets_per_address: int = 1_000
    """Open sockets of visitors who are not logged in, from one public address or of one session, in one process."""
    sockets: int = 5_000
    """Open sockets in one process; a fifth of them is kept for logged-in users."""
    requests_per_second: float = 100.0
    requests_at_once: int = 2_000
    """What one user, session or address may ask of one process; ten ids count as one request."""
    requests_in_parallel: int = 16
    """Requests that one process answers at a time, half of them for one user, session or address; others wait."""
    denials: int = 500
    """Different ids that one user, session or address may be refused in a minute."""
    token_life: float = 15 * 60.0
    """Seconds an access token lives."""
    token_age: float = 12 * 3600.0
    """Seconds that an access token and all its refreshed successors live."""


NAMES = frozenset(field.name for field in fields(Limits))


def limits() -> Limits:
    """Return the limits, by the present settings; the system check reports unknown names."""
    changed: Mapping[str, Any] = settings.LIMITS
    return replace(_DEFAULT, **{name: changed[name] for name in NAMES & changed.keys()}) if changed else _DEFAULT


def kept_for_users(number: int) -> int:
    """Return how many of `number` places are kept for logged-in users, whom visitors could otherwise crowd out."""
    return max(number // 5, 1) if number > 1 else 0


_DEFAULT = Limits()
