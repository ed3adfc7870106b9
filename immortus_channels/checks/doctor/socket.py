"""The socket: whether the ASGI application of this process, or the running site, opens one."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import SplitResult, urlsplit

from asgiref.testing import ApplicationCommunicator
from django.conf import settings as django_settings
from django.utils.module_loading import import_string

from immortus_channels.api import links
from immortus_channels.checks.doctor.finding import Finding, reason_of
from immortus_channels.conf import settings
from immortus_channels.threads import call_in_thread
from immortus_channels.websocket import frames

ASGIApplication = Callable[[Any, Any, Any], Awaitable[None]]


def examine_socket(timeout: float, url: str | None) -> Finding:
    """Open a socket of the running site `url`, or of this process' own application."""
    if not settings.WEBSOCKET:
        return Finding(part="socket", level="ok", message="switched off by IMMORTUS_WEBSOCKET: pages poll")
    if url is not None:
        return _knock(url, timeout)
    path = getattr(django_settings, "ASGI_APPLICATION", None)
    if not path:
        return Finding(part="socket", level="ok", message="there is no ASGI_APPLICATION: pages poll")
    try:
        frame = call_in_thread(lambda: asyncio.run(_first_frame(import_string(path), timeout))).result(timeout)
    except Exception as error:  # noqa: BLE001 - the project's own routing and middleware run here
        hint = "Serve websocket_application of immortus_channels.routing; `manage.py check` may say more."
        return Finding(part="socket", level="wrong", message=f"{path}: {reason_of(error)}", hint=hint)
    if frame is None or json.loads(frame).get("type") != "hello":
        hint = "The log says which origin or login was refused."
        return Finding(part="socket", level="wrong", message=f"{path} refused it", hint=hint)
    return Finding(part="socket", level="ok", message=f"{path} serves it; --url tries the running server as well")


async def _first_frame(application: ASGIApplication, seconds: float) -> str | None:
    """Open a socket and return the first frame that the application sends; None when it refuses the socket."""

    async def closing(scope: Any, receive: Any, send: Any) -> None:
        try:
            await application(scope, receive, send)
        finally:
            await send({"type": "websocket.close"})

    socket: Any = ApplicationCommunicator(closing, _handshake())  # type: ignore[no-untyped-call]
    await socket.send_input({"type": "websocket.connect"})
    while (event := await socket.receive_output(seconds))["type"] == "websocket.accept":
        pass
    await socket.send_input({"type": "websocket.disconnect", "code": 1000})
    await socket.wait()
    text: str | None = event.get("text")
    return text


def _handshake() -> dict[str, Any]:
    allowed = (*django_settings.ALLOWED_HOSTS, "localhost")[0]
    host = "localhost" if allowed == "*" else allowed
    path = links.websocket_url() or ""
    return {
        "type": "websocket",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "ws",
        "server": (host, 80),
        "client": ("127.0.0.1", 0),
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", host.encode()), (b"origin", f"http://{host}".encode())],
        "subprotocols": [frames.SUBPROTOCOL],
    }


def _knock(url: str, timeout: float) -> Finding:
    """Ask the running server for a socket, as a page of it would."""
    site = _site_at(url)
    if site is None:
        meant = f"http://{url.rpartition('//')[2] or 'localhost:8000'}"
        hint = f"Write http:// or https:// in front: --url {meant if _site_at(meant) else 'http://localhost:8000'}"
        return Finding(part="socket", level="wrong", message=f"{url!r} is not the URL of a site", hint=hint)
    path = f"{site.path.rstrip('/')}/ws/immortus/"
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Origin": f"{site.scheme}://{site.netloc}",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": frames.SUBPROTOCOL,
    }
    connection = (HTTPSConnection if site.scheme == "https" else HTTPConnection)(site.netloc, timeout=timeout)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
    except (OSError, HTTPException) as error:
        return Finding(part="socket", level="wrong", message=f"{url}: {reason_of(error)}", hint="Start the server.")
    finally:
        connection.close()
    if answer.status == HTTPStatus.SWITCHING_PROTOCOLS:
        return Finding(part="socket", level="ok", message=f"{url} opened it")
    message = f"{url} answered {answer.status} to the handshake"
    return Finding(part="socket", level="wrong", message=message, hint=_hint_for_refusal(answer))


def _hint_for_refusal(answer: HTTPResponse) -> str:
    """Say what to do about an answer that opened no socket, by its status and by what the server calls itself."""
    server = answer.headers.get("Server", "")
    if answer.status == HTTPStatus.FORBIDDEN:
        return (
            "Behind a proxy, pass Host on with its port (nginx: $http_host), and for HTTPS set "
            "SECURE_PROXY_SSL_HEADER. Otherwise the server's log names the origin to add to IMMORTUS_ALLOWED_ORIGINS, "
            "or the host for ALLOWED_HOSTS."
        )
    if server.startswith("uvicorn") and answer.status == HTTPStatus.NOT_FOUND:
        return (
            "Uvicorn took it for a plain request: it has no library for sockets (`pip install websockets`), or a proxy "
            "before it does not pass Upgrade on."
        )
    if server.startswith(("WSGIServer", "gunicorn", "waitress")):
        return (
            f"{server.split()[0]} is a WSGI server, which opens no sockets: serve ASGI_APPLICATION by an ASGI server."
        )
    return "It is not an ASGI server, its websocket part leads elsewhere, or a proxy does not pass Upgrade on."


def _site_at(url: str) -> SplitResult | None:
    """Split a site's URL; None when it is not one."""
    try:
        site = urlsplit(url)
        is_one = site.scheme in ("http", "https") and bool(site.hostname) and site.port != 0
    except ValueError:  # the port or the IPv6 address is malformed
        return None
    return site if is_one else None
