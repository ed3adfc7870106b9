"""Whether sockets reach this package, from the pages of the project, with a login on the way."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from django.conf import settings as django_settings
from django.core.checks import Warning  # noqa: A004 - Django's name
from django.core.management import get_commands
from django.utils.module_loading import import_string

from immortus_channels.checks.finding import ID, Findings, describe, path_of
from immortus_channels.conf import settings
from immortus_channels.jobs import namespaces

_WITH_LOGIN = "immortus_channels.routing.websocket_application"
_BARE = "immortus_channels.routing.job_socket"
_CONSUMER = "immortus_channels.websocket.consumer.JobConsumer"
_WITHOUT_LOGIN = frozenset(
    {
        "channels.routing.ProtocolTypeRouter",
        "channels.routing.URLRouter",
        "channels.sessions.CookieMiddleware",
        "channels.sessions.SessionMiddleware",
        "channels.security.websocket.OriginValidator",
    }
)
"""Applications that may stand above a consumer and certainly do not find its user."""
_INNER = ("inner", "application", "app")
_DEEPEST = 50


def check_socket() -> Findings:
    """Find an ASGI application that does not lead sockets to this package, or without a login on the way.

    Third-party middleware cannot be judged, so nothing is reported about it.
    """
    path = getattr(django_settings, "ASGI_APPLICATION", None)
    if not path:
        return
    try:
        application = import_string(path)
    except Exception as error:  # noqa: BLE001 - the project's module may raise anything
        yield Warning(
            f"ASGI_APPLICATION is {path!r}, which cannot be imported: {describe(error)}",
            hint="Correct it, or remove it: without it pages poll.",
            id=f"{ID}.W005",
        )
        return
    ends = list(_ends(application, ()))
    ours = [(end, above) for end, above in ends if _is_ours(end)]
    if not ours and all(_is_dead_end(end) for end, _ in ends):
        yield Warning(
            f"ASGI_APPLICATION is {path!r}, which does not lead sockets to {ID}: pages poll.",
            hint="Serve ProtocolTypeRouter({'http': get_asgi_application(), 'websocket': websocket_application}) with "
            "`from immortus_channels.routing import websocket_application`, or add websocket_urlpatterns to your "
            "URLRouter. If polling is enough, set IMMORTUS_WEBSOCKET = False.",
            id=f"{ID}.W006",
        )
    if any(path_of(end) != _WITH_LOGIN and above <= _WITHOUT_LOGIN for end, above in ours):
        yield Warning(
            f"ASGI_APPLICATION is {path!r}, whose sockets reach {ID} without a user: all users are anonymous there, "
            "and refused jobs that they may see by polling.",
            hint="Wrap your URLRouter in channels.auth.AuthMiddlewareStack, or serve websocket_application of "
            "immortus_channels.routing.",
            id=f"{ID}.W007",
        )
    has_namespaces = namespaces.has_tenants() or getattr(django_settings, "IMMORTUS_NAMESPACE", None) is not None
    if has_namespaces and any(path_of(end) != _WITH_LOGIN for end, _ in ours):
        yield Warning(
            f"ASGI_APPLICATION is {path!r}, whose sockets are refused: their user may be of another tenant, as only "
            "websocket_application reads session and user in the socket's own namespace.",
            hint="Serve websocket_application of immortus_channels.routing in place of websocket_urlpatterns; beside "
            'your own sockets, as URLRouter([…, re_path("", websocket_application)]).',
            id=f"{ID}.W023",
        )


def _ends(application: Any, above: tuple[str, ...]) -> Iterator[tuple[Any, frozenset[str]]]:
    """Yield every application in which a socket may end up, with the paths of what stands above it.

    Routers and middleware are known by their attributes, so that subclasses and third parties' are seen through too.
    """
    below = (*above, path_of(type(application)))
    protocols, routes = getattr(application, "application_mapping", None), getattr(application, "routes", None)
    inner = next(filter(callable, (getattr(application, name, None) for name in _INNER)), None)
    if isinstance(protocols, Mapping):
        inners = [protocols["websocket"]] if "websocket" in protocols else []
    elif isinstance(routes, list | tuple):
        inners = [route.callback for route in routes if getattr(route, "callback", None)]
    elif inner is not None and len(above) < _DEEPEST:
        inners = [inner]
    else:
        yield application, frozenset(above)
        return
    for each in inners:
        yield from _ends(each, below)


def _is_ours(end: Any) -> bool:
    lineage = getattr(getattr(end, "consumer_class", None), "__mro__", ())
    return path_of(end) in (_WITH_LOGIN, _BARE) or _CONSUMER in map(path_of, lineage)


def _is_dead_end(end: Any) -> bool:
    """Return whether it is known to lead no further: another package's consumer, or Django's own HTTP handler."""
    return hasattr(end, "consumer_class") or path_of(type(end)).startswith("django.")


def check_runserver() -> Findings:
    """Find a development server that serves no sockets; only as it starts, because it concerns no other command."""
    has_asgi = bool(getattr(django_settings, "ASGI_APPLICATION", None))
    by = get_commands().get("runserver")
    if "runserver" in sys.argv[1:2] and has_asgi and by in ("django.core", "django.contrib.staticfiles"):
        yield Warning(
            f"ASGI_APPLICATION is set, but `runserver` is the one of {by!r}, which serves no sockets: pages poll.",
            hint='`pip install daphne` and put "daphne" into INSTALLED_APPS, before "django.contrib.staticfiles". Or '
            "start the ASGI server of your choice instead.",
            id=f"{ID}.W008",
        )


def check_hosts() -> Findings:
    """Find hosts and origins too open to show which pages are the project's own."""
    is_any_host = "*" in django_settings.ALLOWED_HOSTS and not django_settings.DEBUG
    if getattr(django_settings, "ASGI_APPLICATION", None) and is_any_host and not settings.ALLOWED_ORIGINS:
        yield Warning(
            "ALLOWED_HOSTS has '*', so a page of any host that leads here may open sockets: the server cannot tell "
            "which pages are yours.",
            hint="Name your hosts in ALLOWED_HOSTS, or your pages' origins in IMMORTUS_ALLOWED_ORIGINS: "
            '["https://www.example.com"]. Only those may then open sockets.',
            id=f"{ID}.W014",
        )
