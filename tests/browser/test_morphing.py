"""`<immortus-job>` on pages whose other scripts put back what the server rendered, as morphing swaps do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.template import Context, Template
from playwright.sync_api import Browser, Page, Route

import immortus_channels
from immortus_channels.api.job import JobHandle
from immortus_channels.jobs.job import Error, Job, State
from immortus_channels.urls import immortus_jobs

pytestmark = pytest.mark.urls(__name__)
urlpatterns = immortus_jobs()

URL = "http://shop.test/"
STATIC = Path(immortus_channels.__file__).parent / "static" / "immortus_channels"
MORPHS = (Path(__file__).parent / "morphs.js").read_text()
WHOLE = ("element", "children", "innerHTML", "swap")
"""Those that put everything back."""
BUSY, QUIET = "true", "false"

SHOWN = """
() => {
  const element = document.querySelector("immortus-job");
  const text = (part) => element.querySelector(`[data-immortus="${part}"]`).textContent;
  const attribute = (name) => element.getAttribute(name);
  return {
    bar: element.querySelector("progress").getAttribute("value"),
    texts: [text("state"), text("percentage"), text("message")],
    attributes: ["state", "stalled", "error", "aria-busy"].map(attribute),
  };
}
"""


def job(version: int, state: State = State.RUNNING, *, job_id: str = "a", **changes: Any) -> Job:
    """A job at 40 %, unless it is over."""
    changes = {"job_class": "shop.paint", "current": 40, "total": 100, **changes}
    return Job(job_id=job_id, state=state, version=version, **changes)


def rendered(thing: Job | str) -> str:
    """What `{% immortus_job %}` makes of a job, or of a bare id."""
    given = thing if isinstance(thing, str) else JobHandle(thing.job_id, record=thing)
    return Template("{% load immortus %}{% immortus_job job %}").render(Context({"job": given}))


RUNNING = job(5, message="Sorting")
ENDS = {
    "finished": job(9, State.FINISHED, message="Sorted"),
    "failed": job(9, State.FAILED, error=Error(code="full", message="The disk is full.")),
    "cancelled": job(9, State.CANCELLED, total=None, error=Error(code="cancelled")),
}


class Shop:
    """A page with one element, and the server behind it; the page's clock can be put forward."""

    def __init__(self, page: Page) -> None:
        self.page = page
        page.clock.install()
        self.jobs: dict[str, Job] = {}
        self.html = ""
        self.asked = 0
        page.route(f"{URL}**", self._answer)

    def _answer(self, route: Route) -> None:
        path = route.request.url.removeprefix(URL)
        if not path.startswith("immortus/verify/"):
            route.fulfill(content_type="text/html", body=f"<!doctype html><body>{self.html}</body>")
            return
        self.asked += 1
        found = self.jobs.get(path.split("/")[2])
        gone = {"job_id": None, "error": {"code": "unknown_job", "message": "Gone."}}
        body = found.text if found else json.dumps(gone)
        route.fulfill(status=200 if found else 404, content_type="application/json", body=body)

    def open(self, html: str) -> None:
        """Load the page with this element."""
        self.html = html
        self.page.goto(URL)
        self.page.evaluate("window.told = []")
        for event in ("progress", "done", "failed"):
            self.page.evaluate(f"addEventListener('immortus:{event}', ({{ detail }}) => told.push(detail.version))")
        self.page.add_script_tag(content=MORPHS)
        self.page.add_script_tag(path=STATIC / "immortus.js")
        self.page.evaluate("Immortus.configure({ websocket: false })")

    def put_back(self, how: str, html: str) -> None:
        """Let a script of the page put back what the server rendered."""
        self.page.evaluate("([how, html]) => morphs[how](document.querySelector('immortus-job'), html)", [how, html])

    @property
    def shown(self) -> dict[str, Any]:
        """What a viewer sees, bar, words and attributes."""
        seen: dict[str, Any] = self.page.evaluate(SHOWN)
        return seen

    def until(self, condition: str) -> None:
        """Wait until this is true of the page, for which half a second passes with each look."""
        for _ in range(100):
            if self.page.evaluate(condition):
                return
            self.page.clock.run_for(500)
        self.page.wait_for_function(condition)

    def wait_for(self, selector: str) -> None:
        """Wait until there is such an element."""
        self.until(f"document.querySelector('{selector}') !== null")

    def shows(self, state: str, busy: str = QUIET) -> dict[str, Any]:
        """Wait until it shows a state; what it shows then."""
        self.wait_for(f"immortus-job[state={state}][aria-busy={busy}]")
        return self.shown

    @property
    def told(self) -> list[int]:
        """The versions that events were about."""
        told: list[int] = self.page.evaluate("told")
        return told


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    context.set_default_timeout(10_000)
    yield context.new_page()
    context.close()


@pytest.fixture
def shop(page: Page) -> Iterator[Shop]:
    yield Shop(page)
    page.goto("about:blank")
    page.unroute_all()


@pytest.mark.parametrize("how", [*WHOLE, "attributes"])
@pytest.mark.parametrize("end", ENDS)
def test_of_a_bare_id_it_shows_the_end_again_and_is_not_busy(shop, how, end):
    shop.jobs["a"] = ENDS[end]
    shop.open(rendered("a"))
    before = shop.shows(end)
    for _ in range(3):
        shop.put_back(how, rendered("a"))
        assert shop.shows(end) == before
    if how != "swap":  # that is another element
        assert shop.told == [9]
        assert shop.asked == 1


