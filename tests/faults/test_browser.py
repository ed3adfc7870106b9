"""Chromium behind a proxy that misbehaves, and pages that sleep, hide and come back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page
from redis import Redis

from immortus_channels.jobs.job import Job
from immortus_channels.push.layer import group_name
from immortus_channels.testing import Answer, Faults
from tests.chromium import chromium
from tests.pages import Process
from tests.servers import RedisServer
from tests.site import Site, redis_options, running_site
from tests.toys import eventually

pytestmark = [pytest.mark.browser, pytest.mark.redis, pytest.mark.slow]

NO_UPGRADES = Faults(answer=Answer(404))
LOGIN = b"<!doctype html><title>Log in</title><form method=post><input type=password>"

FOLLOW = """
(jobs) => {
  window.told = [];
  window.transports = [];
  window.addEventListener("immortus:transport", ({ detail }) => transports.push(detail.transport));
  const real = window.fetch;
  window.asked = 0;
  window.fetch = (...given) => { window.asked += 1; return real(...given); };
  for (const job of jobs) {
    const note = (how) => ({ version, error }) => told.push({ how, version, code: error?.code });
    Immortus.verify(job).then(note("done"), note("failed"), note("progress"));
  }
}
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium(whole=True, ignore_default_args=["--disable-back-forward-cache"]) as browser:
        yield browser


@pytest.fixture(scope="module", params=["uvicorn"])
def _site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer
) -> Iterator[Site]:
    options = redis_options(redis_server.url, store=True)
    with running_site(tmp_path_factory.mktemp("site"), server=request.param, **options) as site:
        yield site


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context()
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


class Worker:
    """A job as another process tells of it; in a thread, because Playwright's event loop runs in ours."""

    def __init__(self) -> None:
        self.thread = ThreadPoolExecutor(1)
        self.job = Process()
        self.step = 0
        self._do(self.job.enqueued)
        self.last = self._do(self.job.started)

    def report(self, message: str = "") -> Job:
        self.step += 1
        self.last = self._do(lambda: self.job.reported(self.step, message))
        return self.last

    def finish(self) -> Job:
        self.last = self._do(self.job.finished)
        return self.last

    def _do(self, call: Callable[[], Job]) -> Job:
        return self.thread.submit(call).result(10)


def listeners(server: RedisServer, worker: Worker) -> int:
    """How many servers listen for pushes about the job."""
    with Redis.from_url(server.url) as redis:
        channels = redis.pubsub_channels(f"*{group_name(worker.job.job_id)}*")
        return sum(count for _, count in redis.pubsub_numsub(*channels)) if channels else 0


@pytest.fixture
def job(site: Site) -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.thread.shutdown()


def follow(page: Page, url: str, *jobs: Worker, clock: bool = False) -> None:
    """Open a page and follow the jobs on it; with `clock`, on a clock that the test can move."""
    if clock:
        page.clock.install()
    page.goto(f"{url}/page")
    page.evaluate(FOLLOW, [{"job_id": worker.job.job_id} for worker in jobs])


def shows(page: Page, job: Job, within: float = 5.0) -> float:
    """Wait until the page was told this version; the seconds it took."""
    began = time.monotonic()
    page.wait_for_function(
        f"told.some(({{ version }}) => version === {job.version})", timeout=within * 1000, polling=20
    )
    return time.monotonic() - began


def told(page: Page) -> list[dict[str, Any]]:
    """Everything the callbacks were called with; each document newer than the one before, the end once."""
    all_told: list[dict[str, Any]] = page.evaluate("told")
    versions = [one["version"] for one in all_told if one["version"]]
    assert versions == sorted(set(versions))
    assert [one["how"] for one in all_told].count("done") <= 1
    return all_told


def transport(page: Page, wanted: str, within: float = 5.0) -> None:
    page.wait_for_function(f"transports.at(-1) === '{wanted}'", timeout=within * 1000, polling=20)


def ends_well(page: Page, job: Worker, within: float = 5.0) -> None:
    shows(page, job.report(), within)
    shows(page, job.finish(), within)
    assert told(page)[-1]["how"] == "done"


# Upgrades that fail

REFUSALS = {
    "400": Faults(answer=Answer(400)),
    "426": Faults(answer=Answer(426)),
    "503": Faults(answer=Answer(503, b"", {"Retry-After": "1"})),
    "200 and a page": Faults(answer=Answer(200, LOGIN, {"Content-Type": "text/html"})),
    "a reset": Faults(refuse=True),
}


@pytest.mark.fault("N6")
@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_refused_upgrade_does_not_delay_the_state_and_leads_to_polling(page, proxy, job, refusal):
    proxy.upgrades = REFUSALS[refusal]
    follow(page, proxy.url, job)
    shows(page, job.last, within=2)
    transport(page, "polling", within=6)
    ends_well(page, job)
    assert proxy.counts["upgrades"] <= 2


