"""Health and numbers: true, cheap, in bounded time, and nothing for strangers that is nobody's business."""

# ruff: noqa: F811 - pytest's way of naming what a test needs

from __future__ import annotations

import asyncio
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext, _TestState

from immortus_channels import metrics, tracking, writer
from immortus_channels.http import monitoring
from immortus_channels.http.monitoring import StoreCheck, exposition
from immortus_channels.jobs.events import Enqueued, Origin
from immortus_channels.metrics import Sample
from immortus_channels.stores import get_store
from immortus_channels.urls import immortus_jobs
from immortus_channels.websocket.hub import get_hub
from immortus_channels.websocket.hub.probe import Probe
from immortus_channels.websocket.shutdown import get_drain
from tests.hubs import hub, layer, memory, send_elsewhere  # noqa: F401
from tests.pages import Page, Process, until
from tests.servers import RedisServer

urlpatterns = [*immortus_jobs()]
pytestmark = pytest.mark.urls(__name__)


@pytest.fixture
def threaded(monkeypatch):
    """As outside of a test runner."""
    monkeypatch.delattr(_TestState, "saved_data")
    monkeypatch.setattr(monitoring, "store_check", StoreCheck())


@pytest.fixture
def own_redis(settings):
    with RedisServer() as server:
        settings.IMMORTUS_STORE = {"BACKEND": "redis", "OPTIONS": {"url": server.url}}
        yield server
        get_store().close()


def ask(path="health", **options):
    return Client().get(f"/immortus/{path}", **options)


# Health


def test_a_process_that_may_have_traffic_says_so(memory):
    answer = ask()
    assert answer.status_code == 200
    assert answer.json() == {"status": "ok", "store": "ok", "layer": "none", "writer": "ok"}
    assert answer.headers["Cache-Control"] == "private, no-store"


@pytest.mark.django_db
def test_the_database_is_asked_one_question_and_no_session_is_read():
    with CaptureQueriesContext(connection) as queries:
        assert ask().status_code == 200
    assert len([query for query in queries if "SAVEPOINT" not in query["sql"]]) == 1


def test_it_answers_where_everything_else_asks_for_a_login(memory, settings):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
    assert ask().status_code == 200
    assert Client().head("/immortus/health").status_code == 200
    assert Client().post("/immortus/health").status_code == 405


@pytest.mark.redis
@pytest.mark.parametrize("harm", ["kill", "freeze"])
def test_a_store_that_is_down_or_hangs_is_told_in_bounded_time_and_quietly(own_redis, threaded, harm, caplog):
    assert ask().status_code == 200
    getattr(own_redis, harm)()
    time.sleep(StoreCheck.FRESH)
    before = threading.active_count()
    began = time.monotonic()
    with ThreadPoolExecutor(10) as clients:
        answers = list(clients.map(lambda _: ask(), range(10)))
    assert time.monotonic() - began < StoreCheck.TIMEOUT + 2
    own_redis.thaw() if harm == "freeze" else own_redis.start()
    assert {answer.status_code for answer in answers} == {503}
    assert answers[0].json()["status"] == "store_unreachable"
    assert own_redis.url not in answers[0].content.decode()
    assert threading.active_count() <= before + 1, "they all waited for one question"
    assert caplog.records == [], "whoever asks every second must not fill the log"


@pytest.mark.redis
def test_a_store_that_is_back_is_told_within_a_second(own_redis, threaded):
    own_redis.kill()
    assert ask().status_code == 503
    own_redis.start()
    time.sleep(StoreCheck.FRESH)
    assert ask().status_code == 200


def test_many_questions_are_one_for_the_store(memory, threaded, monkeypatch):
    asked = []
    kind = type(get_store())
    real = kind.positions
    monkeypatch.setattr(kind, "positions", lambda self, ids: asked.append(ids) or real(self, ids))
    assert {ask().status_code for _ in range(20)} == {200}
    assert len(asked) == 1


async def test_a_process_that_is_about_to_end_wants_no_traffic(memory):
    drain = get_drain()
    drain.is_on = True
    try:
        answer = await asyncio.to_thread(ask)
    finally:
        drain.is_on = False
    assert answer.status_code == 503
    assert answer.json()["status"] == "draining"


async def test_the_layer_is_told_and_takes_nobody_out_of_service(memory, layer, redis_server, monkeypatch):
    # What joins through a connection that has just died hears of it by the probe alone.
    monkeypatch.setattr(Probe, "INTERVAL", 0.3)
    monkeypatch.setattr(Probe, "TIMEOUT", 0.5)
    assert (await asyncio.to_thread(ask)).json()["layer"] == "idle"
    hub, job = get_hub(), Process()
    job.enqueued()
    try:
        await hub.watch(Page(), job.job_id)
        await until(lambda: hub.subscription.joined.get(job.job_id))
        assert (await asyncio.to_thread(ask)).json()["layer"] == "ok"
        redis_server.kill()
        another = Process()
        another.enqueued()
        await hub.watch(Page(), another.job_id)
        await until(lambda: not hub.subscription.is_hearing(), within=10)
        answer = await asyncio.to_thread(ask)
        assert (answer.status_code, answer.json()["layer"]) == (200, "failing")
    finally:
        redis_server.start()
        await hub.lifetime.stop_and_wait()


