"""The WebSocket, to the letter of the protocol: in this process, and through Uvicorn and Daphne."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time

import pytest
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import AnonymousUser
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from immortus_channels import access, hub, tracking
from immortus_channels.consumers import JobConsumer
from immortus_channels.consumers.consumer import CLEAN_UP
from immortus_channels.consumers.flow import Limits
from immortus_channels.consumers.login import _warn
from immortus_channels.frames import MAX_FRAME, MAX_JOBS
from immortus_channels.hub import get_hub
from tests.pages import Process, logged_in, until
from tests.site import redis_options, running_site
from tests.test_frames import HOSTILE

PATIENT = Limits()


class Client(WebsocketCommunicator):
    """A socket without a server."""

    def __init__(self, *, limits=PATIENT, job_id=None, user=None, **scope):
        super().__init__(JobConsumer(limits), "/ws/immortus/", subprotocols=scope.pop("subprotocols", None))
        self.scope["user"] = user or AnonymousUser()
        self.scope["url_route"] = {"args": (), "kwargs": {"job_id": job_id}}
        self.scope.update(scope)

    async def say(self, **message):
        await self.send_to(text_data=json.dumps(message))

    async def hear(self, within=2):
        message = await self.receive_output(within)
        assert message["type"] == "websocket.send", message
        return json.loads(message["text"])

    async def hear_until(self, type_, within=2):
        while (frame := await self.hear(within))["type"] != type_:
            pass
        return frame

    async def closed_with(self, within=3):
        while (message := await self.receive_output(within))["type"] != "websocket.close":
            pass
        return message["code"]


@contextlib.asynccontextmanager
async def opened(**options):
    client = Client(**options)
    connected, _ = await client.connect()
    assert connected
    assert (await client.hear())["type"] == "hello"
    try:
        yield client
    finally:
        await client.disconnect()


@pytest.fixture(autouse=True)
async def _quiet_hub(settings):
    settings.IMMORTUS_STORE = {"BACKEND": "memory"}
    settings.IMMORTUS_RECHECK_INTERVAL = 60
    yield
    await get_hub().stopped()


# Opening


async def test_the_first_frame_says_how_to_behave():
    client = Client()
    assert await client.connect() == (True, None)
    assert await client.hear() == {"type": "hello", "ping_ms": 20000, "max_jobs": 100}
    await client.disconnect()


@pytest.mark.parametrize(
    ("offered", "selected"), [(["immortus.v2", "immortus.v1"], "immortus.v1"), (["graphql-ws"], None), (None, None)]
)
async def test_the_subprotocol_is_selected_when_offered(offered, selected):
    client = Client(subprotocols=offered)
    assert await client.connect() == (True, selected)
    await client.disconnect()


async def test_another_sites_page_is_refused():
    client = Client(headers=[(b"host", b"testserver"), (b"origin", b"http://evil.org")])
    assert (await client.connect())[0] is False


async def test_a_job_in_the_path_is_watched_from_the_start():
    job = Process()
    document = job.enqueued().document
    async with opened(job_id=job.job_id) as client:
        assert await client.hear() == {"type": "job", "event": "snapshot", "job": document}


async def test_without_a_user_in_scope_everybody_is_anonymous_and_the_cure_is_logged_once(caplog):
    _warn.cache_clear()
    job = Process(owner="1")
    job.enqueued()
    for _ in range(2):
        client = Client(job_id=job.job_id)
        del client.scope["user"]
        await client.connect()
        assert (await client.hear_until("error"))["authenticated"] is False
        await client.disconnect()
    assert caplog.text.count("AuthMiddlewareStack") == 1


# Watching


async def test_a_watch_is_answered_and_then_followed_by_every_newer_version():
    job = Process()
    job.enqueued()
    async with opened() as client:
        await client.say(type="watch", job_id=job.job_id, version=0)
        events = [(await client.hear())["event"]]
        job.started()
        events.append((await client.hear())["event"])
        last = job.finished()
        frame = await client.hear()
        assert [*events, frame["event"]] == ["snapshot", "job_started", "job_finished"]
        assert frame["job"] == last.document


async def test_a_client_with_the_newest_version_hears_current():
    job = Process()
    version = job.enqueued().version
    async with opened() as client:
        await client.say(type="watch", job_id=job.job_id, version=version)
        assert await client.hear() == {"type": "current", "job_id": job.job_id, "version": version}


async def test_a_repeated_watch_gets_the_newest_state_again():
    job = Process()
    job.enqueued()
    async with opened() as client:
        for _ in range(2):
            await client.say(type="watch", job_id=job.job_id)
            assert (await client.hear())["event"] == "snapshot"
        assert len(get_hub().jobs[job.job_id].sent) == 1


async def test_after_unwatch_nothing_more_is_told():
    job = Process()
    job.enqueued()
    async with opened(job_id=job.job_id) as client:
        await client.hear()
        await client.say(type="unwatch", job_id=job.job_id)
        await client.say(type="unwatch", job_id="never watched")
        await until(lambda: not get_hub().jobs)
        job.started()
        assert await client.receive_nothing(0.1)


async def test_unknown_and_foreign_jobs_are_answered_with_the_same_bytes():
    foreign = Process("f" * 32, owner="somebody else")
    foreign.enqueued()
    async with opened(user=logged_in("alice")) as client:
        answers = []
        for job_id in (foreign.job_id, "u" * 32):
            await client.say(type="watch", job_id=job_id, version=5)
            answers.append((await client.receive_from()).replace(job_id, "…"))
        assert len(set(answers)) == 1
        assert json.loads(answers[0]) == {
            "type": "error",
            "code": "unknown_job",
            "message": "There is no such job, or it is not yours to see.",
            "job_id": "…",
            "authenticated": True,
        }


async def test_a_job_of_ones_own_is_shown():
    alice = logged_in("alice")
    job = Process(owner=str(alice.pk))
    job.enqueued()
    async with opened(user=alice, job_id=job.job_id) as client:
        assert (await client.hear())["type"] == "job"


async def test_the_hundred_and_first_job_is_one_too_many():
    jobs = [Process() for _ in range(MAX_JOBS + 1)]
    for job in jobs:
        job.enqueued()
    async with opened() as client:
        for job in jobs:
            await client.say(type="watch", job_id=job.job_id)
        frames = [await client.hear() for _ in jobs]
        assert [frame["code"] for frame in frames if frame["type"] == "error"] == ["too_many_jobs"]
        await client.say(type="unwatch", job_id=jobs[0].job_id)
        await client.say(type="watch", job_id=jobs[-1].job_id)
        assert (await client.hear())["type"] == "job"


async def test_jobs_that_are_over_make_room_for_others():
    async with opened() as client:
        for _ in range(MAX_JOBS + 5):
            job = Process()
            job.enqueued()
            job.cancelled()
            await client.say(type="watch", job_id=job.job_id)
            assert (await client.hear())["type"] == "job"


# Bad input


@pytest.mark.parametrize("text", [text for text in HOSTILE if isinstance(text, str)])
async def test_bad_input_is_answered_and_disturbs_nothing(text, caplog):
    job = Process()
    job.enqueued()
    async with opened() as client:
        await client.send_input({"type": "websocket.receive", "text": text})
        assert (await client.hear())["code"] == "bad_message"
        await client.say(type="watch", job_id=job.job_id)
        assert (await client.hear())["type"] == "job"
    assert not caplog.records


async def test_a_binary_frame_is_a_bad_message():
    async with opened() as client:
        await client.send_to(bytes_data=b'{"type": "pong"}')
        assert (await client.hear())["code"] == "bad_message"


async def test_the_tenth_bad_message_closes():
    async with opened() as client:
        for _ in range(10):
            await client.send_to(text_data="nonsense")
        for _ in range(9):
            assert (await client.hear())["code"] == "bad_message"
        assert await client.closed_with() == 4500


async def test_a_flood_of_frames_closes():
    async with opened(limits=Limits(burst=20, per_second=0)) as client:
        for _ in range(21):
            await client.say(type="pong")
        assert await client.closed_with() == 4429


async def test_an_error_nobody_foresaw_closes_so_that_the_client_comes_back(monkeypatch, caplog):
    async def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(hub.Hub, "watch", broken)
    async with opened() as client:
        await client.say(type="watch", job_id="a")
        assert await client.closed_with() == 1011
    assert "ZeroDivisionError" in caplog.text


# Flow


async def test_pings_keep_a_client_that_answers_and_end_one_that_does_not():
    async with opened(limits=Limits(ping=0.1, silence=0.25)) as client:
        for _ in range(4):
            assert await client.hear() == {"type": "ping"}
            await client.say(type="pong")
        began = time.monotonic()
        assert await client.closed_with() == 4012
        assert 0.1 < time.monotonic() - began < 0.5


async def test_a_slow_reader_gets_a_ping_and_then_only_the_newest_document():
    job = Process()
    job.enqueued()
    job.started()
    async with opened(limits=Limits(window=2000), job_id=job.job_id) as client:
        await client.hear()
        for step in range(20):
            job.reported(step + 1)
            await asyncio.sleep(0.005)
        frames = []
        while (frame := await client.hear())["type"] != "ping":
            frames.append(frame)
        assert len(frames) < 6
        assert await client.receive_nothing(0.1)
        await client.say(type="pong")
        assert (await client.hear())["job"]["current"] == 20
        assert await client.receive_nothing(0.1)


async def test_a_reader_that_never_answers_is_closed_as_too_slow():
    job = Process()
    job.enqueued()
    job.started()
    async with opened(limits=Limits(window=1000, slow=0.3, silence=0.2), job_id=job.job_id) as client:
        for step in range(5):
            job.reported(step + 1)
            await asyncio.sleep(0.02)
        assert await client.closed_with() == 4008


async def test_an_old_socket_says_goodbye():
    async with opened(limits=Limits(age=0.2)) as client:
        bye = await client.hear_until("bye")
        assert bye["code"] == 4010
        assert 0 <= bye["after_ms"] <= 5000
        assert await client.closed_with() == 4010


async def test_a_send_that_blocks_is_given_up_and_freezes_nobody():
    blocked = asyncio.Event()

    async def receive():
        if not hasattr(receive, "begun"):
            receive.begun = True
            return {"type": "websocket.connect"}
        return await asyncio.Future()

    async def send(message):
        if message["type"] != "websocket.accept":
            blocked.set()
            await asyncio.Event().wait()

    scope = {"type": "websocket", "path": "/ws/immortus/", "headers": [], "user": AnonymousUser()}
    began = time.monotonic()
    await JobConsumer(Limits(slow=0.2))(scope, receive, send)
    assert blocked.is_set()
    assert time.monotonic() - began < 0.2 + 2 * CLEAN_UP + 0.5


async def test_a_client_that_left_before_it_was_accepted_is_no_error():
    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        raise OSError  # as Uvicorn does

    scope = {"type": "websocket", "path": "/ws/immortus/", "headers": [], "user": AnonymousUser()}
    await JobConsumer()(scope, receive, send)


# Cleaning up


@pytest.mark.parametrize("how", ["disconnect", "cancel"])
async def test_nothing_is_left_behind(how):
    job = Process()
    job.enqueued()
    before = asyncio.all_tasks()
    client = Client(job_id=job.job_id)
    await client.connect()
    await client.hear_until("job")
    hub = get_hub()
    if how == "disconnect":
        await client.disconnect()
    else:
        client.future.cancel()
        await asyncio.wait([client.future], timeout=2)
    await until(lambda: not hub.jobs)
    await until(lambda: asyncio.all_tasks() - before <= set(hub._tasks))


async def test_a_client_that_leaves_while_the_store_is_silent_is_forgotten(monkeypatch):
    monkeypatch.setattr(tracking, "read", lambda ids: time.sleep(0.5) or {})
    client = Client(job_id="a")
    await client.connect()
    await client.hear()
    began = time.monotonic()
    await client.disconnect()
    await until(lambda: not get_hub().jobs)
    assert time.monotonic() - began < 0.3


async def test_a_slow_permission_freezes_no_other_socket(monkeypatch):
    slow, quick = Process(), Process()
    slow.enqueued()
    quick.enqueued()

    def may_see(user, job):
        time.sleep(0.5 if job.job_id == slow.job_id else 0)
        return True

    monkeypatch.setattr(access, "may_see", may_see)
    async with opened(job_id=slow.job_id) as waiting, opened() as other:
        began = time.monotonic()
        await other.say(type="watch", job_id=quick.job_id)
        await other.hear()
        assert time.monotonic() - began < 0.25
        assert (await waiting.hear())["type"] == "job"


async def test_a_login_that_ended_is_closed_as_such(monkeypatch):
    alice = logged_in("alice")
    job = Process(owner=str(alice.pk))
    job.enqueued()
    monkeypatch.setattr("immortus_channels.consumers.login.Login.read_again", lambda self: None)
    monkeypatch.setattr("immortus_channels.hub.authorization.Authorization.INTERVAL", 0.1)
    async with opened(user=alice, job_id=job.job_id) as client:
        assert await client.closed_with() == 4401


# Real servers


@pytest.fixture(scope="module", params=["uvicorn", "daphne"])
def site(request, redis_server, tmp_path_factory):
    """A site on a Redis that this process writes to as a worker would."""
    var = tmp_path_factory.mktemp(request.param)
    with running_site(var, server=request.param, **redis_options(redis_server.url, store=True)) as site:
        yield site


@pytest.fixture
def worker(site, settings, redis_server):
    """This process is another process of the site."""
    settings.SECRET_KEY = "a key for tests only"
    environ = redis_options(redis_server.url, store=True)
    settings.CHANNEL_LAYERS = {"default": json.loads(environ["LAYER"])}
    settings.IMMORTUS_STORE = json.loads(environ["STORE"])


async def told(page, within=3):
    async with asyncio.timeout(within):
        return json.loads(await page.recv())


async def heard_until_closed(page):
    frames = []
    with contextlib.suppress(ConnectionClosed):
        while True:
            frames.append(await told(page))
    return frames


async def in_thread(call):
    """A worker has no event loop running where it writes."""
    return await asyncio.to_thread(call)


async def test_a_real_server_greets_answers_and_pushes(site, worker):
    job = Process()
    await in_thread(job.enqueued)
    async with connect(site.websocket_url, origin=site.url, subprotocols=["immortus.v1"]) as page:
        assert page.subprotocol == "immortus.v1"
        assert (await told(page))["type"] == "hello"
        await page.send(json.dumps({"type": "watch", "job_id": job.job_id, "version": 0}))
        assert (await told(page))["event"] == "snapshot"
        await asyncio.sleep(0.8)  # joined by now: what follows comes by push, not by re-check
        running = await in_thread(job.started)
        began = time.monotonic()
        frame = await told(page)
        assert time.monotonic() - began < 0.2
        assert frame == {"type": "job", "event": "job_started", "job": running.document}
        await in_thread(job.finished)
        assert (await told(page))["job"]["state"] == "finished"


async def test_a_real_server_refuses_other_origins_and_other_paths(site, caplog):
    for origin in ("http://evil.org", "null", site.url.replace("http", "https"), "http://127.0.0.1:1"):
        with pytest.raises(InvalidStatus) as refused:
            await connect(site.websocket_url, origin=origin)
        assert refused.value.response.status_code == 403
    for path in ("../", "../other/", f"{'a' * 256}/", "a/b/", ".hidden/"):
        with pytest.raises(InvalidStatus) as refused:
            await connect(site.websocket_url + path, origin=site.url)
        assert refused.value.response.status_code == 403
    with pytest.raises(InvalidStatus):
        await connect(site.websocket_url, additional_headers={"Cookie": "sessionid=stolen"})
    async with connect(site.websocket_url) as script:
        assert (await told(script))["type"] == "hello"
    assert "Traceback" not in site.processes[0].output


async def test_a_real_server_survives_hostile_frames(site, worker):
    job = Process()
    await in_thread(job.enqueued)
    async with connect(f"{site.websocket_url}{job.job_id}/", origin=site.url) as bystander:
        assert [(await told(bystander))["type"] for _ in range(2)] == ["hello", "job"]
        for start in range(0, len(HOSTILE), 8):
            async with connect(site.websocket_url, origin=site.url) as attacker:
                await told(attacker)
                for text in HOSTILE[start : start + 8]:
                    if text is None or text == "\ud800":
                        continue
                    await attacker.send(text)
                    assert (await told(attacker))["code"] == "bad_message"
        async with connect(site.websocket_url, origin=site.url) as attacker:
            for _ in range(10):
                await attacker.send("x" * (MAX_FRAME + 1))
            assert len(await heard_until_closed(attacker)) == 10
            assert attacker.close_code == 4500
        await in_thread(job.started)
        assert (await told(bystander))["job"]["state"] == "running"
    assert "Traceback" not in site.processes[0].output


async def test_a_real_server_tells_unknown_and_foreign_jobs_apart_by_nothing(site, worker):
    foreign = Process("f" * 32, owner="4711")
    await in_thread(foreign.enqueued)
    async with connect(site.websocket_url, origin=site.url) as page:
        await told(page)
        answers = {}
        for job_id in (foreign.job_id, "u" * 32):
            await page.send(json.dumps({"type": "watch", "job_id": job_id}))
            answers[job_id] = (await page.recv()).replace(job_id, "…")
        assert len(set(answers.values())) == 1


@pytest.mark.fault("N2")
@pytest.mark.parametrize("server", ["uvicorn", "daphne"])
async def test_a_real_client_that_reads_nothing_is_closed(server, redis_server, tmp_path, settings):
    environ = redis_options(redis_server.url, store=True)
    settings.SECRET_KEY = "a key for tests only"
    settings.CHANNEL_LAYERS = {"default": json.loads(environ["LAYER"])}
    settings.IMMORTUS_STORE = json.loads(environ["STORE"])
    job = Process()
    await in_thread(job.enqueued)
    await in_thread(job.started)
    with running_site(tmp_path, server=server, **environ) as site:
        web = site.processes.pop()
        web.stop()
        commands = {
            "uvicorn": ("uvicorn", "--port", str(site.port), "tests.impatient:application"),
            "daphne": ("daphne", "-p", str(site.port), "-b", "127.0.0.1", "tests.impatient:application"),
        }
        web = site.spawn("impatient", *commands[server])
        await until(lambda: _listens(site.port), within=20)
        async with connect(f"{site.websocket_url}{job.job_id}/", origin=site.url, max_size=2**24) as page:
            for step in range(20):
                await in_thread(lambda step=step: job.reported(step + 1, message="x" * 20_000))
                await asyncio.sleep(0.02)
            await asyncio.sleep(1.5)
            heard = await heard_until_closed(page)
        assert page.close_code == 4008
        documents = [frame for frame in heard if frame["type"] == "job"]
        assert len(documents) <= 5, "the first, small one, and 64 KiB with the one that crossed the line"
        assert "Traceback" not in web.output


def _listens(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
