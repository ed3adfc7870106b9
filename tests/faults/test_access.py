"""Rights end while people watch: logins, permissions and tokens, in this process and over two servers and a Redis."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Self

import httpx
import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser, Group, Permission, User
from django.contrib.auth.signals import user_logged_out
from django.contrib.sessions.backends.db import SessionStore
from django.test import Client as Browser
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from immortus_channels import access_token
from immortus_channels.urls import immortus_jobs
from immortus_channels.websocket.hub import get_hub
from immortus_channels.websocket.hub.authorization import LOGIN_CHANGED, Authorization
from tests.examples import examples
from tests.hubs import memory  # noqa: F401
from tests.pages import Page, Process, logged_in, until
from tests.servers import RedisServer
from tests.site import Site, redis_options, running_site
from tests.websocket.test_consumer import opened

urlpatterns = [*immortus_jobs()]
SECOND = 1.0
BUSY = 1.5
"""What a busy machine may add."""


# Two servers, Uvicorn and Daphne, of one site


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Iterator[tuple[Site, Site]]:
    var = tmp_path_factory.mktemp("site")
    options = redis_options(redis_server.url) | {"BROKER_URL": f"{redis_server.url[:-1]}5"}
    with running_site(var, server="uvicorn", **options) as one:
        one.start_worker()
        other = Site(var, server="daphne", **options)
        (var / "web.log").rename(var / "one.log")
        try:
            other.start_web()
            yield one, other
        finally:
            other.close()


@contextlib.contextmanager
def visitor(site: Site, name: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=site.url, timeout=20) as client:
        assert client.get(f"/log-in/{name}").text == name
        yield client


class Socket:
    """A socket by hand, whose frames are noted with the time of their arrival."""

    def __init__(self, site: Site, client: httpx.Client | None = None) -> None:
        cookies = "; ".join(f"{name}={value}" for name, value in client.cookies.items()) if client else ""
        headers = {"Cookie": cookies} if cookies else {}
        self._connecting = connect(
            site.websocket_url, additional_headers=headers, origin=site.url if cookies else None, proxy=None
        )  # fmt: skip
        self._socket = self._connecting.__enter__()
        self.frames: list[tuple[float, dict[str, Any]]] = []
        self.closed: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._connecting.__exit__(*error)  # type: ignore[arg-type]

    def say(self, **frame: Any) -> None:
        self._socket.send(json.dumps(frame))

    def listen(self, seconds: float, until: Any = lambda frame: False) -> dict[str, Any] | None:
        """Hear what comes for so long, or until a frame is what is waited for."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            try:
                frame = json.loads(self._socket.recv(timeout=left))
            except TimeoutError:
                return None
            except ConnectionClosed as closed:
                self.closed = closed.rcvd.code if closed.rcvd else 1006
                return None
            self.frames.append((time.monotonic(), frame))
            if frame["type"] == "ping":
                self.say(type="pong")
            if until(frame):
                return frame
        return None

    def jobs_after(self, moment: float) -> list[dict[str, Any]]:
        return [frame for at, frame in self.frames if frame["type"] == "job" and at > moment]


def is_job(frame: dict[str, Any]) -> bool:
    return frame["type"] == "job"


def long_job(client: httpx.Client) -> str:
    return str(client.post("/start/steps", json={"kwargs": {"count": 60, "pause": 0.1}}).json()["job_id"])


@pytest.mark.redis
@pytest.mark.fault("K2")
@pytest.mark.slow
def test_a_logout_at_one_server_ends_the_socket_at_another_within_a_second(servers: tuple[Site, Site]) -> None:
    one, other = servers
    with visitor(one, "alice") as alice, visitor(one, "bob") as bob, Socket(other, alice) as socket:
        job_id = long_job(alice)
        socket.say(type="watch", job_id=job_id)
        assert socket.listen(5, is_job)
        time.sleep(0.5)
        assert alice.get("/log-out").text == "nobody"
        moment = time.monotonic()
        socket.listen(4)
        assert socket.closed == LOGIN_CHANGED
        assert socket.jobs_after(moment + SECOND + BUSY) == []
        assert bob.get(f"/immortus/verify/{job_id}").status_code == 404


