"""`JobState.startPolling` on pages that leave themselves when they are told of an end."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Route

import immortus_channels
from immortus_channels.jobs.job import Error, Job, State
from tests.chromium import launched

pytestmark = pytest.mark.slow

STATIC = Path(immortus_channels.__file__).parent / "static" / "immortus_channels"
URL = "http://shop.test"
A_WHILE = 2_500
"""Milliseconds in which a page that leaves itself in circles has done so again."""
MANY = 40
"""Loads after which the server answers no more, so that a page going in circles ends."""

ENDS = {
    "a": Job(job_id="a", state=State.FINISHED, version=7, result="26.2 miles"),
    "b": Job(job_id="b", state=State.FINISHED, version=8, result="13.1 miles"),
    "failed": Job(job_id="failed", state=State.FAILED, version=9, error=Error(code="blister", message="A blister.")),
}
DRAW = "document.querySelector('p').textContent = data.result ?? data.error.code"


class Shop:
    """A server with a page of jobs that are over, and how often it was asked for."""

    def __init__(self, context: BrowserContext) -> None:
        self.page = context.new_page()
        self.scripts: dict[str, str] = {}
        self.loads: list[str] = []
        self.slow = 0.0
        self.jobs = dict(ENDS)
        context.route(f"{URL}/**", self._answer)

    def _answer(self, route: Route) -> None:
        path = urlsplit(route.request.url).path
        if path.startswith("/static/"):
            route.fulfill(path=STATIC / path.removeprefix("/static/"))
        elif path.startswith("/immortus/verify"):
            self._verify(route, path)
        else:
            self._load(route, path)

    def _verify(self, route: Route, path: str) -> None:
        ids = [pair.removeprefix("job_id=") for pair in urlsplit(route.request.url).query.split("&") if pair]
        ids = ids or [path.rsplit("/", 1)[-1]]
        gone = json.dumps({"job_id": ids[0], "error": {"code": "strategy_error", "message": "Not known."}})
        texts = [self.jobs[job_id].text if job_id in self.jobs else gone for job_id in ids]
        body = texts[0] if len(ids) == 1 else f'{{"jobs":[{",".join(texts)}]}}'
        route.fulfill(status=200 if ids[0] in self.jobs else 500, content_type="application/json", body=body)

    def _load(self, route: Route, path: str) -> None:
        self.loads.append(route.request.url.removeprefix(URL))
        if len(self.loads) > MANY:
            route.fulfill(body="enough")
            return
        time.sleep(self.slow)
        files = "".join(f'<script src="/static/{name}.js"></script>' for name in ("immortus", "job-state"))
        setting = "<script>Immortus.configure({ websocket: false })</script>"
        form = '<form method="post"></form><a href="">again</a><p></p>'
        body = f"<!doctype html>{files}{setting}{form}<script>{self.scripts[path]}</script>"
        route.fulfill(content_type="text/html", body=body)

    def open(self, path: str, script: str) -> None:
        """Load a page with this script, and wait until it has come to rest."""
        self.scripts[path] = script
        self.page.goto(f"{URL}{path}", wait_until="commit")
        self.rest()

    def rest(self) -> None:
        """Wait until the page has been told, and what it does about that is done."""
        before = -1
        while before < len(self.loads) <= MANY:
            before = len(self.loads)
            self.page.wait_for_timeout(A_WHILE)

    @property
    def drawn(self) -> str:
        """What a handler has drawn."""
        return self.page.inner_text("p")


@pytest.fixture(scope="module")
def whole(browser: Browser) -> Iterator[Browser]:
    with launched(browser.browser_type, whole=True) as whole:
        yield whole


@pytest.fixture
def shop(whole: Browser) -> Iterator[Shop]:
    context = whole.new_context()
    yield Shop(context)
    context.close()


def polling(job_id: str, success: str, error: str = "") -> str:
    """A call in the manner of the original."""
    return (
        f"JobState.startPolling({{ jobUuid: '{job_id}', success: function(data) {{ {success} }}, "
        f"error: function(data) {{ {error or success} }} }});"
    )


WAYS = {
    "a reload": "location.reload()",
    "its own address": "location.href = location.href",
    "a form": "document.forms[0].submit()",
    "a link": "document.querySelector('a').click()",
    "a moment later": "setTimeout(() => location.reload(), 600)",
    "after a long look": "const end = Date.now() + 1200; while (Date.now() < end); location.reload()",
}


@pytest.mark.parametrize("way", WAYS)
def test_a_page_that_leaves_itself_at_an_end_does_so_once(shop, way):
    shop.open("/race", polling("a", WAYS[way]))
    assert len(shop.loads) == 2


def test_a_page_whose_address_changes_each_time_comes_to_rest(shop):
    shop.open("/race", polling("a", "location.search = 't=' + Date.now()"))
    assert len(shop.loads) == 3


@pytest.mark.parametrize("job_id", ["failed", "unknown"])
def test_so_does_one_that_leaves_itself_at_an_error(shop, job_id):
    shop.open("/race", polling(job_id, "", "location.reload()"))
    assert len(shop.loads) == 2


def test_a_slow_server_makes_no_difference(shop):
    shop.slow = 1.5
    shop.open("/race", polling("a", "location.reload()"))
    assert len(shop.loads) == 2


def test_a_callback_that_waits_before_it_leaves_does_so_once(shop):
    shop.open(
        "/race",
        "JobState.startPolling({ jobUuid: 'a', success: async () => {"
        " await new Promise((resolve) => setTimeout(resolve, 1300)); location.reload(); } })",
    )
    assert len(shop.loads) == 2


@pytest.mark.parametrize("job_id", ["a", "failed"])
def test_a_callback_that_draws_is_called_on_every_load(shop, job_id):
    shop.open("/race", polling(job_id, DRAW))
    drawn = shop.drawn
    assert drawn
    for _ in range(2):
        shop.page.reload()
        shop.rest()
        assert shop.drawn == drawn
    assert len(shop.loads) == 3


def test_a_reload_by_the_user_tells_it_again_also_soon_after(shop):
    shop.open(
        "/race", polling("a", f"{DRAW}; if (!document.cookie) {{ document.cookie = 'been=1'; location.reload(); }}")
    )
    assert (len(shop.loads), shop.drawn) == (2, "")
    shop.page.reload()
    shop.rest()
    assert (len(shop.loads), shop.drawn) == (3, "26.2 miles")


def test_a_reload_by_the_user_leads_to_one_by_the_page(shop):
    shop.open("/race", polling("a", "location.reload()"))
    shop.page.reload(wait_until="commit")
    shop.rest()
    assert len(shop.loads) == 4


def test_another_page_is_told_of_the_end_that_led_there(shop):
    shop.scripts["/result"] = polling("a", DRAW)
    shop.open("/race", polling("a", "location.href = '/result'"))
    assert shop.loads == ["/race", "/result"]
    assert shop.drawn == "26.2 miles"


def test_two_pages_that_lead_to_each_other_come_to_rest(shop):
    shop.scripts["/there"] = polling("a", "location.href = '/here'")
    shop.open("/here", polling("a", "location.href = '/there'"))
    assert shop.loads == ["/here", "/there", "/here"]


def test_each_of_two_jobs_reloads_the_page_once_at_most(shop):
    shop.open(
        "/race", polling("a", "location.reload()") + f"setTimeout(() => {{ {polling('b', 'location.reload()')} }}, 700)"
    )
    assert len(shop.loads) == 3


def test_an_end_drawn_before_another_end_reloaded_the_page_is_drawn_again(shop):
    later = "if (!sessionStorage.late) setTimeout(() => { sessionStorage.late = 1; %s }, 1300)"
    shop.open("/race", polling("a", DRAW) + later % polling("b", "location.reload()"))
    shop.rest()
    assert (len(shop.loads), shop.drawn) == (2, "26.2 miles")


def test_where_the_browser_remembers_nothing_a_page_reloads_itself_once(shop):
    shop.page.add_init_script("Object.defineProperty(window, 'sessionStorage', { get() { throw new Error('no'); } })")
    shop.open("/race", polling("a", "location.reload()"))
    assert len(shop.loads) == 2


def test_two_frames_of_one_page_reload_once_each(shop):
    shop.scripts["/left"] = shop.scripts["/right"] = polling("a", "location.reload()")
    frames = "<iframe src=/left></iframe><iframe src=/right></iframe>"
    shop.open("/race", f"document.body.insertAdjacentHTML('beforeend', '{frames}')")
    shop.rest()
    assert sorted(shop.loads) == ["/left", "/left", "/race", "/right", "/right"]


def test_a_page_that_is_open_when_the_job_ends_reloads_once(shop):
    shop.jobs["a"] = Job(job_id="a", state=State.RUNNING, version=3)
    shop.open("/race", polling("a", "location.reload()"))
    assert len(shop.loads) == 1
    shop.jobs["a"] = ENDS["a"]
    shop.rest()
    assert len(shop.loads) == 2
