"""The WebSocket, to the letter of the protocol: in this process, and through Uvicorn and Daphne."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import socket
import time
import weakref

import pytest
from autobahn.exception import Disconnected
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import AnonymousUser
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from immortus_channels import access_token, metrics, protocol, tracking
from immortus_channels.access import permissions, quotas
from immortus_channels.access.limits import Limits
from immortus_channels.access.tokens import Token
from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.logs import Trouble
from immortus_channels.push.messages import Revocation
from immortus_channels.stores.base import Reading
from immortus_channels.websocket import bearer, consumer, flow, hub
from immortus_channels.websocket.consumer import JobConsumer
from immortus_channels.websocket.frames import MAX_FRAME
from immortus_channels.websocket.hub import get_hub
from immortus_channels.websocket.login import Login, _warn
from immortus_channels.websocket.outbox import CLEAN_UP
from immortus_channels.websocket.shutdown import get_drain
from tests.pages import Process, forget_quotas, logged_in, until
from tests.site import redis_options, running_site
from tests.tokens import expired_token
from tests.websocket.test_frames import HOSTILE

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


@pytest.fixture
def unstored(monkeypatch):
    """Users need no database: their logins hold."""
    monkeypatch.setattr(Login, "read_again", lambda login: login.user)


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
    forget_quotas()
    yield
    await get_hub().lifetime.stop_and_wait()
    forget_quotas()


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


async def test_without_a_user_in_scope_all_are_anonymous_and_the_cure_is_logged(caplog):
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
        assert len(get_hub().table.jobs[job.job_id].sent) == 1


async def test_after_unwatch_nothing_more_is_told():
    job = Process()
    job.enqueued()
    async with opened(job_id=job.job_id) as client:
        await client.hear()
        await client.say(type="unwatch", job_id=job.job_id)
        await client.say(type="unwatch", job_id="never watched")
        await until(lambda: not get_hub().table.jobs)
        job.started()
        assert await client.receive_nothing(0.1)


@pytest.mark.case(20)
@pytest.mark.usefixtures("unstored")
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
            "message": "There is no such job, or you are not allowed to see it.",
            "job_id": "…",
            "authenticated": True,
        }


@pytest.mark.usefixtures("unstored")
async def test_a_job_of_ones_own_is_shown():
    alice = logged_in("alice")
    job = Process(owner=str(alice.pk))
    job.enqueued()
    async with opened(user=alice, job_id=job.job_id) as client:
        assert (await client.hear())["type"] == "job"


async def test_the_hundred_and_first_job_is_one_too_many():
    jobs = [Process() for _ in range(protocol.MAX_JOBS + 1)]
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
        for _ in range(protocol.MAX_JOBS + 5):
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
    async with opened(limits=Limits(frames_at_once=20, frames_per_second=0)) as client:
        for _ in range(21):
            await client.say(type="pong")
        assert await client.closed_with() == 4429


async def test_an_error_nobody_foresaw_closes_so_that_the_client_comes_back(monkeypatch, caplog):
    async def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(hub.Hub, "watch", broken)
    async with opened() as client:
        await client.say(type="watch", job_id="a")
        assert await client.closed_with() == 4011
    assert "ZeroDivisionError" in caplog.text


def test_no_code_is_one_that_daphne_refuses_to_send():
    """Autobahn raises for all but 1000 and 3000 to 4999."""
    codes = [consumer.PROTOCOL_ERROR, consumer.INTERNAL_ERROR, flow.MAX_AGE, flow.TOO_SLOW, flow.NO_PONG, flow.TOO_MANY]
    assert all(3000 <= code <= 4999 for code in codes)


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


# Limits


async def test_too_many_bytes_close():
    async with opened(limits=Limits(bytes_at_once=1000, bytes_per_second=0)) as client:
        await client.say(type="pong", x="x" * 900)
        await client.say(type="pong", x="x" * 900)
        assert await client.closed_with() == 4429


async def test_a_socket_beyond_a_user_s_seats_is_closed_and_others_are_served(settings):
    settings.IMMORTUS_LIMITS = {"sockets_per_user": 2}
    alice, bob = logged_in("alice"), logged_in("bob")
    async with opened(user=alice), opened(user=alice), opened(user=bob), opened(), opened(), opened():
        third = Client(user=alice)
        assert (await third.connect())[0]
        assert await third.closed_with() == 4429
    async with opened(user=alice):
        pass


async def test_seats_are_given_back_however_a_socket_ends():
    async with opened(user=logged_in("alice")) as client:
        for _ in range(10):
            await client.send_to(text_data="nonsense")
        await client.closed_with()
    client = Client(user=logged_in("alice"))
    await client.connect()
    client.future.cancel()
    await asyncio.wait([client.future], timeout=2)
    assert not quotas._sockets


@pytest.mark.usefixtures("unstored")
async def test_a_user_who_tries_very_many_ids_is_sent_away_for_a_while(settings, caplog):
    settings.IMMORTUS_LIMITS = {"denials": 5}
    alice = logged_in("alice")
    async with opened(user=alice) as client:
        for number in range(7):
            await client.say(type="watch", job_id=f"guess-{number}")
        assert await client.closed_with() == 4429
    again = Client(user=alice)
    await again.connect()
    assert await again.closed_with() == 4429
    assert sum("unknown or not theirs" in record.getMessage() for record in caplog.records) == 1
    async with opened(user=logged_in("bob")):
        pass


# Access tokens


@pytest.fixture
def alice(monkeypatch):
    """A user whom tokens find without a database."""
    alice = logged_in("alice")
    monkeypatch.setattr(Token, "user", lambda token: alice if token.user_key == str(alice.pk) else None)
    return alice


async def test_a_token_shows_the_jobs_of_its_user_to_whoever_has_it(alice):
    job = Process(owner=str(alice.pk))
    document = job.enqueued().document
    async with opened() as client:
        await client.say(type="watch", job_id=job.job_id, token=access_token(job, alice))
        assert await client.hear() == {"type": "job", "event": "snapshot", "job": document}
        job.started()
        assert (await client.hear())["job"]["state"] == "running"


async def test_every_bad_token_gets_the_answer_of_an_unknown_job(alice):
    job = Process("f" * 32, owner=str(alice.pk))
    job.enqueued()
    good, bob = access_token(job, alice), logged_in("bob")
    bad = {
        "forged": "immortus.forged",
        "flipped": good[:-1] + ("A" if good[-1] != "A" else "B"),
        "long": "immortus." + "x" * 10_000,
        "of another user": access_token(job, bob),
        "for another job": access_token("u" * 32, alice),
        "of another kind": "eyJhbGciOiJub25lIn0.e30.",
    }
    async with opened() as client:
        answers = {}
        for name, token in bad.items():
            await client.say(type="watch", job_id=job.job_id, token=token)
            answers[name] = await client.receive_from()
        await client.say(type="watch", job_id=job.job_id)
        answers["none at all"] = await client.receive_from()
        assert len(set(answers.values())) == 1


async def test_unknown_and_foreign_jobs_get_the_same_bytes_by_a_token_too(alice):
    foreign = Process("f" * 32, owner="somebody else")
    foreign.enqueued()
    answers = set()
    for job_id in (foreign.job_id, "u" * 32):
        async with opened() as client:
            await client.say(type="watch", job_id=job_id, token=access_token(job_id, alice))
            answers.add((await client.receive_from()).replace(job_id, "…"))
    (answer,) = answers
    assert json.loads(answer)["authenticated"] is True


async def test_a_bad_token_ends_a_watch_that_a_good_one_began(alice):
    job = Process(owner=str(alice.pk))
    job.enqueued()
    async with opened() as client:
        await client.say(type="watch", job_id=job.job_id, token=access_token(job, alice))
        await client.hear()
        await client.say(type="watch", job_id=job.job_id, token="immortus.forged")
        assert (await client.hear())["code"] == "unknown_job"
        assert not get_hub().table.jobs


async def test_a_watch_is_renewed_by_another_token_without_missing_anything(alice):
    job = Process(owner=str(alice.pk))
    version = job.enqueued().version
    async with opened() as client:
        await client.say(type="watch", job_id=job.job_id, token=access_token(job, alice))
        await client.hear()
        await client.say(type="watch", job_id=job.job_id, version=version, token=access_token(job, alice, life=600))
        assert (await client.hear())["type"] == "current"
        job.started()
        assert (await client.hear())["job"]["state"] == "running"
        assert len(get_hub().table.jobs[job.job_id].sent) == 1


async def test_a_token_that_ends_is_told_ahead_and_its_watches_end_a_while_later(alice, monkeypatch):
    monkeypatch.setattr(bearer, "GRACE", 0.3)
    job = Process(owner=str(alice.pk))
    job.enqueued()
    async with opened() as client:
        await client.say(type="watch", job_id=job.job_id, token=access_token(job, alice, life=0.3))
        await client.hear()
        assert await client.hear() == {"type": "error", "code": "token_expired", "message": protocol.TOKEN_EXPIRED}
        job.started()
        assert (await client.hear())["job"]["state"] == "running", "it still goes on"
        ended = await client.hear()
        assert (ended["code"], ended["job_id"]) == ("token_expired", job.job_id)
        assert not get_hub().table.jobs


async def test_an_expired_token_begins_no_watch_and_says_why(alice):
    async with opened() as client:
        await client.say(type="watch", job_id="a", token=expired_token("a", alice))
        assert (await client.hear())["code"] == "token_expired"
        assert not get_hub().table.jobs


async def test_a_disabled_user_loses_the_watches_of_their_tokens_and_no_others(alice, monkeypatch):
    job, open_to_all = Process(owner=str(alice.pk)), Process()
    job.enqueued()
    open_to_all.enqueued()
    async with opened() as client:
        await client.say(type="watch", job_id=job.job_id, token=access_token(job, alice))
        await client.hear()
        await client.say(type="watch", job_id=open_to_all.job_id)
        await client.hear()
        monkeypatch.setattr(Token, "user", lambda token: None)
        get_hub().reconsider(Revocation(user=str(alice.pk)))
        frame = await client.hear(1)
        assert (frame["code"], frame["job_id"], frame["authenticated"]) == ("unknown_job", job.job_id, False)
        assert list(get_hub().table.jobs) == [open_to_all.job_id]


async def test_no_timer_of_a_token_outlives_its_watches(alice):
    job = Process(owner=str(alice.pk))
    job.enqueued()
    async with opened() as client:
        await client.say(type="watch", job_id=job.job_id, token=access_token(job, alice, life=0.3))
        await client.hear()
        await client.say(type="unwatch", job_id=job.job_id)
        assert await client.receive_nothing(0.5)


# Cleaning up


@pytest.mark.case(32)
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
    await until(lambda: not hub.table.jobs)
    await until(lambda: asyncio.all_tasks() - before <= hub.lifetime.tasks)


@contextlib.contextmanager
def no_garbage_collector():
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def silent(ids):
    raise StoreUnavailable


LEFT = {"type": "websocket.disconnect", "code": 1006}
FLOOD = [{"type": "websocket.receive", "text": '{"type": "pong"}'}] * 1000


@pytest.mark.parametrize("how", ["leaves", "floods", "is stuck", "is cancelled", "leaves a silent store"])
async def test_a_socket_that_has_ended_is_freed_at_once(how, monkeypatch):
    """Not by the garbage collector: that of some hundred sockets takes a tenth of a second, and all others wait."""
    job = Process()
    job.enqueued()
    heard, said, served = asyncio.Queue(), [], []
    asked = [{"job_id": "a"}, {"job_id": job.job_id, "token": access_token(job, AnonymousUser())}]

    async def send(message):
        said.append(message)
        if how == "is stuck" and message["type"] == "websocket.send":
            await asyncio.Event().wait()

    async def serve():
        consumer = JobConsumer(Limits(slow=0.1))
        served.extend((weakref.ref(consumer), weakref.ref(consumer.outbox)))
        await consumer({"type": "websocket", "user": AnonymousUser()}, heard.get, send)

    def tell(*messages):
        for message in messages:
            heard.put_nowait(message)

    if how == "leaves a silent store":
        monkeypatch.setattr(tracking, "on_record", silent)
        monkeypatch.setattr(Trouble, "begin", lambda trouble, error: None)  # pytest keeps what is logged
    tell({"type": "websocket.connect"})
    tell(*({"type": "websocket.receive", "text": json.dumps({"type": "watch", **watch})} for watch in asked))
    with no_garbage_collector():
        serving = asyncio.create_task(serve())
        await asyncio.sleep(0.5)
        if how == "is cancelled":
            serving.cancel()
        elif how != "is stuck":
            tell(*(FLOOD if how == "floods" else ()), LEFT)
        await asyncio.wait([serving], timeout=5)
        del serving
        await until(lambda: not get_hub().table.jobs)
        await until(lambda: not any(reference() for reference in served))
    assert len(said) == {"is stuck": 3, "leaves a silent store": 2, "floods": 5}.get(how, 4)


async def test_cancelling_a_socket_during_its_cleanup_leaves_nothing_behind():
    """As servers do that wait no longer for it to end; after a close of ours it waits for the client's."""
    heard, said = asyncio.Queue(), []

    async def send(message):
        said.append(message["type"])

    before = asyncio.all_tasks()
    consumer = JobConsumer(PATIENT)
    await heard.put({"type": "websocket.connect"})
    serving = asyncio.create_task(consumer({"type": "websocket", "user": AnonymousUser()}, heard.get, send))
    await until(lambda: "websocket.send" in said)
    consumer.close(4001)
    await until(lambda: "websocket.close" in said)
    serving.cancel()
    await asyncio.wait([serving], timeout=5)
    await until(lambda: asyncio.all_tasks() - before <= get_hub().lifetime.tasks)


