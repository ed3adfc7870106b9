"""The namespace of a socket, and the login in there: tenants have sessions and users of their own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any

from channels.auth import AuthMiddleware, UserLazyObject, get_user  # type: ignore[import-untyped]
from channels.db import database_sync_to_async  # type: ignore[import-untyped]
from channels.sessions import CookieMiddleware, SessionMiddleware  # type: ignore[import-untyped]
from django.core.exceptions import ObjectDoesNotExist

from immortus_channels.jobs import namespaces
from immortus_channels.logs import logger

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

FOUND = "immortus_namespace"
"""Where the doctor gives its socket a namespace, as no tenant may have its host."""
READ_IN = "immortus_read_in"
"""Where a scope keeps the namespace in which this module has read its user."""


class NoNamespace(Exception):
    """The socket is for a host of no tenant, or its user was not read in its namespace."""


def namespace_of(scope: Scope) -> str:
    """Return the namespace of a socket, in which its user was read. Raises NoNamespace."""
    if not namespaces.are_used():
        return ""
    if READ_IN not in scope:
        _warn()
        raise NoNamespace
    namespace: str = scope[READ_IN]
    return namespace


@lru_cache(maxsize=1)
def _warn() -> None:
    logger.error(
        "Sockets are refused, because their user may be of another namespace: with tenants, or IMMORTUS_NAMESPACE, "
        "serve immortus_channels.routing.websocket_application in place of websocket_urlpatterns."
    )


async def _look_up(scope: Scope) -> str:
    try:
        namespace: str = scope[FOUND] if FOUND in scope else await database_sync_to_async(namespaces.of)(scope)
    except ObjectDoesNotExist as error:
        raise NoNamespace from error
    except Exception as error:
        logger.exception("Nobody knows for which namespace a socket is; it is refused")
        raise NoNamespace from error
    return namespace


class NamespaceAuthMiddleware(AuthMiddleware):  # type: ignore[misc] # Channels has no types
    """Channels' own middleware, which reads session and user in the namespace of the socket."""

    async def resolve_scope(self, scope: Scope) -> None:
        """Read the user, and say in which namespace, unless a middleware above has put in a user of its own."""
        namespace = await _look_up(scope) if namespaces.are_used() else ""

        def read() -> Any:
            with namespaces.inside(namespace):
                return get_user.func(scope)

        scope["user"]._wrapped = await database_sync_to_async(read)()  # noqa: SLF001 - as Channels' own does
        if isinstance(scope["user"], UserLazyObject):  # what it wrapped before, if anything, is replaced
            scope[READ_IN] = namespace

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
