"""Servers end, die, freeze, fill up and meet errors of their own; every page comes back to the truth (S1 to S8)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
import time
from collections import Counter
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from immortus_channels import metrics
from immortus_channels.websocket.consumer import INTERNAL_ERROR, JobConsumer
from immortus_channels.websocket.hub import get_hub
from immortus_channels.websocket.outbox import Outbox
from immortus_channels.websocket.watches import Watches
from tests.pages import Process, until
from tests.servers import RedisServer
from tests.site import Process as Program
from tests.site import Site, redis_options
from tests.websocket.test_consumer import Client, opened

SERVERS = ("uvicorn", "daphne")
SOCKETS = 200
DRAIN = 3


class Pages:
    """Many pages that follow one job each, as the browser client does: they come back when told, or with backoff."""

    def __init__(self, *sites: Site) -> None:
        self.urls = [site.websocket_url for site in sites]
        self.documents: dict[int, list[dict[str, Any]]] = {}
        self.connects: list[float] = []
        self.byes: list[float] = []
        self.codes: Counter[int | None] = Counter()
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, job_ids: list[str]) -> None:
        """Open a page for each job, and wait until each has shown something."""
        for number, job_id in enumerate(job_ids):
            self.documents[number] = []
            self._tasks.append(asyncio.create_task(self._live(number, job_id)))
        await until(lambda: all(self.documents.values()), within=30)
        self.connects.clear()

    async def close(self) -> None:
        """Let the pages whose job is over close their sockets, and end the others."""
        await asyncio.wait(self._tasks, timeout=5)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0.1)  # transports take another round of the loop to close

    @property
    def ended(self) -> int:
        return sum(seen[-1]["state"] == "finished" for seen in self.documents.values())

    def told_right(self) -> bool:
        """Whether no page ever went back, and each was told of one end."""
        for seen in self.documents.values():
            versions = [document["version"] for document in seen]
            assert versions == sorted(set(versions))
            assert [document["completed"] for document in seen].count(True) == 1
        return True

    async def _live(self, number: int, job_id: str) -> None:
        failures, turn = 0, number
        while True:
            try:
                after = await self._follow(self.urls[turn % len(self.urls)], number, job_id)
            except (OSError, InvalidHandshake, TimeoutError):
                failures += 1
                after = random.uniform(0, min(0.2 * 2**failures, 2))
            else:
                failures = 0
                if after is None:
                    return
            turn += 1
            await asyncio.sleep(after)

    async def _follow(self, url: str, number: int, job_id: str) -> float | None:
        """Follow the job on one socket; seconds until the next one, None when the job is over."""
        seen = self.documents[number]
        async with connect(url, open_timeout=10, close_timeout=1) as socket:
            self.connects.append(time.monotonic())
            version = seen[-1]["version"] if seen else 0
            await socket.send(json.dumps({"type": "watch", "job_id": job_id, "version": version}))
            bye = None
            try:
                async for text in socket:
                    frame = json.loads(text)
                    match frame["type"]:
                        case "job" if not seen or frame["job"]["version"] > seen[-1]["version"]:
                            seen.append(frame["job"])
                        case "ping":
                            await socket.send('{"type": "pong"}')
                        case "bye":
                            bye = frame["after_ms"] / 1000
                            self.byes.append(bye)
                    if seen and seen[-1]["state"] == "finished":
                        return None
            except ConnectionClosed:
                pass
            code = socket.protocol.close_rcvd
            self.codes[None if code is None else code.code] += 1
            return random.uniform(0, 0.3) if bye is None else bye


class Farm:
    """Two web servers of one site, of which each may be harmed; the next test finds them as good as new."""

    def __init__(self, one: Site, another: Site) -> None:
        self.sites = one, another

    def ready(self, *, files: int = 1024, **settings: Any) -> tuple[Site, Site]:
        """Both sites, running, with room for so many files; the first one with these settings."""
        for site, wanted in zip(self.sites, (settings, {}), strict=True):
            environ = {"LIMIT_FILES": str(files), "SETTINGS": json.dumps({"IMMORTUS_DRAIN": DRAIN, **wanted})}
            web = site.processes[-1] if site.processes else None
            if web is not None and web.is_running and environ.items() <= site.env.items():
                continue
            if web is not None:
                web.kill()
            site.env |= environ
            site.start_web()
        return self.sites


@pytest.fixture(scope="module", params=SERVERS)
def farm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Any:
    """Servers of this kind."""
    var = tmp_path_factory.mktemp(request.param)
    options = redis_options(redis_server.url, store=True)
    sites = [Site(var, server=request.param, **options) for _ in range(2)]
    sites[0].migrate()
    yield Farm(*sites)
    for site in sites:
        site.close()


@pytest.fixture
def as_worker(settings: Any, redis_server: RedisServer) -> None:
    """This process is a worker of the site."""
    settings.SECRET_KEY = "a key for tests only"
    environ = redis_options(redis_server.url, store=True)
    settings.CHANNEL_LAYERS = {"default": json.loads(environ["LAYER"])}
    settings.IMMORTUS_STORE = json.loads(environ["STORE"])


async def started(count: int) -> list[Process]:
    """So many running jobs."""

    def start() -> list[Process]:
        jobs = [Process() for _ in range(count)]
        for job in jobs:
            job.enqueued()
            job.started()
        return jobs

    return await asyncio.to_thread(start)


async def finished(jobs: list[Process]) -> None:
    await asyncio.to_thread(lambda: [job.finished() for job in jobs])


# S1, a server is stopped


@pytest.mark.redis
@pytest.mark.fault("S1")
@pytest.mark.slow
async def test_a_server_that_is_stopped_sends_its_pages_away_spread_over_time(farm, as_worker):
    old, new = farm.ready()
    jobs = await started(5)
    pages = Pages(old)
    await pages.open([jobs[n % 5].job_id for n in range(SOCKETS)])
    pages.urls = [new.websocket_url]
    began = time.monotonic()
    old.processes[-1]._popen.terminate()
    await asyncio.sleep(DRAIN / 2)
    await finished(jobs[:2])  # while some are away and some are back
    await until(lambda: len(pages.connects) >= SOCKETS * 0.6, within=DRAIN + 10)
    await finished(jobs[2:])
    await until(lambda: pages.ended == SOCKETS, within=DRAIN + 15)
    await pages.close()
    assert old.processes[-1]._popen.wait(10) is not None
    assert pages.told_right()
    assert (len(pages.byes), pages.codes[4001]) == (SOCKETS, SOCKETS), pages.codes
    assert max(pages.connects) - began < DRAIN + 10
    per_second = Counter(int(bye) for bye in pages.byes)
    assert max(per_second.values()) <= 1.5 * SOCKETS / DRAIN
    assert len(pages.connects) == SOCKETS, "each came back once"


@pytest.mark.redis
@pytest.mark.fault("S1", twin=True)
@pytest.mark.slow
async def test_without_the_drain_all_pages_are_cut_in_one_moment(farm, as_worker):
    old, new = farm.ready(IMMORTUS_DRAIN=0)
    jobs = await started(1)
    pages = Pages(old)
    await pages.open([jobs[0].job_id] * 50)
    pages.urls = [new.websocket_url]
    old.processes[-1]._popen.terminate()
    await until(lambda: len(pages.connects) == 50, within=15)
    await finished(jobs)
    await until(lambda: pages.ended == 50, within=10)
    await pages.close()
    assert pages.byes == []
    assert pages.codes == Counter({1012 if old.server == "uvicorn" else None: 50})
    assert max(pages.connects) - min(pages.connects) < DRAIN / 2 + 1, "nobody told them to spread"


# S2, a server is killed


@pytest.mark.redis
@pytest.mark.fault("S2")
@pytest.mark.slow
async def test_a_server_that_is_killed_loses_no_end(farm, as_worker):
    old, new = farm.ready()
    jobs = await started(4)
    pages = Pages(old)
    await pages.open([jobs[n % 4].job_id for n in range(40)])
    await asyncio.to_thread(old.processes[-1].kill)
    await finished(jobs[:2])  # nobody is there to hear
    pages.urls = [new.websocket_url]
    killed = time.monotonic()
    await until(lambda: len(pages.connects) == 40, within=15)
    await finished(jobs[2:])
    await until(lambda: pages.ended == 40, within=15)
    healed = time.monotonic() - killed
    await pages.close()
    assert pages.told_right()
    assert pages.codes == Counter({None: 40}), "no server said goodbye"
    assert healed < 15


# S3, all servers in turn, twice


@pytest.mark.soak
@pytest.mark.redis
@pytest.mark.fault("S3")
async def test_rolling_all_servers_twice_costs_each_page_few_sockets(farm, as_worker):
    sites = farm.ready()
    jobs = await started(5)
    pages = Pages(*sites)
    await pages.open([jobs[n % 5].job_id for n in range(100)])
    for _ in range(2):
        for site in sites:
            web: Program = site.processes[-1]
            pages.urls = [other.websocket_url for other in sites if other is not site]
            await asyncio.to_thread(web.stop)
            await asyncio.to_thread(site.start_web)
            pages.urls = [other.websocket_url for other in sites]
            await asyncio.sleep(DRAIN + 2)
    connects = len(pages.connects)
    await finished(jobs)
    await until(lambda: pages.ended == 100, within=15)
    await pages.close()
    assert pages.told_right()
    assert connects <= 2 * 2 * 100, "two sockets for each page and roll, at most"
    assert set(pages.codes) == {4001}


# S4, a server is frozen


@pytest.mark.redis
@pytest.mark.fault("S4")
@pytest.mark.slow
async def test_a_server_that_was_frozen_tells_what_it_missed_when_it_thaws(farm, as_worker):
    frozen, _ = farm.ready()
    jobs = await started(2)
    pages = Pages(frozen)
    await pages.open([jobs[n % 2].job_id for n in range(20)])
    frozen.processes[-1].signal_all(signal.SIGSTOP)
    try:
        await finished(jobs)
        await asyncio.sleep(3)
        assert pages.ended == 0
    finally:
        frozen.processes[-1].signal_all(signal.SIGCONT)
    await until(lambda: pages.ended == 20, within=6)
    await pages.close()
    assert pages.told_right()
    assert pages.connects == [], "on the same sockets"


# S5, errors of our own


@pytest.fixture
def _memory(settings):
    settings.IMMORTUS_STORE = {"BACKEND": "memory"}
    settings.IMMORTUS_RECHECK_INTERVAL = 60


def failing_once(monkeypatch, part, method):
    """The consumer's method raises when it is next called."""
    real, calls = getattr(part, method), []

    def fail(self, *args, **kwargs):
        calls.append(self)
        if len(calls) == 1:
            msg = f"{method} is broken"
            raise RuntimeError(msg)
        return real(self, *args, **kwargs)

    monkeypatch.setattr(part, method, fail)


