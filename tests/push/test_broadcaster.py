"""Pushing: nothing that a channel layer does slows or breaks the writer."""

# ruff: noqa: F811 - pytest's way of naming what a test needs

from __future__ import annotations

import asyncio
import json
import threading
import time
from dataclasses import replace
from typing import ClassVar

import pytest
from channels.layers import BaseChannelLayer, channel_layers
from redis import Redis

from immortus_channels import metrics
from immortus_channels.jobs.job import Job, State
from immortus_channels.push import broadcaster, messages, receivers
from immortus_channels.push.breaker import Breaker
from immortus_channels.push.broadcaster import Broadcaster
from immortus_channels.push.layer import group_name, has_shared_layer, shared_layer
from immortus_channels.push.messages import Push
from tests.hubs import layer  # noqa: F401

JOB = Job(job_id="a/b c", job_class="shop.paint", version=7, event="job_started", state=State.RUNNING)


class Layer:
    """A channel layer that remembers, fails or hangs."""

    def __init__(self):
        self.sent = []
        self.error = None
        self.hangs = False
        self.loops = set()

    async def group_send(self, group, message):
        self.sent.append((group, message))
        self.loops.add(asyncio.get_running_loop())
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error


@pytest.fixture
def fake(monkeypatch):
    fake = Layer()
    monkeypatch.setattr("immortus_channels.push.layer.get_channel_layer", lambda alias: fake)
    return fake


@pytest.fixture
def broadcaster():
    broadcaster = Broadcaster()
    yield broadcaster
    broadcaster.close()


# The message


@pytest.mark.case(19)
@pytest.mark.parametrize("job_id", ["a", "x" * 255, "a/b c", "é🦄", "../..", "a\nb"])
def test_any_id_makes_a_group_name_that_every_layer_takes(job_id):
    name = group_name(job_id)
    assert BaseChannelLayer().require_valid_group_name(name)
    assert name == group_name(job_id)
    assert name != group_name(job_id + "!")


def test_a_group_name_cannot_be_computed_without_the_secret_key(settings):
    name = group_name("a")
    settings.SECRET_KEY = "another key"
    assert group_name("a") != name


def test_a_message_carries_the_document_as_it_is():
    assert Push.of(JOB).to_message() == {
        "type": "immortus.job",
        "job_id": "a/b c",
        "version": 7,
        "event": "job_started",
        "over": False,
        "text": JOB.text,
    }
    assert Push.from_message(Push.of(JOB).to_message()) == Push.of(JOB)


def test_lost_is_over_but_not_the_last_word():
    lost, failed = Push.of(replace(JOB, state=State.LOST)), Push.of(replace(JOB, state=State.FAILED))
    assert (lost.is_over, lost.is_last) == (True, False)
    assert (failed.is_over, failed.is_last) == (True, True)


@pytest.mark.parametrize(
    "change",
    [
        {"type": "websocket.disconnect"},
        {"job_id": 3},
        {"job_id": "another"},
        {"job_id": None},
        {"version": "7"},
        {"version": True},
        {"version": 8},
        {"event": 1},
        {"event": "\udc00"},
        {"text": None},
        {"text": b"{}"},
        {"text": "[]"},
        {"text": "{"},
        {"text": "[" * 100_000},
        {"text": JOB.text.replace("0", "NaN", 1)},
        {"text": JOB.text.replace("running", "dancing")},
        {"text": JOB.text.replace('"running"', "[]")},
        {"text": JOB.text.replace("shop", "\ud800")},
        {"text": JOB.text + " " * messages.MAX_TEXT},
    ],
)
def test_a_message_that_lies_is_ignored(change):
    assert Push.from_message({**Push.of(JOB).to_message(), **change}) is None


@pytest.mark.parametrize("days", [0.01, 1, 1.5, 400])
def test_a_version_far_ahead_of_the_clock_is_refused_and_logged_once(days, caplog):
    for second in (0, 1):
        version = int((time.time() + days * 86_400 + second) * 1_000_000)
        assert Push.from_message(Push.of(replace(JOB, version=version)).to_message()) is None
    (record,) = caplog.records
    assert "far ahead of this host's clock" in record.getMessage()


def test_a_version_a_little_ahead_of_the_clock_is_taken():
    push = Push.of(replace(JOB, version=int((time.time() + 300) * 1_000_000)))
    assert Push.from_message(push.to_message()) == push


@pytest.mark.parametrize("message", [None, [], "text", {}, {"type": "immortus.job"}])
def test_what_is_no_message_is_ignored(message):
    assert Push.from_message(message) is None


# The layer