DISABLE = (
    "from django.contrib.auth.models import User; u = User.objects.get(username={!r}); u.is_active = False; u.save()"
)
ALLOW = (
    "from django.contrib.auth.models import Permission, User; User.objects.get(username='boss')"
    ".user_permissions.{}(Permission.objects.get(codename='view_jobrecord'))"
)


@pytest.mark.redis
@pytest.mark.fault("K2")
@pytest.mark.slow
def test_whoever_is_disabled_by_a_command_is_told_nothing_more(servers: tuple[Site, Site]) -> None:
    one, other = servers
    with visitor(one, "carol") as carol, Socket(other, carol) as socket:
        socket.say(type="watch", job_id=long_job(carol))
        assert socket.listen(5, is_job)
        one.manage("shell", "-v", "0", "-c", DISABLE.format("carol"))
        moment = time.monotonic()
        socket.listen(4)
        assert socket.closed == LOGIN_CHANGED
        assert socket.jobs_after(moment + SECOND + BUSY) == []


@pytest.mark.redis
@pytest.mark.fault("K2")
@pytest.mark.fault("K3")
@pytest.mark.slow
def test_a_user_who_loses_a_permission_loses_the_job_on_every_socket(
    servers: tuple[Site, Site],
) -> None:
    one, other = servers
    with visitor(one, "alice") as alice, visitor(one, "boss") as boss, Socket(other, boss) as socket:
        one.manage("shell", "-v", "0", "-c", ALLOW.format("add"))
        job_id = long_job(alice)
        socket.say(type="watch", job_id=job_id)
        held = socket.listen(5, is_job)
        assert held is not None
        one.manage("shell", "-v", "0", "-c", ALLOW.format("remove"))
        moment = time.monotonic()
        told = socket.listen(4, lambda frame: frame["type"] == "error")
        assert told is not None
        assert told["code"] == "unknown_job"
        assert socket.closed is None, "their login holds"
        assert socket.jobs_after(moment + SECOND + BUSY) == []
        socket.say(type="watch", job_id=job_id, version=held["job"]["version"])
        again = socket.listen(4, lambda frame: frame["type"] in ("error", "job", "current"))
        assert again == told
        with Socket(one, boss) as back:
            back.say(type="watch", job_id=job_id, version=held["job"]["version"])
            assert back.listen(4, lambda frame: frame["type"] != "hello") == told


@pytest.mark.redis
@pytest.mark.fault("K1")
@pytest.mark.slow
def test_a_token_that_ends_in_mid_job_is_changed_without_a_gap(servers: tuple[Site, Site]) -> None:
    one, other = servers
    with visitor(one, "alice") as alice, Socket(other) as socket, httpx.Client(base_url=other.url) as app:
        job_id = long_job(alice)
        token = alice.get(f"/token/{job_id}?life=2").text
        socket.say(type="watch", job_id=job_id, token=token)
        renewed = 0
        while (frame := socket.listen(20, lambda frame: frame["type"] in ("error", "job"))) is not None:
            if frame["type"] == "error":
                assert frame["code"] == "token_expired"
                answer = app.post("/immortus/token", headers={"Authorization": f"Bearer {token}"})
                token, renewed = answer.json()["token"], renewed + 1
                held = max(job["job"]["version"] for job in socket.jobs_after(0))
                socket.say(type="watch", job_id=job_id, version=held, token=token)
            elif frame["job"]["completed"]:
                break
        jobs = [(at, frame["job"]) for at, frame in socket.frames if is_job(frame)]
        assert renewed == 1
        assert jobs[-1][1]["completed"]
        versions = [job["version"] for _, job in jobs]
        assert versions == sorted(versions)
        # The new watch answers with a document that was on its way by the old one as it began: once, at most.
        assert len(versions) - len(set(versions)) <= renewed
        running = [at for at, job in jobs if job["state"] == "running"]
        assert max(later - earlier for earlier, later in pairwise(running)) < 2


