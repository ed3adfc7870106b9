"""Where a request comes from: a visitor's own address, or that of a proxy with many visitors behind it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from django.http import HttpRequest

Address: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"

_CLIENT_HEADERS = ("x-forwarded-for", "forwarded", "x-real-ip", "cf-connecting-ip", "true-client-ip")
"""Headers in which a proxy names the client."""
_SIGNS = (*_CLIENT_HEADERS, "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "via")
"""Headers that only a proxy sends."""


def of_request(request: HttpRequest) -> str | None:
    """Return the key for a visitor's public address; None for a private address, and for a proxy's."""
    return known_by(request.META.get("REMOTE_ADDR"), request.headers)


def of_scope(scope: Mapping[str, Any]) -> str | None:
    """Do `of_request` for a socket."""
    headers: dict[str, str] = {}
    for name, value in scope.get("headers", ()):
        key = name.decode("latin-1").lower()
        headers[key] = f"{headers[key]},{value.decode('latin-1')}" if key in headers else value.decode("latin-1")
    return known_by((scope.get("client") or (None,))[0], headers)


def known_by(address: str | None, headers: Mapping[str, str]) -> str | None:
    """Return the key for a visitor's public address; None for a private address, and for a proxy's.

    If the server has taken the address from its proxy's headers, it is the visitor's. A client may pretend to be a
    proxy: it then shares the limits of all visitors, like those behind a private address.
    """
    parsed = _parse(address)
    if parsed is None or not parsed.is_global:
        return None
    if any(name in headers for name in _SIGNS) and parsed not in _named_in(headers):
        return None
    # One client with IPv6 has at least 2^64 addresses.
    return str(parsed if parsed.version == 4 else ipaddress.ip_network((parsed, 64), strict=False))  # noqa: PLR2004


def _named_in(headers: Mapping[str, str]) -> Iterator[Address | None]:
    for name in _CLIENT_HEADERS:
        for word in re.split(r'[\s,;="\[\]]+', headers.get(name, "")):
            yield _parse(word)


def _parse(address: str | None) -> Address | None:
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return None
    # A listener for both families names IPv4 addresses within IPv6.
    return getattr(parsed, "ipv4_mapped", None) or parsed
