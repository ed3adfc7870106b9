"""The URLs of sockets. Imports nothing that needs Django's apps, so `asgi.py` may import it first."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any

from django.urls import re_path

from immortus_channels.jobs.ids import IN_PATH

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def job_socket(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one socket."""
    from immortus_channels.websocket.consumer import JobConsumer  # noqa: PLC0415 - needs Django's apps

    await JobConsumer()(scope, receive, send)


_view: Any = job_socket  # an ASGI application, which Django's types do not expect of a route
_ADDRESS = rf"ws/immortus/(?:(?P<job_id>{IN_PATH})/)?$"

websocket_urlpatterns = [re_path(f"^{_ADDRESS}", _view)]
"""For a `URLRouter` of your own, inside `channels.auth.AuthMiddlewareStack`; without that, all users are anonymous.

With namespaces, as tenants are, these sockets are refused: serve `websocket_application`.
"""

_anywhere = re.compile(f"(?:^|/){_ADDRESS}")


async def websocket_application(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve WebSockets, sessions and logins included, under any prefix: all that `asgi.py` needs.

    `ProtocolTypeRouter({"http": get_asgi_application(), "websocket": websocket_application})`
    """
    if scope["type"] != "websocket":
        hint = 'put it into ProtocolTypeRouter({"websocket": websocket_application, …})'
        msg = f"websocket_application serves WebSockets, not {scope['type']!r}: {hint}."
        raise ValueError(msg)
    match = _anywhere.search(scope["path"])
    if match is None:
        await receive()
        await send({"type": "websocket.close"})
        return
    await _with_login()({**scope, "url_route": {"args": (), "kwargs": match.groupdict()}}, receive, send)


@lru_cache(maxsize=1)
def _with_login() -> Any:
    from immortus_channels.websocket.namespace import with_login  # noqa: PLC0415 - needs settings

    return with_login(job_socket)
