"""Which pages may open a socket: browsers send cookies with every handshake, so only the page's origin can decide."""

from __future__ import annotations

import re
from collections.abc import Mapping
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings as django_settings
from django.core.exceptions import DisallowedHost
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, parse_cookie

from immortus_channels.conf import settings
from immortus_channels.logs import logger

WebOrigin = tuple[str, str, int]
"""Scheme, host and port in lower case, the port always filled in; for an app shell the scheme, the rest and 0."""

_PORTS = {"http": 80, "https": 443}
_SHELL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<rest>[\w.~:\[\]-]+)", re.ASCII | re.IGNORECASE)
"""The origin of a page inside an app or extension, such as `capacitor://localhost` or `tauri://localhost`."""
_NO_SHELL = frozenset({"ws", "wss", "file", "ftp"})
"""Schemes that are never a page's origin; the origin of a file is `null`."""


def is_allowed(scope: Mapping[str, Any]) -> bool:
    """Return whether this handshake may continue.

    The Origin must be the server's own, or one of `IMMORTUS_ALLOWED_ORIGINS`: scheme, host and port, or an app shell's
    text. Only a client without a session cookie may omit it, because such a client is not a browser.
    """
    sent = _values_of(scope, b"origin")
    if not sent:
        return django_settings.SESSION_COOKIE_NAME not in parse_cookie("; ".join(_values_of(scope, b"cookie")))
    origin = parse(sent[0]) if len(sent) == 1 else None
    if origin is None or origin in map(parse, settings.ALLOWED_ORIGINS):
        return origin is not None
    return _is_host_known() and origin == _own_origin(_request_of(scope))


def _values_of(scope: Mapping[str, Any], header: bytes) -> list[str]:
    return [value.decode("latin-1") for name, value in scope.get("headers", ()) if name == header]


def _is_host_known() -> bool:
    """Return whether the Host header proves anything: with `"*"` it may be any host, so named origins alone count."""
    return not settings.ALLOWED_ORIGINS or "*" not in django_settings.ALLOWED_HOSTS


def log_refusal(scope: Mapping[str, Any]) -> None:
    """Log once per origin that its sockets are refused, and what to do if they should not be."""
    request = _request_of(scope)
    sent = request.META.get("HTTP_ORIGIN", "no Origin, but a session cookie")[:200]
    if sent in _logged or len(_logged) >= _LOGGED_AT_MOST:
        return
    _logged.add(sent)
    logger.warning(
        "A socket from %r to %r was refused. If the page is yours, add it to IMMORTUS_ALLOWED_ORIGINS; "
        "behind a proxy, see SECURE_PROXY_SSL_HEADER and USE_X_FORWARDED_HOST.",
        sent,
        f"{request.scheme}://{request.META.get('HTTP_HOST', '?')}"[:200],
    )


_logged: set[str] = set()
_LOGGED_AT_MOST = 100


def parse(text: str) -> WebOrigin | None:
    """Read an origin; return None for any other text, such as `null`, a URL with a path, or a pattern.

    Only `http` and `https` have default ports and hosts whose case does not matter; others are compared as text.
    """
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        return None
    if url.scheme not in _PORTS:
        return _shell(text)
    if not url.hostname or "@" in url.netloc:
        return None
    if text.lower() != f"{url.scheme}://{url.netloc.lower()}" or "*" in url.netloc:
        return None
    return url.scheme, url.hostname, port or _PORTS[url.scheme]


def _shell(text: str) -> WebOrigin | None:
    match = _SHELL.fullmatch(text)
    if match is None or match["scheme"].lower() in (*_NO_SHELL, *_PORTS):
        return None
    return match["scheme"].lower(), match["rest"], 0


def _request_of(scope: Mapping[str, Any]) -> ASGIRequest:
    """Make the handshake the request that it is, so that Django's own rules say which host and scheme it came to.

    These are `ALLOWED_HOSTS`, `SECURE_PROXY_SSL_HEADER`, `USE_X_FORWARDED_HOST` and `USE_X_FORWARDED_PORT`. A content
    type means nothing here, and Django refuses to read a long one.
    """
    scheme = "https" if scope.get("scheme") in ("wss", "https") else "http"
    host, port = scope.get("server") or ("", None)
    headers = [(name, value) for name, value in scope.get("headers", ()) if name != b"content-type"]
    as_http = {"method": "GET", "path": "/", "query_string": b"", "scheme": scheme, "headers": headers}
    return ASGIRequest({**scope, **as_http, "server": (host or "", port or _PORTS[scheme])}, BytesIO())


def _own_origin(request: HttpRequest) -> WebOrigin | None:
    """Return the origin of the pages served here; None when the host is not in `ALLOWED_HOSTS`."""
    try:
        return parse(f"{request.scheme}://{request.get_host()}")
    except DisallowedHost:
        return None