async def test_a_send_to_a_client_that_is_known_to_have_gone_is_no_error(caplog):
    """Uvicorn's older interface calls that an unexpected message, once it has told that the client left."""
    heard, told = asyncio.Queue(), asyncio.Event()

    async def receive():
        message = await heard.get()
        if message["type"] == "websocket.disconnect":
            told.set()
        return message

    async def send(message):
        if message["type"] == "websocket.send":
            await told.wait()
            raise RuntimeError

    await heard.put({"type": "websocket.connect"})
    serving = asyncio.create_task(JobConsumer(PATIENT)({"type": "websocket", "user": AnonymousUser()}, receive, send))
    await asyncio.sleep(0.05)
    await heard.put({"type": "websocket.disconnect", "code": 1006})
    await asyncio.wait_for(serving, 5)
    assert not caplog.records


async def test_a_slow_reader_gets_nothing_while_their_right_is_in_doubt(unstored, monkeypatch):
    alice = logged_in("alice")
    job = Process(owner=str(alice.pk))
    job.enqueued()
    job.started()
    async with opened(limits=Limits(window=200), user=alice, job_id=job.job_id) as client:
        await client.hear_until("job")
        await client.hear_until("ping")
        job.reported(1, "kept back")
        await asyncio.sleep(0.05)
        on_record = tracking.on_record
        monkeypatch.setattr(tracking, "on_record", silent)
        get_hub().authorization.reconsider(Revocation(user=str(alice.pk)))
        await client.say(type="pong")
        assert await client.receive_nothing(0.3)
        monkeypatch.setattr(tracking, "on_record", on_record)
        assert (await client.hear())["job"]["message"] == "kept back"


