"""Whoever means harm: nothing raises, nothing grows, no neighbour notices, and nobody learns anything."""

# ruff: noqa: F811 - pytest's way of naming what a test needs

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import socket
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from django.contrib.auth.models import AnonymousUser
from django.test import Client as Browser
from hypothesis import HealthCheck, example, given
from hypothesis import strategies as st
from redis import Redis
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from immortus_channels import protocol
from immortus_channels.access import quotas
from immortus_channels.access.limits import Limits
from immortus_channels.api.strategy import TrackingStrategy
from immortus_channels.jobs.job import State
from immortus_channels.push.layer import group_name
from immortus_channels.push.messages import MESSAGE_TYPE, Push
from immortus_channels.urls import immortus_jobs
from immortus_channels.websocket import frames, origins
from immortus_channels.websocket.consumer import FRAMES_IN_A_TURN, JobConsumer
from immortus_channels.websocket.hub import get_hub
from tests.examples import examples
from tests.hubs import hub, layer, memory  # noqa: F401
from tests.pages import Page, Process, forget_quotas, logged_in, until
from tests.servers import wait_until
from tests.site import Process as ServerProcess
from tests.site import Site, running_site
from tests.websocket.test_consumer import Client, opened, unstored  # noqa: F401
from tests.websocket.test_frames import HOSTILE

urlpatterns = [*immortus_jobs()]
SERVERS = {
    "uvicorn": ("--port", "{port}", "--ws-max-size", "16384", "--ws-per-message-deflate", "false"),
    "daphne": ("-b", "127.0.0.1", "-p", "{port}", "--websocket-max-message-size", "16384"),
}
"""The options that docs/how-to/deployment.md recommends."""