def test_only_a_layer_that_reaches_other_processes_is_shared(settings):
    settings.CHANNEL_LAYERS = {}
    assert not has_shared_layer()
    settings.CHANNEL_LAYERS = {
        "default": {"BACKEND": "channels.layers.InMemoryChannelLayer"},
        "live": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer"},
    }
    assert not has_shared_layer()
    settings.IMMORTUS_CHANNEL_LAYER = "live"
    assert has_shared_layer()


def test_local_receivers_are_told_without_any_layer(broadcaster):
    class Receiver:
        def __init__(self):
            self.pushes = []

        def receive(self, push):
            self.pushes.append(push)

    one, other = Receiver(), Receiver()
    receivers.add(one)
    receivers.add(other)
    broadcaster.send(JOB)
    receivers.remove(other)
    broadcaster.send(replace(JOB, version=8))
    receivers.remove(one)
    assert [push.version for push in one.pushes] == [7, 8]
    assert [push.version for push in other.pushes] == [7]


def test_what_cannot_be_pushed_is_logged_and_never_raises(broadcaster, caplog):
    broadcaster.send(replace(JOB, meta={"x": float("nan")}))
    assert "The push of" in caplog.text


def test_one_loop_serves_every_send_until_it_is_closed(fake, broadcaster):
    for _ in range(3):
        broadcaster.send(JOB)
    assert len(fake.sent) == 3
    assert len(fake.loops) == 1
    broadcaster.close()
    assert fake.loops.pop().is_closed()
    broadcaster.send(JOB)
    assert len(fake.sent) == 4


async def test_inside_an_event_loop_nothing_is_sent_and_nothing_raised(fake, broadcaster):
    broadcaster.send(JOB)
    assert not fake.sent


def test_a_layer_that_raises_is_logged_once_and_never_raises(fake, broadcaster, caplog):
    fake.error = RuntimeError("no connection")
    for _ in range(10):
        broadcaster.send(JOB)
    assert len(fake.sent) == Breaker.FAILURES
    assert len(caplog.records) == 1
    assert "no connection" in caplog.text


def test_what_the_layer_takes_and_what_it_refuses_is_counted(fake, broadcaster):
    before = metrics.read()
    broadcaster.send(JOB)
    broadcaster.send(JOB)
    fake.error = RuntimeError("no connection")
    broadcaster.send(JOB)
    now = metrics.read()
    assert now["published"] == before["published"] + 2
    assert now["publish_seconds"] > before["publish_seconds"]
    assert now["layer_errors"]["group_send"] == before["layer_errors"].get("group_send", 0) + 1


def test_what_will_not_close_is_told_and_never_raised(fake, caplog):
    broadcaster = Broadcaster()
    broadcaster.send(JOB)
    (loop,) = fake.loops
    really, loop.close = loop.close, refuse
    broadcaster.close()
    assert "no connection" in caplog.text
    really()


def refuse():
    msg = "no connection"
    raise ConnectionError(msg)


def test_a_layer_that_works_again_is_used_again(fake, broadcaster, caplog, monkeypatch):
    monkeypatch.setattr(Breaker, "REST", 0.05)
    fake.error = RuntimeError("no connection")
    for _ in range(5):
        broadcaster.send(JOB)
    fake.error = None
    time.sleep(0.06)
    broadcaster.send(JOB)
    broadcaster.send(JOB)
    assert len(fake.sent) == Breaker.FAILURES + 2
    assert caplog.messages[-1].endswith("works again.")


def test_a_layer_that_hangs_costs_one_timeout_and_then_nothing(fake, broadcaster):
    fake.hangs = True
    began = time.monotonic()
    for _ in range(100):
        broadcaster.send(JOB)
    assert Broadcaster.TIMEOUT <= time.monotonic() - began < Broadcaster.TIMEOUT + 0.2
    assert len(fake.sent) == 1


def test_a_cancelled_send_that_will_not_end_holds_nobody_up(fake, broadcaster):
    async def stubborn(group, message):
        while True:
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                await asyncio.sleep(3)

    fake.group_send = stubborn
    began = time.monotonic()
    broadcaster.send(JOB)
    broadcaster.close()
    assert time.monotonic() - began < 3 * Broadcaster.TIMEOUT


class BoundLayer(BaseChannelLayer):
    """A layer that can be made in a running event loop only, and used in that one only, as channels_rabbitmq's."""

    made: ClassVar[list[BoundLayer]] = []

    def __init__(self):
        super().__init__()
        self.loop = asyncio.get_running_loop()
        self.sent = []
        self.is_closed = False
        self.made.append(self)

    async def group_send(self, group, message):
        if asyncio.get_running_loop() is not self.loop:
            msg = "another event loop"
            raise RuntimeError(msg)
        self.sent.append(group)

    async def close(self):
        self.is_closed = True