@pytest.mark.fault("S5")
@pytest.mark.parametrize(
    ("part", "method"),
    [
        *((JobConsumer, name) for name in ("_obey", "_complain")),
        *((Outbox, name) for name in ("_next_frame", "tell", "_wait")),
        *((Watches, name) for name in ("begin", "end")),
    ],
)
@pytest.mark.usefixtures("_memory")
async def test_an_error_anywhere_in_a_socket_closes_it_and_leaves_nothing_behind(part, method, monkeypatch, caplog):
    hub, job = get_hub(), Process()
    job.enqueued()
    open_before = metrics.SOCKETS.read()
    try:
        async with opened(job_id=job.job_id) as bystander:
            await bystander.hear_until("job")
            failing_once(monkeypatch, part, method)
            broken = Client()
            await broken.connect()
            await broken.say(type="watch", job_id=job.job_id)
            await asyncio.sleep(0.1)
            await broken.say(type="nonsense")
            await broken.say(type="unwatch", job_id=job.job_id)
            assert await broken.closed_with() == INTERNAL_ERROR
            await until(broken.future.done)
            assert len(hub.table.jobs[job.job_id].sent) == 1
            running = job.started()
            assert (await bystander.hear_until("job"))["job"]["version"] == running.version
        await until(lambda: not hub.table.jobs)
        assert metrics.SOCKETS.read() == open_before
    finally:
        await hub.lifetime.stop_and_wait()
    assert [record.message for record in caplog.records] == ["A socket met an error it does not know"]


