"""Where a request comes from: a visitor's own address, or that of a proxy, behind which are many."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from django.http import HttpRequest

Address: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"

_TOLD = ("x-forwarded-for", "forwarded", "x-real-ip", "cf-connecting-ip", "true-client-ip")
"""Headers in which a proxy says for whom it asks."""
_SIGNS = (*_TOLD, "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "via")
"""Headers that only a proxy sends."""


def of_request(request: HttpRequest) -> str | None:
    """What a visitor's public address is known by; None for a private one, and for that of a proxy."""
    return known_by(request.META.get("REMOTE_ADDR"), request.headers)


def of_scope(scope: Mapping[str, Any]) -> str | None:
    """`of_request` for a socket."""
    headers: dict[str, str] = {}
    for name, value in scope.get("headers", ()):
        key = name.decode("latin-1").lower()
        headers[key] = f"{headers[key]},{value.decode('latin-1')}" if key in headers else value.decode("latin-1")
    return known_by((scope.get("client") or (None,))[0], headers)


def known_by(address: str | None, headers: Mapping[str, str]) -> str | None:
    """What a visitor's public address is known by; None for a private one, and for that of a proxy.

    Where the server has taken the address from what its proxy says, it is the visitor's. A client may pretend to be a
    proxy: it is then bounded together with all visitors, as those behind a private address are.
    """
    parsed = _parsed(address)
    if parsed is None or not parsed.is_global:
        return None
    if any(name in headers for name in _SIGNS) and parsed not in _told(headers):
        return None
    # Whoever has one address of IPv6 has at least 2^64.
    return str(parsed if parsed.version == 4 else ipaddress.ip_network((parsed, 64), strict=False))  # noqa: PLR2004


def _told(headers: Mapping[str, str]) -> Iterator[Address | None]:
    for name in _TOLD:
        for word in re.split(r'[\s,;="\[\]]+', headers.get(name, "")):
            yield _parsed(word)


def _parsed(address: str | None) -> Address | None:
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return None
    # A listener for both families names those of IPv4 within IPv6.
    return getattr(parsed, "ipv4_mapped", None) or parsed