@pytest.mark.redis
@pytest.mark.fault("K6")
@pytest.mark.slow
def test_no_log_has_a_token_or_a_session(servers: tuple[Site, Site]) -> None:
    one, _ = servers
    with visitor(one, "alice") as alice:
        job_id = long_job(alice)
        secrets = {alice.cookies["sessionid"]}
        for site in servers:
            good, late = (alice.get(f"/token/{job_id}?life={life}").text for life in (900, 0.05))
            for token in (good, late, good + "x", "immortus." + "x" * 6000):
                secrets.add(token)
                headers = {"Authorization": f"Bearer {token}"}
                for method, address in (("GET", "verify/" + job_id), ("POST", "token"), ("POST", "cancel/nobody")):
                    httpx.request(method, f"{site.url}/immortus/{address}", headers=headers)
                with Socket(site) as socket:
                    socket.say(type="watch", job_id=job_id, token=token)
                    socket.listen(1, lambda frame: frame["type"] in ("error", "job"))
        logs = "".join(path.read_text(errors="replace") for path in one.var.glob("*.log"))
        assert "/immortus/verify/" in logs, "Daphne logs its requests"
        assert not [secret for secret in secrets if secret in logs]
        assert "Traceback" not in logs


# Within one process, where no layer is


@pytest.mark.fault("K2")
@pytest.mark.usefixtures("memory")
async def test_what_was_lost_of_a_revocation_is_found_by_the_regular_look(monkeypatch):
    monkeypatch.setattr(Authorization, "INTERVAL", 0.2)
    job = Process()
    job.enqueued()
    hub, page = get_hub(), Page(logged_in("alice"))
    await hub.watch(page, job.job_id)
    page.login_holds = False
    await until(lambda: page.closed == LOGIN_CHANGED)
    await hub.lifetime.stop_and_wait()


async def a_boss() -> tuple[User, Permission]:
    """Somebody of the staff who may see all jobs, and the permission that lets them."""
    boss = await sync_to_async(User.objects.create)(username="boss", is_staff=True)
    permission = await Permission.objects.aget(codename="view_jobrecord")
    await boss.user_permissions.aadd(permission)
    return boss, permission


@pytest.mark.fault("K2")
@pytest.mark.django_db(transaction=True)
async def test_without_a_layer_the_process_itself_asks_at_once(settings):
    settings.IMMORTUS_STORE = {"BACKEND": "memory"}
    boss, permission = await a_boss()
    job = Process(owner="4711")
    job.enqueued()
    async with opened(user=await User.objects.aget(pk=boss.pk), job_id=job.job_id) as client:
        assert (await client.hear())["type"] == "job"
        began = time.monotonic()
        await sync_to_async(boss.user_permissions.remove)(permission)
        assert (await client.hear(5))["code"] == "unknown_job"
        assert time.monotonic() - began < SECOND + BUSY
        await client.say(type="watch", job_id=job.job_id, version=1)
        assert (await client.hear(5))["code"] == "unknown_job", "the socket's user is no longer who they were"
    await get_hub().lifetime.stop_and_wait()


@pytest.mark.fault("K3")
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("how", ["disabled", "permission", "deleted"])
async def test_the_next_watch_sees_a_right_that_ended_while_nothing_was_watched(settings, how):
    """The socket stays open meanwhile: nothing has asked it."""
    settings.IMMORTUS_STORE = {"BACKEND": "memory"}
    boss, permission = await a_boss()
    mine, theirs = Process(owner=str(boss.pk)), Process(owner="4711")
    for job in (mine, theirs):
        job.enqueued()
    async with opened(user=await User.objects.aget(pk=boss.pk), job_id=mine.job_id) as client:
        assert (await client.hear())["type"] == "job"
        mine.started()
        mine.finished()
        while (await client.hear())["job"]["state"] != "finished":
            pass
        await get_hub().lifetime.stop_and_wait()  # as after half a minute
        if how == "disabled":
            await User.objects.filter(pk=boss.pk).aupdate(is_active=False)
        elif how == "permission":
            await sync_to_async(boss.user_permissions.remove)(permission)
        else:
            await boss.adelete()
        await client.say(type="watch", job_id=theirs.job_id)
        if how == "permission":
            assert (await client.hear(5))["code"] == "unknown_job"
        else:
            assert await client.closed_with() == LOGIN_CHANGED
    await get_hub().lifetime.stop_and_wait()


