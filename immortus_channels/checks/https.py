"""Whether Django recognises a handshake that came to a proxy over HTTPS: only `check --deploy` asks."""

from __future__ import annotations

from typing import Any

from django.conf import settings as django_settings
from django.core.checks import Warning  # noqa: A004 - Django's name

from immortus_channels.checks.finding import ID, Findings
from immortus_channels.conf import settings

_USUAL = ("HTTP_X_FORWARDED_PROTO", "https")


def check_proxy_header() -> Findings:
    """Find a proxy header that keeps sockets of HTTPS pages out; a server that speaks TLS itself cannot be seen."""
    if not settings.WEBSOCKET or not getattr(django_settings, "ASGI_APPLICATION", None):
        return
    if any(str(origin).startswith("https://") for origin in settings.ALLOWED_ORIGINS):
        return
    header: Any = django_settings.SECURE_PROXY_SSL_HEADER
    if header is None:
        msg = (
            "SECURE_PROXY_SSL_HEADER is not set. If a proxy speaks HTTPS for this site, its ASGI server sees plain "
            "HTTP: the page's origin is https, the socket's is http, and the server refuses every socket with 403."
        )
    elif _can_match(header):
        return
    else:
        msg = (
            f"SECURE_PROXY_SSL_HEADER is {header!r}, which never matches a request: write the header's name "
            "in capitals with underscores, after HTTP_. The server refuses every socket of an HTTPS page with 403."
        )
    yield Warning(
        msg,
        hint=f"SECURE_PROXY_SSL_HEADER = {_USUAL!r}, if the proxy sets that header itself on every request, as in "
        "`proxy_set_header X-Forwarded-Proto $scheme;`. If the server speaks TLS itself, silence this.",
        id=f"{ID}.W018",
    )


def _can_match(header: Any) -> bool:
    match header:
        case [str(name), str()]:
            return name.startswith("HTTP_") and name == name.upper().replace("-", "_")
    return False
