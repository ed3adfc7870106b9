"""The server goes away and comes back, and so does the network: pages end with the right word, once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext

from tests.servers import RedisServer
from tests.site import Site, redis_options, running_site

pytestmark = [pytest.mark.browser, pytest.mark.redis, pytest.mark.slow]

FOLLOW = """
(job) => {
  window.told = [];
  const note = (how) => (document) => told.push({how, state: document.state, current: document.current});
  Immortus.verify(job).then(note("done"), note("failed"), note("progress"));
}
"""
OVER = "told.some(({how}) => how !== 'progress')"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Iterator[Site]:
    options = redis_options(redis_server.url) | {"BROKER_URL": f"{redis_server.url[:-1]}14"}
    with running_site(tmp_path_factory.mktemp("site"), **options) as site:
        site.start_worker()
        yield site


@pytest.fixture
def context(browser: Browser, site: Site) -> Iterator[BrowserContext]:
    context = browser.new_context(base_url=site.url)
    yield context
    context.close()


@pytest.mark.case(26)
@pytest.mark.parametrize("ends", ["meanwhile", "afterwards"])
@pytest.mark.parametrize("lost", ["server", "network"])
def test_what_is_gone_for_a_while_is_made_good(site: Site, context: BrowserContext, lost: str, ends: str) -> None:
    page = context.new_page()
    page.goto("/page")
    job_id = site.start("steps", kwargs={"count": 15 if ends == "meanwhile" else 40, "pause": 0.2})
    page.evaluate(FOLLOW, {"job_id": job_id})
    page.wait_for_function("told.some(({current}) => current > 1)", timeout=15000)
    if lost == "server":
        site.processes[0].kill()
    context.set_offline(lost == "network")
    page.wait_for_timeout(4000)
    assert page.evaluate(OVER) is False
    context.set_offline(False)
    if lost == "server":
        site.processes[0] = site.start_web()
        site.processes.pop()
    page.wait_for_function(OVER, timeout=25000)
    page.wait_for_timeout(1000)
    told = page.evaluate("told")
    assert [one["state"] for one in told if one["how"] != "progress"] == ["finished"]
    assert told[-1]["how"] == "done"
    counts = [one["current"] for one in told]
    assert counts == sorted(counts)