@pytest.mark.fault("K2")
@pytest.mark.django_db(transaction=True)
async def test_a_group_that_is_deleted_takes_what_its_members_saw_by_it(settings):
    settings.IMMORTUS_STORE = {"BACKEND": "memory"}
    boss = await sync_to_async(User.objects.create)(username="boss", is_staff=True)
    group = await Group.objects.acreate(name="operators")
    await group.permissions.aadd(await Permission.objects.aget(codename="view_jobrecord"))
    await boss.groups.aadd(group)
    job = Process(owner="4711")
    job.enqueued()
    async with opened(user=await User.objects.aget(pk=boss.pk), job_id=job.job_id) as client:
        assert (await client.hear())["type"] == "job"
        began = time.monotonic()
        await group.adelete()
        assert (await client.hear(5))["code"] == "unknown_job"
        assert time.monotonic() - began < SECOND + BUSY
    await get_hub().lifetime.stop_and_wait()


@pytest.mark.fault("K2")
@pytest.mark.django_db(transaction=True)
async def test_a_logout_that_another_receiver_delays_still_ends_the_socket(settings, monkeypatch):
    """Django sends the signal first, and flushes the session after the last receiver."""
    settings.IMMORTUS_STORE = {"BACKEND": "memory"}
    monkeypatch.setattr(Authorization, "AGAIN", (0.2, 0.4, 0.8))
    alice = await sync_to_async(User.objects.create)(username="alice")
    browser = Browser()
    await sync_to_async(browser.force_login)(alice)
    session = SessionStore(browser.session.session_key)
    await sync_to_async(session.get)("_auth_user_id")
    job = Process(owner=str(alice.pk))
    job.enqueued()

    def dawdle(**_):
        time.sleep(0.5)

    user_logged_out.connect(dawdle)
    try:
        async with opened(user=alice, session=session, job_id=job.job_id) as client:
            assert (await client.hear())["type"] == "job"
            await sync_to_async(browser.logout)()
            assert await client.closed_with() == LOGIN_CHANGED
    finally:
        user_logged_out.disconnect(dawdle)
    await get_hub().lifetime.stop_and_wait()


# Tokens that are none

MARKS = "ABCxyz019-_=.:%é\x00"


@pytest.fixture
def stored(settings, db):
    settings.IMMORTUS_STORE = {"BACKEND": "memory"}
    alice = User.objects.create(username="alice")
    job = Process("f" * 32, owner=str(alice.pk))
    job.enqueued()
    return alice, job


@pytest.mark.fault("K4")
@pytest.mark.urls(__name__)
@examples(150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 400), other=st.sampled_from(MARKS), cut=st.integers(0, 400), tail=st.text(MARKS, max_size=20))
def test_no_change_of_a_token_shows_anything(stored, at, other, cut, tail):
    alice, job = stored
    good = access_token(job, alice)
    changed = good[: at % len(good)] + other + good[at % len(good) + 1 :]
    answers = set()
    for token in {changed, good[: cut % len(good)] + tail, good + tail + "x"} - {good}:
        headers = {"Authorization": f"Bearer {token}".replace("\x00", "").encode().decode("latin-1")}
        response = Browser().get(f"/immortus/verify/{job.job_id}", headers=headers)
        answers.add((response.status_code, response.content))
    assert len(answers) == 1
    assert next(iter(answers))[0] == 404


@pytest.mark.fault("K5")
@pytest.mark.urls(__name__)
def test_a_new_secret_key_ends_no_token_while_the_old_one_is_named(stored, settings):
    alice, job = stored
    tokens = {"alice": access_token(job, alice), "nobody": access_token(job, AnonymousUser())}
    old, new = settings.SECRET_KEY, "a new key, long enough to be accepted by all"

    def status(name):
        headers = {"Authorization": f"Bearer {tokens[name]}"}
        return Browser().get(f"/immortus/verify/{job.job_id}", headers=headers).status_code

    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = new, [old]
    assert (status("alice"), status("nobody")) == (200, 404)
    headers = {"Authorization": f"Bearer {tokens['alice']}"}
    tokens["alice"] = Browser().post("/immortus/token", headers=headers).json()["token"]
    settings.SECRET_KEY_FALLBACKS = []
    assert status("alice") == 200, "what was refreshed is signed with the new key"