@pytest.mark.fault("N7")
def test_where_an_upgrade_hangs_polling_starts_without_waiting_for_it(page, proxy, job):
    proxy.upgrades = Faults(hang=True)
    follow(page, proxy.url, job)
    shows(page, job.last, within=2)
    transport(page, "polling", within=5)
    ends_well(page, job)


@pytest.mark.fault("N8")
@pytest.mark.parametrize("age", [0.05, 0.2, 1.0])
def test_sockets_that_open_and_die_do_not_make_a_page_flap(page, proxy, job, age):
    proxy.upgrades = Faults(kill_after=age)
    follow(page, proxy.url, job)
    for _ in range(4):
        shows(page, job.report(), within=3)
        time.sleep(0.6)
    assert proxy.counts["upgrades"] <= 6
    ends_well(page, job)


@pytest.mark.fault("N9")
@pytest.mark.parametrize("way", ["up", "down"])
def test_through_a_socket_that_carries_one_way_only_the_page_is_polled(page, proxy, job, way):
    proxy.upgrades = Faults(blackhole=way)
    follow(page, proxy.url, job)
    shows(page, job.last, within=2)
    shows(page, job.report(), within=5)
    ends_well(page, job)


@pytest.mark.fault("N12")
def test_where_a_proxy_takes_the_subprotocol_away_the_page_is_right(page, proxy, job):
    proxy.upgrades = Faults(strip=("Sec-WebSocket-Protocol",))
    follow(page, proxy.url, job)
    shows(page, job.last, within=2)
    transport(page, "polling", within=6)
    ends_well(page, job)


# Slow and odd HTTP


@pytest.mark.fault("N10")
def test_a_proxy_that_holds_small_answers_back_delays_no_page(page, proxy, job):
    proxy.faults, proxy.upgrades = Faults(hold_bytes=64 * 1024, hold_seconds=30), NO_UPGRADES
    follow(page, proxy.url, job)
    transport(page, "polling", within=6)
    assert shows(page, job.report()) < 3
    ends_well(page, job)


@pytest.mark.fault("N11")
def test_a_busy_slow_line_is_not_taken_for_dead_while_bytes_arrive(page, proxy, site):
    jobs = [Worker() for _ in range(8)]
    last = [job.report("x" * 20_000) for job in jobs]
    proxy.upgrades = Faults(bandwidth=50_000)
    follow(page, proxy.url, *jobs)
    transport(page, "websocket")
    for _ in range(2):
        last = [job.report("y" * 20_000) for job in jobs]
    for job in last:
        shows(page, job, within=20)
    assert proxy.counts["upgrades"] == 1
    for job in jobs:
        job.thread.shutdown()


ANSWERS = {
    "401": (Answer(401, b"{}", {"Content-Type": "application/json"}), "login_required"),
    "403": (Answer(403, LOGIN, {"Content-Type": "text/html"}), "login_required"),
    "404": (Answer(404, b"no such page"), "unknown_job"),
    "500": (Answer(500, LOGIN, {"Content-Type": "text/html"}), "http_500"),
    "200 and a page": (Answer(200, LOGIN, {"Content-Type": "text/html"}), "login_required"),
    "a redirect to the login": (Answer(302, b"", {"Location": "/log-in/ann"}), "login_required"),
}


@pytest.mark.fault("N13")
@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_that_is_no_state_is_never_shown_as_one(page, proxy, job, answer):
    proxy.upgrades = NO_UPGRADES
    follow(page, proxy.url, job)
    shows(page, job.last)
    proxy.faults = Faults(answer=ANSWERS[answer][0])
    if answer == "404":  # it was seen, so it is given half a minute
        time.sleep(1)
        assert told(page)[-1]["how"] == "progress"
        proxy.faults = Faults()
        ends_well(page, job)
        return
    page.wait_for_function("told.at(-1).how === 'failed'", timeout=5000)
    assert told(page)[-1]["code"] == ANSWERS[answer][1]


@pytest.mark.fault("N13")
@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_is_busy_is_asked_again_when_it_wants(page, proxy, job, status):
    proxy.upgrades = NO_UPGRADES
    follow(page, proxy.url, job)
    shows(page, job.last)
    transport(page, "polling", within=6)
    proxy.faults = Faults(answer=Answer(status, b"", {"Retry-After": "2"}))
    assert eventually(lambda: proxy.counts["answered"] > proxy.counts["upgrades"])
    proxy.faults = Faults()
    asked, began = page.evaluate("asked"), time.monotonic()
    assert shows(page, job.report()) > 1
    assert time.monotonic() - began < 5
    assert page.evaluate("asked") - asked <= 2
    ends_well(page, job)