@pytest.mark.redis
@pytest.mark.fault("S5")
@pytest.mark.usefixtures("_memory")
async def test_a_thousand_sockets_that_come_and_go_leave_nothing_behind(redis_server, settings):
    settings.CHANNEL_LAYERS = {"default": json.loads(redis_options(redis_server.url)["LAYER"])}
    hub, job = get_hub(), Process()
    job.enqueued()
    watches = metrics.WATCHES.read()

    async def visit(number):
        client = Client(job_id=job.job_id)
        await client.connect()
        if number % 3:
            await client.hear_until("job", within=5)
        await client.disconnect()

    try:
        for start in range(0, 1000, 50):
            await asyncio.gather(*(visit(start + n) for n in range(50)))
        await until(lambda: not hub.table.jobs)
        await until(lambda: len(asyncio.all_tasks()) <= 10)  # the hub's own, the layer's and this test
        await until(lambda: job.job_id not in hub.subscription.joined)
        assert metrics.WATCHES.read() == watches
    finally:
        await hub.lifetime.stop_and_wait()


# S6, a blocked event loop


@pytest.mark.fault("S6")
@pytest.mark.usefixtures("_memory")
@pytest.mark.slow
async def test_a_loop_that_stood_still_for_seconds_disconnects_nobody():
    jobs = [Process() for _ in range(20)]
    for job in jobs:
        job.enqueued()
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(opened(job_id=job.job_id)) for job in jobs]
        for client in clients:
            await client.hear_until("job")
        time.sleep(3)  # noqa: ASYNC251 - that is the fault
        for job, client in zip(jobs, clients, strict=True):
            running = job.started()
            assert (await client.hear_until("job"))["job"]["version"] == running.version
    await get_hub().lifetime.stop_and_wait()