@pytest.mark.fault("L2")
async def test_a_layer_through_which_nothing_was_heard_is_not_ok(memory, settings):
    """It takes every call and brings nothing, which the probe needs some seconds to be sure of."""
    faulty = {"BACKEND": "immortus_channels.testing.FaultyChannelLayer", "CONFIG": {"drop": 1}}
    settings.CHANNEL_LAYERS = {"default": faulty}
    hub, job = get_hub(), Process()
    job.enqueued()
    try:
        await hub.watch(Page(), job.job_id)
        await until(lambda: hub.subscription.joined.get(job.job_id))
        assert (await asyncio.to_thread(ask)).json()["layer"] == "failing"
    finally:
        await hub.lifetime.stop_and_wait()


@pytest.mark.fault("L3")
@pytest.mark.redis
async def test_workers_whose_pushes_do_not_arrive_are_told_until_one_does(memory, layer, settings):
    settings.IMMORTUS_RECHECK_INTERVAL = 0.3
    hub, job, page = get_hub(), Process(), Page()
    job.enqueued()
    try:
        await hub.watch(page, job.job_id)
        await until(lambda: hub.subscription.joined.get(job.job_id))
        await asyncio.sleep(0.8)
        assert (await asyncio.to_thread(ask)).json()["layer"] == "ok"
        job.started(push=False)
        await until(lambda: len(page.frames) == 2)
        await asyncio.sleep(0.5)
        assert (await asyncio.to_thread(ask)).json()["layer"] == "failing"
        settings.IMMORTUS_RECHECK_INTERVAL = 60
        await asyncio.sleep(1)
        await asyncio.to_thread(send_elsewhere, job.reported(1, push=False))
        await until(lambda: len(page.frames) == 3)
        await until(hub.subscription.is_hearing)
        assert (await asyncio.to_thread(ask)).json()["layer"] == "ok"
    finally:
        await hub.lifetime.stop_and_wait()


@pytest.mark.redis
@pytest.mark.usefixtures("memory")
def test_health_calls_a_layer_that_cannot_be_made_failing(settings, client):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"host": []}}}
    assert client.get("/immortus/health").json()["layer"] == "failing"


def test_a_writer_that_is_behind_is_told(own_redis, threaded):
    own_redis.kill()
    tracking.publish(Enqueued(job_id="a", job_class="shop.paint", origin=Origin()))
    try:
        assert ask().json()["writer"] == "behind"
    finally:
        own_redis.start()
        writer.drain()
    time.sleep(StoreCheck.FRESH)
    assert ask().json() == {"status": "ok", "store": "ok", "layer": "none", "writer": "ok"}


# Numbers


def staff():
    return User.objects.create_user("boss", is_staff=True)


@pytest.mark.django_db
@pytest.mark.parametrize("token", [None, "", "a secret"])
def test_strangers_see_no_numbers(memory, settings, token):
    settings.IMMORTUS_METRICS_TOKEN = token
    for sent in ("", "Bearer", "Bearer ", "Bearer None", "Bearer a secret ", "a secret", "Basic a secret", "Bearer é"):
        assert ask("metrics", headers={"Authorization": sent}).status_code == 404
    user = Client()
    user.force_login(User.objects.create_user("alice"))
    assert user.get("/immortus/metrics").status_code == 404


@pytest.mark.django_db
def test_staff_and_who_has_the_token_see_them(memory, settings):
    settings.IMMORTUS_METRICS_TOKEN = "a secret"
    boss = Client()
    boss.force_login(staff())
    assert boss.get("/immortus/metrics").status_code == 200
    answer = ask("metrics", headers={"Authorization": "Bearer a secret"})
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")


@pytest.mark.django_db
def test_the_token_works_where_everything_else_asks_for_a_login(memory, settings):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
    settings.IMMORTUS_METRICS_TOKEN = "a secret"
    assert ask("metrics", headers={"Authorization": "Bearer a secret"}).status_code == 200
    assert ask("metrics").status_code == 404


LINE = re.compile(
    r'immortus_[a-z_]+(\{[a-z]+="[^"\\\n]*"\})? -?[0-9.e+-]+|# (HELP immortus_\w+ .+|TYPE immortus_\w+ (counter|gauge))'
)


@pytest.mark.django_db
def test_each_line_is_one_of_prometheus(memory, settings):
    settings.IMMORTUS_METRICS_TOKEN = "a secret"
    metrics.SOCKETS_CLOSED.add(of=4008)
    metrics.PUBLISH_SECONDS.add(0.0000123)
    text = ask("metrics", headers={"Authorization": "Bearer a secret"}).content.decode()
    assert text.endswith("\n")
    assert [line for line in text.splitlines() if not LINE.fullmatch(line)] == []
    types = re.findall(r"^# TYPE (\w+)", text, re.MULTILINE)
    assert len(types) == len(set(types))
    assert set(re.findall(r"^(immortus_\w+)", text, re.MULTILINE)) <= set(types)


def test_numbers_are_written_in_full():
    big = Sample(name="bytes", kind="counter", help="Bytes.", labels={}, value=123_456_789_012)
    of = Sample(name="closed", kind="counter", help="Closed.", labels={"code": "4008"}, value=2)
    gauge = Sample(name="open", kind="gauge", help="Open.", labels={}, value=0)
    assert "".join(exposition([big, of, gauge])).splitlines() == [
        "# HELP immortus_bytes_total Bytes.",
        "# TYPE immortus_bytes_total counter",
        "immortus_bytes_total 123456789012",
        "# HELP immortus_closed_total Closed.",
        "# TYPE immortus_closed_total counter",
        'immortus_closed_total{code="4008"} 2',
        "# HELP immortus_open Open.",
        "# TYPE immortus_open gauge",
        "immortus_open 0",
    ]
