"""The owner of a job is whoever is logged in when it is sent, in every kind of view."""

from __future__ import annotations

import asyncio

import pytest
from asgiref.sync import iscoroutinefunction, sync_to_async
from django.contrib.auth import alogin, login
from django.contrib.auth.models import User
from django.http import HttpResponse, StreamingHttpResponse
from django.test import AsyncClient
from django.urls import path

from immortus_channels import middleware
from immortus_channels.jobs.owner import current_owner, started_by
from immortus_channels.middleware import JobOwnerMiddleware


def owner(request):
    return HttpResponse(str(current_owner()))


def untouched(request):
    return HttpResponse("no job")


def logs_in(request):
    login(request, User.objects.get(username="bob"), backend="django.contrib.auth.backends.ModelBackend")
    return HttpResponse(str(current_owner()))


def by_hand(request):
    with started_by(None):
        return HttpResponse(str(current_owner()))


def streams(request):
    return StreamingHttpResponse(str(current_owner()) for _ in range(2))


async def async_owner(request):
    return HttpResponse(str(current_owner()))


async def async_after_auser(request):
    await request.auser()
    return HttpResponse(str(current_owner()))


async def async_logs_in(request):
    user = await User.objects.aget(username="bob")
    await alogin(request, user, backend="django.contrib.auth.backends.ModelBackend")
    return HttpResponse(str(current_owner()))


async def async_logs_in_later(request):
    await request.auser()
    return await async_logs_in(request)


async def async_in_thread(request):
    return HttpResponse(str(await sync_to_async(current_owner)()))


async def async_streams(request):
    async def parts():
        for _ in range(2):
            await asyncio.sleep(0)
            yield str(current_owner())

    return StreamingHttpResponse(parts())


SYNC = [owner, streams, by_hand, logs_in, untouched]
ASYNC = [async_owner, async_after_auser, async_in_thread, async_streams, async_logs_in, async_logs_in_later]
urlpatterns = [path(view.__name__, view) for view in [*SYNC, *ASYNC]]
pytestmark = [pytest.mark.urls(__name__), pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def _middleware(settings):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "immortus_channels.middleware.JobOwnerMiddleware"]


@pytest.fixture
def users():
    return [User.objects.create(username=name) for name in ("alice", "bob")]


def body(response):
    return b"".join(response).decode() if response.streaming else response.content.decode()


@pytest.mark.parametrize("view", ["owner", "streams", "by_hand", "logs_in"])
def test_sync_views(client, users, view):
    alice, bob = users
    client.force_login(alice)
    expected = {"owner": f"{alice.pk}", "streams": f"{alice.pk}" * 2, "by_hand": "None", "logs_in": f"{bob.pk}"}
    assert body(client.get(f"/{view}")) == expected[view]
    assert current_owner() is None


@pytest.mark.parametrize("view", ASYNC)
async def test_async_views(view):
    alice = await User.objects.acreate(username="alice")
    bob = await User.objects.acreate(username="bob")
    client = AsyncClient()
    await client.aforce_login(alice)
    response = await client.get(f"/{view.__name__}")
    if response.streaming:
        assert "".join([part.decode() async for part in response]) == f"{alice.pk}" * 2
    else:
        assert response.content.decode() == str(bob.pk if "logs_in" in view.__name__ else alice.pk)
    assert current_owner() is None


def test_async_views_under_wsgi(client, users):
    client.force_login(users[0])
    assert body(client.get("/async_owner")) == str(users[0].pk)


async def test_a_user_that_was_looked_up_is_not_looked_up_again(monkeypatch):
    monkeypatch.setattr(middleware, "call_in_thread", None)
    client = AsyncClient()
    alice = await User.objects.acreate(username="alice")
    await client.aforce_login(alice)
    assert (await client.get("/async_after_auser")).content.decode() == str(alice.pk)


async def test_sync_views_under_asgi():
    alice = await User.objects.acreate(username="alice")
    client = AsyncClient()
    await client.aforce_login(alice)
    assert (await client.get("/owner")).content.decode() == str(alice.pk)


@pytest.mark.parametrize("view", ["owner", "async_owner"])
def test_nobody_owns_what_an_anonymous_visitor_starts(client, view):
    assert body(client.get(f"/{view}")) == "None"


def test_a_request_that_starts_no_job_touches_no_session(client, users, django_assert_num_queries):
    client.force_login(users[0])
    with django_assert_num_queries(0):
        response = client.get("/untouched")
    assert "Vary" not in response.headers


def test_it_is_what_its_inner_layer_is():
    async def inner(request):
        return HttpResponse()

    assert iscoroutinefunction(JobOwnerMiddleware(inner))
    assert not iscoroutinefunction(JobOwnerMiddleware(lambda request: HttpResponse()))


def test_a_project_without_logins_is_served(client, settings):
    settings.MIDDLEWARE = ["immortus_channels.middleware.JobOwnerMiddleware"]
    assert body(client.get("/owner")) == "None"


async def test_two_requests_at_once_do_not_mix():
    names = ["alice", "bob", "carol"]
    users = [await User.objects.acreate(username=name) for name in names]
    clients = [AsyncClient() for _ in users]
    for client, user in zip(clients, users, strict=True):
        await client.aforce_login(user)
    answers = await asyncio.gather(*(client.get("/async_after_auser") for client in clients))
    assert [answer.content.decode() for answer in answers] == [str(user.pk) for user in users]
