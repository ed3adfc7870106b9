"""Routing: importable before Django is set up, under any prefix, and polite to whoever is lost."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator
from django.db import connections
from django.urls import path, re_path

from immortus_channels.routing import websocket_application, websocket_urlpatterns
from immortus_channels.websocket.hub import get_hub
from tests.pages import Process

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
async def _quiet_hub(settings):
    settings.IMMORTUS_STORE = {"BACKEND": "memory"}
    yield
    await get_hub().lifetime.stop_and_wait()


async def greeting(application, path_, **scope):
    client = WebsocketCommunicator(application, path_)
    client.scope.update(scope)
    connected, _ = await client.connect()
    assert connected
    frame = await client.receive_json_from()
    await client.disconnect()
    return frame["type"]


def test_it_imports_before_django_is_set_up():
    code = "import immortus_channels.routing as r, django.apps as d; assert not d.apps.ready; r.websocket_application"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False, env={}
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path_", ["/ws/immortus/", "/ws/immortus/a-1/", "/any/prefix/ws/immortus/a.b:c@d~e_f/"])
async def test_the_application_serves_under_any_prefix(path_):
    assert await greeting(websocket_application, path_) == "hello"


async def test_a_script_name_needs_no_setting():
    assert await greeting(websocket_application, "/app/ws/immortus/", root_path="/app") == "hello"
    assert await greeting(websocket_application, "/ws/immortus/", root_path="/app") == "hello"


@pytest.mark.parametrize(
    "path_", ["/", "/ws/", "/ws/immortus", "/xws/immortus/", "/ws/immortus/a/b/", "/ws/immortus/../"]
)
async def test_whoever_is_lost_is_refused_without_a_traceback(path_, caplog):
    client = WebsocketCommunicator(websocket_application, path_)
    assert (await client.connect())[0] is False
    assert not caplog.records


async def test_the_job_in_the_path_is_watched():
    job = Process("a.b:c")
    job.enqueued()
    client = WebsocketCommunicator(websocket_application, "/ws/immortus/a.b:c/")
    await client.connect()
    await client.receive_json_from()
    assert (await client.receive_json_from())["job"]["job_id"] == "a.b:c"
    await client.disconnect()


async def test_the_session_says_who_is_looking(client, django_user_model):
    alice = await django_user_model.objects.acreate(username="alice")
    await client_login(client, alice)
    job = Process(owner=str(alice.pk))
    job.enqueued()
    cookie = f"sessionid={client.cookies['sessionid'].value}".encode()
    headers = [(b"cookie", cookie), (b"host", b"testserver"), (b"origin", b"http://testserver")]
    socket = WebsocketCommunicator(websocket_application, f"/ws/immortus/{job.job_id}/", headers=headers)
    await socket.connect()
    await socket.receive_json_from()
    assert (await socket.receive_json_from())["type"] == "job"
    [watcher] = get_hub().table.jobs[job.job_id].sent
    await client_logout(client)
    await get_hub().authorization.check(watcher)
    closed = await socket.receive_output()
    assert closed == {"type": "websocket.close", "code": 4401}
    await socket.disconnect()


async def client_login(client, user):
    await asyncio.to_thread(_in_thread, client.force_login, user)


async def client_logout(client):
    await asyncio.to_thread(_in_thread, client.logout)


def _in_thread(call, *args):
    try:
        call(*args)
    finally:
        connections.close_all()


async def other(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": '{"type": "other"}'})
    while (await receive())["type"] != "websocket.disconnect":
        pass


@pytest.mark.parametrize("ours_first", [True, False])
async def test_it_lives_beside_other_sockets(ours_first):
    others = [path("chat/", other), re_path(r"^ws/immortus-chat/$", other)]
    patterns = [*websocket_urlpatterns, *others] if ours_first else [*others, *websocket_urlpatterns]
    router = URLRouter([path("deep/", URLRouter(patterns)), *patterns])
    assert await greeting(router, "/ws/immortus/") == "hello"
    assert await greeting(router, "/deep/ws/immortus/a/") == "hello"
    assert await greeting(router, "/chat/") == "other"
    assert await greeting(router, "/ws/immortus-chat/") == "other"


async def test_what_is_no_websocket_is_said_with_the_cure():
    with pytest.raises(ValueError, match="ProtocolTypeRouter"):
        await websocket_application({"type": "http", "path": "/"}, None, None)
