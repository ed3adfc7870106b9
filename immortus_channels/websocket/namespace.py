"""The namespace of a socket, and the login in there: tenants have sessions and users of their own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from channels.auth import AuthMiddleware, get_user  # type: ignore[import-untyped]
from channels.db import database_sync_to_async  # type: ignore[import-untyped]
from channels.sessions import CookieMiddleware, SessionMiddleware  # type: ignore[import-untyped]
from django.core.exceptions import ObjectDoesNotExist

from immortus_channels.jobs import namespaces
from immortus_channels.logs import logger

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

FOUND = "immortus_namespace"
"""Where a scope keeps its namespace, so that it is looked up once."""


class NoNamespace(Exception):
    """The socket is for a host of no tenant, or nobody knows for which."""


async def namespace_of(scope: Scope) -> str:
    """Return the namespace of a socket. Raises NoNamespace."""
    if not namespaces.are_used():
        return ""
    if FOUND not in scope:
        try:
            scope[FOUND] = await database_sync_to_async(namespaces.of)(scope)
        except ObjectDoesNotExist as error:
            raise NoNamespace from error
        except Exception as error:
            logger.exception("Nobody knows for which namespace a socket is; it is refused")
            raise NoNamespace from error
    namespace: str = scope[FOUND]
    return namespace


class NamespaceAuthMiddleware(AuthMiddleware):  # type: ignore[misc] # Channels has no types
    """Channels' own middleware, which reads session and user in the namespace of the socket."""

    async def resolve_scope(self, scope: Scope) -> None:
        """Read the user."""
        namespace = await namespace_of(scope)

        def read() -> Any:
            with namespaces.inside(namespace):
                return get_user.func(scope)

        scope["user"]._wrapped = await database_sync_to_async(read)()  # noqa: SLF001 - as Channels' own does

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a socket without a namespace, as one from a foreign origin."""
        try:
            await super().__call__(scope, receive, send)
        except NoNamespace:
            await receive()
            await send({"type": "websocket.close"})


def with_login(application: Any) -> Any:
    """Return the application with session and user in its scope, as Channels' `AuthMiddlewareStack` does."""
    return CookieMiddleware(SessionMiddleware(NamespaceAuthMiddleware(application)))