# S7, no more file descriptors


@pytest.mark.redis
@pytest.mark.fault("S7")
@pytest.mark.slow
async def test_a_server_that_can_take_no_more_sockets_serves_those_it_has(farm, as_worker):
    site, _ = farm.ready(files=80)
    (job,) = await started(1)
    pages = Pages(site)
    await pages.open([job.job_id] * 5)
    strangers = [await asyncio.open_connection("127.0.0.1", site.port) for _ in range(80)]
    with pytest.raises((OSError, InvalidHandshake)):
        await connect(site.websocket_url, open_timeout=2)
    await asyncio.to_thread(job.reported, 1)
    await until(lambda: all(seen[-1]["current"] == 1 for seen in pages.documents.values()), within=10)
    for _, writer in strangers:
        writer.close()
        await writer.wait_closed()
    async with connect(site.websocket_url, open_timeout=10) as page:
        assert json.loads(await page.recv())["type"] == "hello"
    await finished([job])
    await until(lambda: pages.ended == 5, within=10)
    await pages.close()
    assert pages.told_right()
    assert pages.connects == []


# S8, clients of another age


@pytest.mark.fault("S8")
@pytest.mark.usefixtures("_memory")
async def test_a_client_of_another_age_is_served_what_both_know():
    job = Process()
    job.enqueued()
    async with opened(subprotocols=["immortus.v9", "immortus.v1"]) as newer:
        await newer.say(type="resume", cursors={"a": 1})
        assert (await newer.hear())["code"] == "bad_message"
        await newer.say(type="watch", job_id=job.job_id, version=0, since="yesterday", epoch=4)
        assert (await newer.hear())["job"]["job_id"] == job.job_id
    stranger = Client(subprotocols=["immortus.v9"])
    assert await stranger.connect() == (True, None), "a browser then fails the socket, and its page polls"
    await stranger.disconnect()
    await get_hub().lifetime.stop_and_wait()
