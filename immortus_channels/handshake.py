"""The handshake of a socket as the request that it is."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any

from django.core.handlers.asgi import ASGIRequest

PORTS = {"http": 80, "https": 443}


def request_of(scope: Mapping[str, Any]) -> ASGIRequest:
    """Make the handshake the request that it is, so that Django's own rules say which host and scheme it came to.

    These are `ALLOWED_HOSTS`, `SECURE_PROXY_SSL_HEADER`, `USE_X_FORWARDED_HOST` and `USE_X_FORWARDED_PORT`. A content
    type means nothing here, and Django refuses to read a long one.
    """
    scheme = "https" if scope.get("scheme") in ("wss", "https") else "http"
    host, port = scope.get("server") or ("", None)
    headers = [(name, value) for name, value in scope.get("headers", ()) if name != b"content-type"]
    as_http = {"method": "GET", "path": "/", "query_string": b"", "scheme": scheme, "headers": headers}
    return ASGIRequest({**scope, **as_http, "server": (host or "", port or PORTS[scheme])}, BytesIO())
