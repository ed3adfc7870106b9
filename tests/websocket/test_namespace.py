"""Sockets of namespaces: served only with a user whom our own login has read in the socket's namespace."""

from __future__ import annotations

import pytest
from channels.auth import AuthMiddlewareStack, UserLazyObject
from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import User
from django.urls import re_path

from immortus_channels.jobs import namespaces
from immortus_channels.routing import websocket_application, websocket_urlpatterns
from immortus_channels.websocket.hub import get_hub
from immortus_channels.websocket.namespace import _warn, with_login

pytestmark = pytest.mark.django_db(transaction=True)


def by_host(source):
    return "" if source is None else dict(source["headers"])[b"host"].decode()


@pytest.fixture(autouse=True)
async def tenants(settings):
    settings.IMMORTUS_STORE = {"BACKEND": "memory"}
    settings.IMMORTUS_NAMESPACE = f"{__name__}.by_host"
    _warn.cache_clear()
    yield
    await get_hub().lifetime.stop_and_wait()


class Found:
    """A middleware that finds a user itself, wherever it looks."""

    def __init__(self, inner, user):
        self.inner, self.user = inner, user

    async def __call__(self, scope, receive, send):
        await self.inner({**scope, "user": self.user}, receive, send)


async def is_served(application):
    client = WebsocketCommunicator(application, "/ws/immortus/", headers=[(b"host", b"a")])
    connected, _ = await client.connect()
    await client.disconnect()
    return connected


async def test_a_user_whom_another_middleware_looked_up_is_refused(caplog):
    foreign = AuthMiddlewareStack(URLRouter(websocket_urlpatterns))
    for application in (foreign, foreign, URLRouter(websocket_urlpatterns)):
        assert not await is_served(application)
    assert not await is_served(Found(websocket_application, User(pk=1)))
    (record,) = caplog.records
    assert "websocket_application in place of websocket_urlpatterns" in record.message


async def test_websocket_application_is_served_alone_and_in_a_router():
    assert await is_served(websocket_application)
    assert await is_served(AuthMiddlewareStack(URLRouter([re_path("", websocket_application)])))


async def test_without_namespaces_any_middleware_may_find_the_user(settings):
    settings.IMMORTUS_NAMESPACE = None
    assert await is_served(AuthMiddlewareStack(URLRouter(websocket_urlpatterns)))


async def test_the_user_that_another_middleware_read_is_read_again(monkeypatch):
    told = []

    async def view(scope, receive, send):
        told.append(scope["user"].is_authenticated)

    user = UserLazyObject()
    user._wrapped = User(pk=1)
    await Found(with_login(view), user)({"type": "websocket", "headers": [(b"host", b"a")]}, None, None)
    assert told == [False]


async def test_a_socket_of_which_nobody_knows_the_namespace_is_refused(monkeypatch, caplog):
    monkeypatch.setattr(namespaces, "of", lambda _: 1 / 0)
    assert not await is_served(websocket_application)
    assert "Nobody knows for which namespace" in caplog.text