@pytest.mark.parametrize("how", WHOLE)
def test_while_it_runs_it_does_not_wait_for_the_next_news(shop, how):
    shop.jobs["a"] = RUNNING
    shop.open(rendered("a"))
    before = shop.shows("running", BUSY)
    assert before["texts"] == ["running", "40 %", "Sorting"]
    shop.put_back(how, rendered("a"))
    assert shop.shows("running", BUSY) == before
    shop.jobs["a"] = ENDS["finished"]
    assert shop.shows("finished")["texts"] == ["done", "100 %", "Sorted"]


@pytest.mark.parametrize("how", WHOLE)
def test_an_older_document_of_the_server_is_not_shown(shop, how):
    shop.jobs["a"] = ENDS["finished"]
    shop.open(rendered(RUNNING))
    before = shop.shows("finished")
    shop.put_back(how, rendered(RUNNING))
    assert shop.shows("finished") == before


@pytest.mark.parametrize("how", WHOLE)
def test_a_newer_document_of_the_server_is_shown_and_followed(shop, how):
    shop.jobs["a"] = ENDS["finished"]
    shop.open(rendered("a"))
    shop.shows("finished")
    again = job(20, attempt=2, message="Once more")
    shop.jobs["a"] = again
    shop.put_back(how, rendered(again))
    assert shop.shows("running", BUSY)["texts"] == ["running", "40 %", "Once more"]
    shop.jobs["a"] = job(21, State.FINISHED, attempt=2, message="Sorted twice")
    assert shop.shows("finished")["texts"][2] == "Sorted twice"
    assert shop.told == [9, 20, 21]


@pytest.mark.parametrize("how", ["element", "swap"])
@pytest.mark.parametrize("with_document", [True, False])
def test_another_job_takes_the_place_of_one_that_is_over(shop, how, with_document):
    shop.jobs = {"a": ENDS["finished"], "b": job(3, job_id="b", message="Boiling")}
    shop.open(rendered("a"))
    shop.shows("finished")
    shop.put_back(how, rendered(shop.jobs["b"] if with_document else "b"))
    assert shop.shows("running", BUSY)["texts"] == ["running", "40 %", "Boiling"]


@pytest.mark.parametrize("how", WHOLE)
def test_what_cannot_be_told_stays_so(shop, how):
    shop.open(rendered("a"))
    selector = "immortus-job[error=unknown_job][aria-busy=false]"
    shop.wait_for(selector)
    before = shop.shown
    shop.put_back(how, rendered("a"))
    shop.wait_for(selector)
    assert shop.shown == before


def test_a_job_that_the_server_tells_of_again_is_followed_again(shop):
    shop.open(rendered("a"))
    shop.wait_for("immortus-job[error=unknown_job]")
    shop.jobs["a"] = RUNNING
    shop.put_back("element", rendered(RUNNING))
    assert shop.shows("running", BUSY)["attributes"] == ["running", None, None, BUSY]
    shop.jobs["a"] = ENDS["finished"]
    shop.shows("finished")


def test_a_single_part_that_was_emptied_is_filled_again(shop):
    shop.jobs["a"] = ENDS["finished"]
    shop.open(rendered("a"))
    before = shop.shows("finished")
    shop.page.evaluate("document.querySelectorAll('[data-immortus]').forEach((part) => (part.textContent = ''))")
    shop.page.evaluate("document.querySelector('progress').removeAttribute('value')")
    assert shop.shown == before


def test_moved_out_of_the_page_and_back_after_the_end_it_is_not_busy(shop):
    shop.jobs["a"] = ENDS["finished"]
    shop.open(rendered("a"))
    before = shop.shows("finished")
    shop.page.evaluate("window.kept = document.querySelector('immortus-job'); kept.remove()")
    shop.page.evaluate("document.body.append(kept)")
    assert shop.shown == before
    shop.page.wait_for_timeout(300)
    assert shop.shown == before


def test_a_handler_that_puts_everything_back_does_not_blank_it(shop):
    shop.jobs["a"] = ENDS["finished"]
    shop.open(rendered("a"))
    before = shop.shows("finished")
    shop.open("<p>")
    shop.page.evaluate(
        "(html) => addEventListener('immortus:done', ({ target }) => morphs.element(target, html))", rendered("a")
    )
    shop.page.evaluate("(html) => { document.body.innerHTML = html }", rendered("a"))
    assert shop.shows("finished") == before


# What others make of a text is not put back


def test_a_translation_by_the_browser_stays_until_the_page_has_new_text(shop):
    shop.jobs["a"] = RUNNING
    shop.open(rendered("a"))
    shop.shows("running", BUSY)
    shop.page.evaluate(
        "() => { document.querySelector('[data-immortus=state]').innerHTML = '<font>läuft</font>';"
        " document.querySelector('[data-immortus=message]').firstChild.nodeValue = 'Sortieren'; }"
    )
    shop.jobs["a"] = job(6, current=41, message="Sorting")
    shop.until("told.includes(6)")
    assert shop.shown["texts"] == ["läuft", "41 %", "Sortieren"]
    shop.jobs["a"] = ENDS["finished"]
    assert shop.shows("finished")["texts"] == ["done", "100 %", "Sorted"]


def test_what_a_handler_writes_into_it_stays(shop):
    shop.jobs["a"] = ENDS["finished"]
    shop.open("<p>")
    shop.page.evaluate(
        "() => addEventListener('immortus:done', ({ target }) => {"
        " target.querySelector('[data-immortus=message]').textContent = 'Look!'; })"
    )
    shop.page.evaluate("(html) => { document.body.innerHTML = html }", rendered("a"))
    assert shop.shows("finished")["texts"][2] == "Look!"