async def test_a_client_that_has_gone_is_told_no_goodbye(caplog):
    """Servers call it an error of ours."""
    heard, said = asyncio.Queue(), []

    async def send(message):
        said.append(message["type"])
        if message["type"] == "websocket.send":
            await asyncio.Event().wait()

    consumer = JobConsumer(PATIENT)
    await heard.put({"type": "websocket.connect"})
    serving = asyncio.create_task(consumer({"type": "websocket", "user": AnonymousUser()}, heard.get, send))
    await until(lambda: "websocket.send" in said)
    consumer.close(4001)
    await heard.put({"type": "websocket.disconnect", "code": 1006})
    await asyncio.wait_for(serving, 5)
    assert said == ["websocket.accept", "websocket.send"]
    assert not caplog.records


async def test_a_client_that_leaves_while_the_store_is_silent_is_forgotten(monkeypatch):
    monkeypatch.setattr(tracking, "on_record", lambda ids: time.sleep(0.5) or Reading(now=0))
    client = Client(job_id="a")
    await client.connect()
    await client.hear()
    began = time.monotonic()
    await client.disconnect()
    await until(lambda: not get_hub().table.jobs)
    assert time.monotonic() - began < 0.3


async def test_a_slow_permission_freezes_no_other_socket(monkeypatch):
    slow, quick = Process(), Process()
    slow.enqueued()
    quick.enqueued()

    def may_see(user, job):
        time.sleep(0.5 if job.job_id == slow.job_id else 0)
        return True

    monkeypatch.setattr(permissions, "may_see", may_see)
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
    monkeypatch.setattr("immortus_channels.websocket.login.Login.read_again", lambda self: None)
    monkeypatch.setattr("immortus_channels.websocket.hub.authorization.Authorization.INTERVAL", 0.1)
    async with opened(user=alice, job_id=job.job_id) as client:
        assert await client.closed_with() == 4401