@pytest.fixture(scope="module", params=["uvicorn", pytest.param("daphne", marks=pytest.mark.slow)])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site that is served as recommended, by a process whose memory can be looked at."""
    with running_site(tmp_path_factory.mktemp(request.param), server=request.param) as site:
        site.processes.pop().stop()
        options = (option.format(port=site.port) for option in SERVERS[request.param])
        site.spawn("hardened", request.param, *options, "tests.project.asgi:application")
        wait_until(lambda: is_up(site))
        yield site
        assert "Traceback" not in server_of(site).output


def is_up(site: Site) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", site.port), timeout=1):
        return True
    return False


def server_of(site: Site) -> ServerProcess:
    return site.processes[-1]


def resident(site: Site) -> int:
    """Bytes of memory that the server holds."""
    pages = int(Path(f"/proc/{server_of(site).pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture(autouse=True)
def _counts():
    forget_quotas()
    yield
    forget_quotas()


@pytest.fixture
async def in_process(memory):
    yield
    await get_hub().lifetime.stop_and_wait()


async def end_of(page: Any, within: float = 10) -> int:
    """The code with which the server closes."""
    with contextlib.suppress(ConnectionClosed):
        async with asyncio.timeout(within):
            while True:
                await page.recv()
    return page.close_code or 1006


# H1 sizes


@needs_proc
@pytest.mark.fault("H1")
@pytest.mark.slow
async def test_messages_of_any_size_are_bounded_and_memory_stays_flat(site):
    before = resident(site)
    for size in (1 << 20, 17 << 20):
        async with connect(site.websocket_url) as page:
            with contextlib.suppress(ConnectionClosed):
                await page.send("x" * size)
            assert await end_of(page) in (1009, 1006), "Daphne drops what does not fit"
    async with connect(site.websocket_url) as page:
        await page.recv()
        await page.send("x" * frames.MAX_FRAME)
        assert json.loads(await page.recv())["code"] == "bad_message"
    assert resident(site) - before < 40 << 20


@needs_proc
@pytest.mark.fault("H1")
async def test_a_message_in_very_many_pieces_or_without_an_end_is_bounded(site):
    async def pieces(count):
        for _ in range(count):
            yield "x"

    before = resident(site)
    async with connect(site.websocket_url) as page:
        with contextlib.suppress(ConnectionClosed):
            await page.send(pieces(30_000))
        assert await end_of(page) in (1009, 1006)
    assert resident(site) - before < 40 << 20


@pytest.mark.fault("H5")
async def test_no_compression_is_negotiated_so_there_is_no_bomb_to_inflate(site):
    async with connect(site.websocket_url, compression="deflate") as page:
        assert page.response.headers.get("Sec-WebSocket-Extensions") is None


# H2 nonsense


def strict(text: str) -> Any:
    """What was said, which must be strict JSON. Raises ValueError."""
    return json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} was said"))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=20,
)
KEYS = st.fixed_dictionaries(
    {"type": st.sampled_from(["watch", "unwatch", "pong", "hello", ""]) | VALUES},
    optional={"job_id": st.text(max_size=300) | VALUES, "version": st.integers() | VALUES, "token": st.text() | VALUES},
)
RECEIVED = (
    (KEYS.map(json.dumps) | VALUES.map(json.dumps) | st.text(max_size=200)).map(lambda text: {"text": text})
    | st.binary(max_size=200).map(lambda data: {"bytes": data})
    | st.just({})
)


@pytest.mark.fault("H2")
@examples(80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(messages=st.lists(RECEIVED, max_size=12))
@example(messages=[{"text": text} for text in HOSTILE if isinstance(text, str)])
def test_a_socket_answers_anything_in_strict_json_and_harms_no_neighbour(memory, caplog, messages):
    asyncio.run(_fuzzed(messages))
    assert not caplog.records


async def _fuzzed(messages):
    forget_quotas()
    job = Process()
    job.enqueued()
    async with opened(job_id=job.job_id) as neighbour:
        await neighbour.hear()
        attacker = Attacker()
        for message in messages:
            attacker.send({"type": "websocket.receive", **message})
        await attacker.quiet()
        for text in attacker.said():
            assert strict(text)["type"] in ("hello", "error", "job", "current", "ping")
        assert not attacker.serving.done() or attacker.code == 4500
        job.started()
        assert (await neighbour.hear())["job"]["state"] == "running"
        await attacker.leave()
    await get_hub().lifetime.stop_and_wait()


class Attacker:
    """A socket whose every side is in our hands."""

    def __init__(self, user: Any = None) -> None:
        self.sent: list[dict[str, Any]] = []
        self._received: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.send({"type": "websocket.connect"})
        scope = {"type": "websocket", "path": "/ws/immortus/", "headers": [], "user": user or AnonymousUser()}
        self.serving = asyncio.create_task(JobConsumer()(scope, self._received.get, self._hear))

    def send(self, message: dict[str, Any]) -> None:
        self._received.put_nowait(message)

    async def _hear(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    def said(self) -> list[str]:
        return [message["text"] for message in self.sent if message["type"] == "websocket.send"]

    @property
    def code(self) -> int | None:
        return next((message["code"] for message in self.sent if message["type"] == "websocket.close"), None)

    async def quiet(self) -> None:
        """Until everything sent was taken, and nothing more is said."""
        before = -1
        while before != len(self.sent) or not (self._received.empty() or self.code):
            before = len(self.sent)
            await asyncio.sleep(0.05)

    async def leave(self) -> None:
        self.send({"type": "websocket.disconnect", "code": 1000})
        await asyncio.wait_for(self.serving, 5)


class Telling(TrackingStrategy):
    """Answers for any job, so that more of the view is reached."""

    def status(self, job_id):
        return ["finished", "what?", None, 7][len(job_id) % 4]

    def allows(self, user, job):
        return True


@pytest.fixture
def telling(memory, db, settings):
    settings.IMMORTUS_TRACKING_STRATEGY = Telling


PATHS = st.text(max_size=80) | st.sampled_from(["", "..", "a/b", "%00", "a.b:c~d@e_f-0", "x" * 300, "\ud800", "é\n"])
QUERIES = st.lists(st.tuples(st.sampled_from(["job_id", "job_class", "x"]), st.text(max_size=300)), max_size=110)
NAMES = st.sampled_from(["If-None-Match", "Authorization", "Accept", "Origin", "Cookie", "X-Forwarded-For", "Range"])
HEADERS = st.dictionaries(NAMES, st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=200), max_size=5)


@pytest.mark.fault("H2")
@pytest.mark.urls(__name__)
@examples(150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.tuples(PATHS, PATHS, QUERIES, HEADERS, st.sampled_from(["get", "head", "post", "options"])))
def test_verify_answers_any_request_and_never_with_an_error_of_ours(telling, caplog, asked):
    path, kind, query, headers, method = asked
    forget_quotas()
    safe = [quote(part, safe="", errors="replace") for part in (path, kind)]
    pairs = "&".join(f"{name}={quote(value, errors='replace')}" for name, value in query)
    for view in ("verify", "cancel"):
        for address in (view, f"{view}/{safe[0]}", f"{view}/{safe[0]}/{safe[1]}"):
            response = getattr(Browser(), method)(f"/immortus/{address}?{pairs}", headers=headers)
            assert response.status_code in (200, 202, 301, 304, 400, 401, 403, 404, 405, 409)
            if response.headers.get("Content-Type") == "application/json" and response.content:
                strict(response.content.decode())
    assert not [record for record in caplog.records if record.exc_info]


# H3 floods


@pytest.mark.fault("H3")
async def test_a_flood_of_frames_is_ended_and_a_neighbour_does_not_notice(in_process):
    job = Process()
    job.enqueued()
    async with opened() as neighbour:
        attackers = [Client() for _ in range(3)]
        for attacker in attackers:
            await attacker.connect()
            for number in range(3_000):
                await attacker.send_input(
                    {"type": "websocket.receive", "text": f'{{"type":"watch","job_id":"{number}"}}'}
                )
        waits = []
        for _ in range(20):
            began = time.monotonic()
            await neighbour.say(type="watch", job_id=job.job_id)
            assert (await neighbour.hear(5))["type"] == "job"
            waits.append(time.monotonic() - began)
        assert statistics.median(waits) < 0.1
        for attacker in attackers:
            assert await attacker.closed_with(5) == 4429


@pytest.mark.fault("H3")
async def test_a_flood_that_has_arrived_takes_turns_with_everybody_else(in_process):
    attacker, turns = Attacker(), 0
    for _ in range(10 * FRAMES_IN_A_TURN):
        attacker.send({"type": "websocket.receive", "text": '{"type":"pong"}'})
    while not attacker._received.empty():
        await asyncio.sleep(0)
        turns += 1
    assert turns >= 10
    await attacker.leave()


@pytest.mark.fault("H3")
async def test_watching_and_unwatching_one_job_over_and_over_leaves_nothing(in_process, layer):
    job = Process()
    job.enqueued()
    async with opened() as client:
        for _ in range(150):
            await client.say(type="watch", job_id=job.job_id)
            await client.say(type="unwatch", job_id=job.job_id)
        await until(lambda: not get_hub().table.jobs)
        assert len(get_hub().subscription._joined) <= 1
    assert len(asyncio.all_tasks()) < 20


# H4 sockets that say nothing


@pytest.mark.fault("H4")
async def test_the_server_ends_silent_sockets_and_bears_no_more_than_its_limit(in_process, settings):
    """Our protocol has no greeting to wait for: silence ends a socket, and there are only so many seats."""
    settings.IMMORTUS_LIMITS = {"sockets": 30}
    silent = [Client(limits=Limits(silence=0.5, ping=10)) for _ in range(40)]
    for client in silent:
        await client.connect()
    users = [Client(limits=Limits(silence=0.5, ping=10), user=logged_in(f"user {n}")) for n in range(8)]
    for client in users:
        await client.connect()
    codes = await asyncio.gather(*(client.closed_with(5) for client in silent))
    assert codes == [4012] * 24 + [4429] * 16
    assert [await client.closed_with(5) for client in users] == [4012] * 6 + [4429] * 2, (
        "these seats were kept for them"
    )
    await until(lambda: not quotas._sockets)


# H6 guessing


@pytest.mark.fault("H6")
@pytest.mark.urls(__name__)
def test_neither_the_answer_nor_its_time_tells_a_foreign_job_from_none(memory, db):
    foreign = Process("f" * 32, owner="4711")
    foreign.enqueued()
    browser, times = Browser(), {"f" * 32: [], "u" * 32: []}
    answers = set()
    for _ in range(150):
        for job_id in random.sample(sorted(times), 2):
            began = time.perf_counter()
            response = browser.get(f"/immortus/verify/{job_id}")
            times[job_id].append(time.perf_counter() - began)
            shape = tuple(sorted(response.headers.items()))
            answers.add((response.status_code, shape, response.content.replace(job_id.encode(), b"")))
    assert len(answers) == 1
    one, other = (statistics.median(taken) for taken in times.values())
    assert max(one, other) / min(one, other) < 1.5


@pytest.mark.fault("H6")
async def test_a_thousand_guesses_end_in_silence_and_one_line(in_process, unstored, caplog):
    eve, told = logged_in("eve"), 0
    for start in range(0, 1_000, 90):
        attacker = Attacker(eve)
        for number in range(start, start + 90):
            attacker.send({"type": "websocket.receive", "text": f'{{"type":"watch","job_id":"guess {number}"}}'})
        await attacker.quiet()
        told += sum("unknown_job" in text for text in attacker.said())
        await attacker.leave()
    assert told <= Limits().denials + protocol.MAX_JOBS
    assert sum("unknown or not theirs" in record.getMessage() for record in caplog.records) == 1
    assert "guess" not in caplog.text


# H7 origins


@pytest.mark.fault("H7")
@pytest.mark.parametrize(
    "origin",
    [None, "null", "http://evil.org", "http://example.com.evil.org", "http://sub.example.com", "https://example.com",
     "http://example.com:8080", "http://example.com.", "http://xn--exmple-cua.com", "http://example.com/",
     "http://evil.org\nhttp://example.com", ["http://evil.org", "http://example.com"]],
)  # fmt: skip
def test_no_other_origin_opens_a_socket_with_cookies(settings, origin):
    settings.ALLOWED_HOSTS = ["example.com"]
    sent = [] if origin is None else [origin] if isinstance(origin, str) else origin
    scope = {
        "scheme": "ws",
        "server": ("127.0.0.1", 80),
        "headers": [(b"host", b"example.com"), (b"cookie", b"sessionid=a")],
    }
    scope["headers"] += [(b"origin", one.encode("latin-1")) for one in sent]
    assert not origins.is_allowed(scope)
    scope["headers"] = [*scope["headers"][:2], (b"origin", b"http://EXAMPLE.com")]
    assert origins.is_allowed(scope), "the site's own is"


# H8 headers


def handshake(site: Site, *lines: bytes) -> bytes:
    """The first line of the answer to a handshake with these header lines; nothing where there is none."""
    with socket.create_connection(("127.0.0.1", site.port), timeout=1) as raw:
        head = [
            b"GET /ws/immortus/ HTTP/1.1",
            b"Host: 127.0.0.1:%d" % site.port,
            b"Upgrade: websocket",
            b"Connection: Upgrade",
            b"Sec-WebSocket-Version: 13",
            b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==",
        ]
        raw.sendall(b"\r\n".join([*head, *lines, b"", b""]))
        with contextlib.suppress(ConnectionError, TimeoutError):  # Uvicorn leaves some without an answer
            return raw.recv(4096).split(b"\r\n")[0]
    return b""


@pytest.mark.fault("H8")
@pytest.mark.parametrize("byte", [b"\x0b", b"\x0c", b"\x1c", b"\x1d", b"\x1e", b"\x85"])
def test_no_byte_in_a_header_makes_another_header_of_its_rest(site, byte):
    own = site.url.encode()
    assert b" 101 " in handshake(site, b"Origin: " + own, b"Cookie: sessionid=a") + b" "
    smuggled = handshake(site, b"Cookie: sessionid=a", b"X-Harmless: x" + byte + b"Origin: " + own)
    assert re.search(rb" 40[03] ", smuggled + b" ") or smuggled == b""


@pytest.mark.fault("H8")
def test_spoofed_repeated_and_very_many_headers_change_nothing(site):
    evil = (b"Origin: http://evil.org", b"Cookie: sessionid=a")
    for more in (
        [b"X_Forwarded_Host: evil.org", b"X-Forwarded-Host: evil.org"],
        [b"X-Forwarded-For: 1.2.3.4"] * 50,
        [b"Origin: " + site.url.encode()],
        [b"X-%d: y" % number for number in range(1_000)],
    ):
        answer = handshake(site, *evil, *more)
        assert b" 101 " not in answer + b" "
    assert b" 101 " in handshake(site, b"Origin: " + site.url.encode()) + b" "


# H9 other sites and caches


@pytest.mark.fault("H9")
def test_no_answer_may_be_read_by_another_site_or_kept_by_a_cache(site):
    asked = [
        httpx.request(method, f"{site.url}/immortus/{path}", headers={"Origin": "http://evil.org", **headers})
        for method, path, headers in (
            ("GET", "verify/a", {}),
            ("GET", "verify?job_id=a", {}),
            ("POST", "cancel/a", {}),
            ("POST", "token", {"Authorization": "Bearer immortus.x"}),
            ("OPTIONS", "cancel/a", {"Access-Control-Request-Method": "POST"}),
            ("OPTIONS", "verify/a", {"Access-Control-Request-Headers": "authorization"}),
        )
    ]
    for response in asked:
        assert not [name for name in response.headers if name.startswith("access-control-")]
        assert response.headers["cache-control"] == "private, no-store"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["content-type"] == "application/json"
        assert {"Cookie", "Authorization"} <= set(response.headers["vary"].split(", "))
    assert [response.status_code for response in asked] == [404, 200, 404, 404, 405, 405]


# H11 and H12: whoever can write to the channel layer


@pytest.mark.redis
@pytest.mark.fault("H11")
async def test_messages_written_by_hand_only_have_rights_asked_for_again(in_process, layer, caplog):
    job, other = Process(owner=str(logged_in("alice").pk)), Process(owner="4711")
    document = job.enqueued()
    other.enqueued()
    hub, page = get_hub(), Page(logged_in("alice"))
    await hub.watch(page, job.job_id)
    await until(lambda: hub.subscription.joined.get(job.job_id))
    await asyncio.sleep(0.5)
    honest = Push.of(document).to_message()
    for message in (
        {"type": "websocket.disconnect", "code": 4500},
        {"type": "websocket.send", "text": "owned"},
        {"type": MESSAGE_TYPE, "job_id": job.job_id, "version": 2**60, "event": "meta", "text": "x" * 10_000_000},
        {**honest, "version": honest["version"] + 1},
        {**honest, "text": other.enqueued(push=False).text},
        {**honest, "text": "[" * 60_000},
        Push.of(replace(document, version=document.version + 86_400_000_000)).to_message(),
        Push.of(replace(document, state=State.FINISHED, version=document.version + 1)).to_message(),
        {"type": "immortus.access", "user": str(page.user.pk)},
        {"type": "immortus.access", "user": ""},
        {"type": "immortus.access", "user": ["x"]},
        {"type": "immortus.access", "job_id": job.job_id, "grant": True},
    ):
        await layer.group_send(group_name(job.job_id), message)
    running = await asyncio.to_thread(job.started)
    await until(lambda: page.versions[-1] == running.version)
    await until(lambda: caplog.records)
    await asyncio.sleep(0.5)  # for what comes after the message that is logged
    assert len(page.frames) == 2
    assert page.closed is None
    assert page.over == []
    assert ["far ahead of this host's clock" in record.getMessage() for record in caplog.records] == [True]


@pytest.mark.redis
@pytest.mark.fault("H12")
async def test_bytes_that_are_no_message_are_logged_once_and_the_page_goes_on(
    in_process, layer, redis_server, caplog, settings
):
    settings.IMMORTUS_RECHECK_INTERVAL = 0.5
    job = Process()
    job.enqueued()
    hub, page = get_hub(), Page()
    await hub.watch(page, job.job_id)
    await until(lambda: hub.subscription.joined.get(job.job_id))
    await asyncio.sleep(0.3)
    with Redis.from_url(redis_server.url) as redis:
        for garbage in (b"\xc1", b"\xdd\xff\xff\xff\xff", b"\x93" * 200, b"\x81\xa1x\xc4", os.urandom(64)):
            for key in redis.pubsub_channels("*") or []:
                redis.publish(key, garbage)
            for key in redis.keys("*specific*"):
                if redis.type(key) == b"zset":
                    redis.zadd(key, {os.urandom(12) + garbage: time.time()})
    running = await asyncio.to_thread(job.started)
    await until(lambda: page.versions[-1:] == [running.version])
    told = [record for record in caplog.records if "Listening to the channel layer fails" in record.getMessage()]
    assert len(told) <= 2
    assert page.closed is None