@pytest.fixture
def bound(settings, monkeypatch):
    monkeypatch.setattr(BoundLayer, "made", [])
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": f"{__name__}.BoundLayer"}}


@pytest.mark.usefixtures("bound")
def test_a_layer_of_one_event_loop_is_made_for_sending_and_closed_with_it(broadcaster, caplog):
    for _ in range(3):
        broadcaster.send(JOB)
    (mine,) = BoundLayer.made
    assert mine.sent == [group_name(JOB.job_id)] * 3
    broadcaster.close()
    assert mine.is_closed
    assert not caplog.records


@pytest.mark.usefixtures("bound")
@pytest.mark.parametrize("server_first", [True, False])
def test_the_server_s_and_the_sender_s_loop_each_keep_their_own_layer(broadcaster, server_first):
    async def listen():
        shared = shared_layer()
        await shared.group_send("server", {})
        await asyncio.to_thread(broadcaster.send, JOB)
        assert shared_layer() is shared
        await shared.group_send("server", {})
        return shared

    if not server_first:
        broadcaster.send(JOB)
    shared = asyncio.run(listen())
    assert shared.sent == ["server", "server"]
    assert sum(len(other.sent) for other in BoundLayer.made if other is not shared) == 2 - server_first


@pytest.mark.usefixtures("bound")
def test_a_layer_that_could_not_be_made_is_made_at_the_next_send(broadcaster, monkeypatch):
    def refused(self):
        asyncio.get_running_loop()
        raise ConnectionError

    with monkeypatch.context() as patched:
        patched.setattr(BoundLayer, "__init__", refused)
        assert not broadcaster.send_to_group("a", {})
    assert broadcaster.send_to_group("a", {})
    assert "default" not in channel_layers.backends


@pytest.mark.usefixtures("bound")
def test_a_layer_that_only_an_event_loop_can_make_counts_as_shared():
    assert has_shared_layer()


def test_the_layer_s_own_tasks_go_on_between_two_sends(fake, broadcaster):
    """A broker drops who leaves its heartbeats unanswered, and what is sent next is lost."""
    beats = []

    async def group_send(group, message):
        async def beat():
            while True:
                beats.append(group)
                await asyncio.sleep(0.01)

        fake.beating = asyncio.ensure_future(beat())

    fake.group_send = group_send
    broadcaster.send(JOB)
    before = len(beats)
    time.sleep(0.2)
    assert len(beats) > before + 5


# A real Redis


def test_sends_share_one_connection_and_close_ends_it(layer, redis_server, broadcaster):
    redis = Redis.from_url(redis_server.url)
    before = redis.info()["total_connections_received"]
    for _ in range(50):
        broadcaster.send(JOB)
    assert redis.info()["total_connections_received"] - before == 1
    connected = len(redis.client_list())
    broadcaster.close()
    deadline = time.monotonic() + 2
    while len(redis.client_list()) >= connected and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(redis.client_list()) == connected - 1
    redis.close()


def test_pushing_through_redis_takes_no_thread(layer, broadcaster):
    before = set(threading.enumerate())
    for _ in range(3):
        assert broadcaster.send_to_group("a", {"type": "x"})
        assert {thread.name for thread in set(threading.enumerate()) - before} <= {"asyncio_0"}, "that looks names up"


def test_a_redis_that_hangs_delays_the_writer_half_a_second_at_most(layer, redis_server):
    broadcaster = Broadcaster()
    broadcaster.send(JOB)
    redis_server.freeze()
    try:
        took = []
        for _ in range(5):
            began = time.monotonic()
            broadcaster.send(JOB)
            took.append(time.monotonic() - began)
        assert max(took) < Broadcaster.TIMEOUT + 0.2
        assert sum(took) < Broadcaster.TIMEOUT + 0.3
        began = time.monotonic()
        broadcaster.close()
        assert time.monotonic() - began < 2
    finally:
        redis_server.thaw()


def test_a_layer_that_comes_back_is_used_after_the_rest(layer, redis_server, broadcaster, monkeypatch):
    monkeypatch.setattr(Breaker, "REST", 0.1)
    broadcaster.send(JOB)
    redis_server.kill()
    broadcaster.send(JOB)
    redis_server.start()
    time.sleep(0.2)
    broadcaster.send(JOB)
    time.sleep(0.2)
    broadcaster.send(JOB)
    assert not broadcaster._trouble.is_on


def test_a_writer_thread_leaves_no_loop_behind(layer):
    def work():
        broadcaster = Broadcaster()
        broadcaster.send(JOB)
        broadcaster.close()

    for _ in range(3):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert not layer._layers


def test_a_push_is_one_json_text_wherever_it_goes():
    assert json.loads(Push.of(JOB).text) == JOB.document