async def test_what_sockets_go_through_is_counted():
    before = metrics.read()
    job = Process()
    job.enqueued()
    async with opened(limits=Limits(age=0.3)) as client:
        assert metrics.SOCKETS.read() == before["sockets"] + 1
        await client.say(type="watch", job_id=job.job_id, version=1)
        await client.hear_until("job")
        assert metrics.WATCHES.read() == before["watches"] + 1
        await client.say(type="watch", job_id="guessed")
        await client.hear_until("error")
        job.started()
        job.reported(1)
        job.reported(2)
        await client.hear_until("job")
        assert await client.closed_with() == 4010
    await until(lambda: metrics.SOCKETS.read() == before["sockets"])
    now = metrics.read()
    for name in ("watches_resumed", "watches_denied"):
        assert now[name] == before[name] + 1, name
    assert now["frames_replaced"] == before["frames_replaced"] + 2
    assert now["watches"] == before["watches"]
    assert now["sockets_closed"]["4010"] == before["sockets_closed"].get("4010", 0) + 1


async def test_a_planned_close_says_when_to_come_back():
    async with opened() as client:
        (outbox,) = get_drain()._sockets
        outbox.leave(4001, 1.234)
        assert await client.hear() == {"type": "bye", "code": 4001, "after_ms": 1234}
        assert await client.closed_with() == 4001


# Real servers


@pytest.fixture(scope="module", params=["uvicorn", pytest.param("daphne", marks=pytest.mark.slow)])
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
@pytest.mark.slow
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


@pytest.mark.parametrize("error", [Disconnected("closed"), ConnectionResetError()])
async def test_a_client_that_has_gone_is_no_error_on_either_server(caplog, error):
    async def receive():
        return {"type": "websocket.connect"} if not sent else await asyncio.sleep(60)

    async def send(message):
        sent.append(message)
        if message["type"] == "websocket.send":
            raise error

    sent = []
    scope = {"type": "websocket", "path": "/ws/immortus/", "headers": [], "user": AnonymousUser()}
    await asyncio.wait_for(JobConsumer(PATIENT)(scope, receive, send), 5)
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.send"]
    assert not caplog.records