@pytest.mark.fault("N14")
def test_a_polled_page_goes_back_to_a_socket_when_one_gets_through(page, proxy, job):
    proxy.upgrades = NO_UPGRADES
    follow(page, proxy.url, job, clock=True)
    transport(page, "polling", within=6)
    proxy.upgrades = None
    page.clock.fast_forward(90_000)
    transport(page, "websocket", within=6)
    shows(page, job.report())
    asked = page.evaluate("asked")
    time.sleep(1.2)
    shows(page, job.report())
    assert page.evaluate("asked") == asked, "one transport at a time"
    ends_well(page, job)


# The life of a browser


@pytest.mark.fault("B1")
@pytest.mark.parametrize("minutes", [10, 480])
def test_a_waking_laptop_is_right_although_its_socket_died_in_its_sleep(page, proxy, job, minutes):
    follow(page, proxy.url, job, clock=True)
    transport(page, "websocket")
    proxy.upgrades = Faults(blackhole="both")
    changed = job.report()
    page.clock.fast_forward(minutes * 60_000)
    assert shows(page, changed, within=6) < 5, "a second until it knows, two until the socket is given up"
    assert eventually(lambda: proxy.counts["upgrades"] >= 2), "it tries another socket"
    proxy.upgrades = None
    transport(page, "websocket", within=10)
    ends_well(page, job)


@pytest.mark.fault("B1")
def test_a_frozen_page_is_right_a_moment_after_it_thaws(context, page, proxy, job):
    follow(page, proxy.url, job)
    transport(page, "websocket")
    cdp = context.new_cdp_session(page)
    cdp.send("Page.setWebLifecycleState", {"state": "frozen"})
    for _ in range(5):
        job.report()
    time.sleep(1)
    cdp.send("Page.setWebLifecycleState", {"state": "active"})
    assert shows(page, job.last) < 2
    ends_well(page, job)


HIDE = """
(hidden) => {
  Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
  document.dispatchEvent(new Event("visibilitychange"));
}
"""


@pytest.mark.fault("B2")
@pytest.mark.parametrize("pushed", [True, False])
def test_a_hidden_page_follows_by_its_socket_and_is_right_once_it_is_seen(page, proxy, job, pushed):
    proxy.upgrades = None if pushed else NO_UPGRADES
    follow(page, proxy.url, job)
    transport(page, "websocket" if pushed else "polling", within=6)
    page.evaluate(HIDE, arg=True)
    time.sleep(0.6)
    asked = page.evaluate("asked")
    changed = job.report()
    if pushed:
        shows(page, changed, within=2)
    else:
        time.sleep(1.5)
        assert page.evaluate("asked") - asked <= 1, "it is polled every five seconds"
    page.evaluate(HIDE, arg=False)
    assert shows(page, job.report()) < 2
    ends_well(page, job)


@pytest.mark.fault("B3")
def test_a_page_from_the_back_forward_cache_is_right_and_has_one_socket(page, proxy, job, redis_server):
    follow(page, proxy.url, job)
    transport(page, "websocket")
    page.evaluate("window.addEventListener('pageshow', ({ persisted }) => { window.persisted = persisted; })")
    page.goto("about:blank")
    assert eventually(lambda: not listeners(redis_server, job)), "a page in the cache holds no socket"
    changed = job.report()
    page.go_back(wait_until="commit")
    assert page.evaluate("window.persisted") is True
    assert shows(page, changed) < 3
    transport(page, "websocket")
    assert proxy.counts["upgrades"] == 2
    ends_well(page, job)


@pytest.mark.fault("B4")
def test_a_network_that_comes_and_goes_leaves_one_socket(context, page, proxy, job):
    follow(page, proxy.url, job)
    transport(page, "websocket")
    for _ in range(20):
        context.set_offline(offline=True)
        time.sleep(0.03)
        context.set_offline(offline=False)
        time.sleep(0.03)
    shows(page, job.report(), within=6)
    time.sleep(1)
    shows(page, job.report())
    assert proxy.counts["upgrades"] <= 22
    assert proxy.open <= 2, "one socket, perhaps one request"
    ends_well(page, job)


@pytest.mark.fault("B5")
def test_twenty_tabs_of_one_person_are_all_right(context, proxy, job, redis_server):
    pages = [context.new_page() for _ in range(20)]
    for page in pages:
        follow(page, proxy.url, job)
    for page in pages:
        transport(page, "websocket", within=10)
    assert listeners(redis_server, job) == 1, "the server listens once"
    last = job.finish()
    for page in pages:
        shows(page, last)
        assert told(page)[-1]["how"] == "done"
