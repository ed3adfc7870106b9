"""Wherever WebSockets fail, the same callbacks are called with the same documents, by polling."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from immortus_channels.testing import Answer, Faults, FaultyProxy
from tests.servers import RedisServer
from tests.site import Site, redis_options, running_site

pytestmark = [pytest.mark.browser, pytest.mark.redis, pytest.mark.slow]

FOLLOW = """
(job) => new Promise((settled) => {
  const told = [];
  const began = performance.now();
  const note = (how) => (document) => told.push({how, document, at: performance.now() - began});
  Immortus.verify(job, {polling: {interval: 400}})
    .then(note("done"), note("failed"), note("progress"))
    .then(() => setTimeout(() => settled(told), 1000));
})
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Iterator[Site]:
    options = redis_options(redis_server.url) | {"BROKER_URL": f"{redis_server.url[:-1]}8"}
    with running_site(tmp_path_factory.mktemp("site"), **options) as site:
        site.start_worker()
        yield site


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    yield context.new_page()
    context.close()


def followed(site: Site, page: Page, url: str, then: Callable[[], None] = lambda: None) -> list[dict[str, Any]]:
    """What the callbacks of a four second job were told on a page that came from `url`; `then` something happened."""
    page.goto(f"{url}/page")
    then()
    job_id = site.start("steps", kwargs={"count": 20, "pause": 0.2})
    told: list[dict[str, Any]] = page.evaluate(FOLLOW, {"job_id": job_id})
    assert [one["how"] for one in told].count("done") == 1
    assert told[-1]["how"] == "done"
    assert told[-1]["document"] == site.verify(job_id)
    assert told[0]["at"] < 3000
    versions = [one["document"]["version"] for one in told]
    assert versions == sorted(set(versions))
    return told


FAULTS = {
    "answered 403": Faults(answer=Answer(403)),
    "answered 404": Faults(answer=Answer(404)),
    "answered 502": Faults(answer=Answer(502)),
    "hangs": Faults(hang=True),
    "opens and dies at once": Faults(kill_after=0),
}


@pytest.mark.case(29)
@pytest.mark.fault("N6")
@pytest.mark.fault("N7")
@pytest.mark.fault("N8")
@pytest.mark.parametrize("fault", FAULTS)
def test_where_the_upgrade_fails_the_job_is_polled(site: Site, page: Page, fault: str) -> None:
    asked: list[float] = []
    with FaultyProxy(site.port, upgrades=FAULTS[fault]) as proxy:
        page.on("request", lambda request: "verify" in request.url and asked.append(request.timing["startTime"]))
        told = followed(site, page, proxy.url)
        assert proxy.counts["upgrades"] >= 1
    assert len({one["document"]["percentage"] for one in told}) >= 3


@pytest.mark.case(29)
def test_a_browser_without_websocket_polls_at_the_interval_asked_for(site: Site, page: Page) -> None:
    page.add_init_script("delete window.WebSocket; window.asked = []")
    page.add_init_script(
        "const real = window.fetch;"
        "window.fetch = (...given) => { window.asked.push(performance.now()); return real(...given) }"
    )
    told = followed(site, page, site.url)
    assert len({one["document"]["percentage"] for one in told}) >= 5
    asked = page.evaluate("window.asked")
    gaps = [after - before for before, after in itertools.pairwise(asked)]
    assert min(gaps) >= 395
    assert sorted(gaps)[len(gaps) // 2] < 800


def test_through_a_willing_proxy_the_job_is_pushed(site: Site, page: Page) -> None:
    frames: list[str] = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda data: frames.append(str(data))))
    with FaultyProxy(site.port) as proxy:
        told = followed(site, page, proxy.url)
    assert len({one["document"]["percentage"] for one in told}) >= 10
    assert len([frame for frame in frames if '"type":"job"' in frame]) >= 10


@pytest.mark.fault("A3b")
def test_a_first_answer_that_comes_after_newer_pushes_is_not_shown(site: Site, page: Page) -> None:
    answers: list[int] = []
    page.on("response", lambda answer: "verify" in answer.url and answers.append(answer.json()["version"]))
    with FaultyProxy(site.port, upgrades=Faults()) as proxy:

        def hold_answers() -> None:
            proxy.faults = Faults(hold_seconds=2.5)

        told = followed(site, page, proxy.url, hold_answers)
    before = [one["document"]["version"] for one in told if one["at"] < 2400]
    assert answers[0] < max(before)


@pytest.mark.case(24)
def test_fifty_jobs_of_a_page_share_one_socket(site: Site, page: Page) -> None:
    sockets: list[str] = []
    page.on("websocket", lambda socket: sockets.append(socket.url))
    jobs = [site.start("quick", countdown=1) for _ in range(50)]
    page.goto(f"{site.url}/page?" + "&".join(f"job={job_id}" for job_id in jobs))
    page.wait_for_function("document.querySelectorAll('immortus-job[state=finished]').length === 50", timeout=20000)
    assert len(sockets) == 1
