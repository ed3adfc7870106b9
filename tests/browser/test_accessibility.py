"""What viewers get who cannot see the bar: names, contrast, the accessibility tree, and what is spoken."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from immortus_channels.jobs.job import Error, Job, State
from tests.browser.test_morphing import STATIC, Shop, job, rendered
from tests.servers import need
from tests.site import Site, running_site

pytestmark = pytest.mark.urls("tests.browser.test_morphing")
ROOT = Path(__file__).parents[2]
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
TREES = Path(__file__).parent / "accessibility.txt"
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
CLASS = "shop.tasks.process_image"

STATES: dict[str, Job | str] = {
    "a bare id": "a",
    "enqueued": job(1, State.ENQUEUED, job_class=CLASS, current=None, total=None),
    "running": job(5, job_class=CLASS, message="Sorting"),
    "running, total unknown": job(5, job_class=CLASS, current=None, total=None),
    "stalled": job(5, job_class=CLASS, stalled=True),
    "retrying": job(6, State.RETRYING, job_class=CLASS),
    "finished": job(9, State.FINISHED, job_class=CLASS, current=100, message="Sorted"),
    "failed": job(9, State.FAILED, job_class=CLASS, error=Error(code="full", message="The disk is full.")),
    "cancelled": job(9, State.CANCELLED, job_class=CLASS, error=Error(code="cancelled", message="This was cancelled.")),
    "lost": job(9, State.LOST, job_class=CLASS, error=Error(code="lost", message="No sign of it for too long.")),
}


def mistakes(page: Page) -> list[str]:
    """What axe finds on the page."""
    need(str(AXE) if AXE.exists() else None, "axe-core", "`npm ci --ignore-scripts` installs it")
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text())
    found: list[dict[str, Any]] = page.evaluate("axe.run().then(({ violations }) => violations)")
    return [f"{one['id']}: {node['html']} {node['failureSummary']}" for one in found for node in one["nodes"]]


class Looks(dict[str, list[str]]):
    """What axe finds on the pages that it looks at, in each colour scheme."""

    def at(self, page: Page) -> None:
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            self.setdefault(scheme, []).extend(f"{page.url} {mistake}" for mistake in mistakes(page))


@pytest.fixture(scope="module", params=SCHEMES)
def scheme(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_site(tmp_path_factory.mktemp("site"), server="uvicorn") as site:
        yield site


@pytest.fixture(scope="module")
def example(browser: Browser, demo: Any) -> Iterator[Page]:
    context = browser.new_context(base_url=demo.url, reduced_motion="reduce")
    yield context.new_page()
    context.close()


@pytest.fixture
def shop(browser: Browser) -> Iterator[Shop]:
    context = browser.new_context(reduced_motion="reduce")
    yield Shop(context.new_page())
    context.close()


@pytest.fixture(scope="module")
def photos(example: Page) -> Looks:
    """The photos while they are worked on and after that, and the pages that need nothing to be done first."""
    looks = Looks()
    example.goto("/")
    looks.at(example)
    example.click("[data-sample=coffee]")
    example.click("[data-scene]:has([data-state=failed])")
    expect(example.locator(".card[data-state=running]").first).to_be_visible(timeout=30_000)
    looks.at(example)
    address = example.locator(".card a", has_text="Job page").last.get_attribute("href")
    expect(example.locator(".card[data-state=failed]").first).to_be_visible(timeout=45_000)
    expect(example.locator(".card[data-state=finished]").first).to_be_visible(timeout=45_000)
    looks.at(example)
    assert "%" not in "".join(example.locator("[aria-live], [role=status], output").all_inner_texts())
    for page in (str(address), "/immortus/jobs/nobody/", "/login/", "/marathons/"):
        example.goto(page)
        looks.at(example)
    return looks


@pytest.fixture(scope="module")
def classrooms(example: Page) -> Looks:
    """The classrooms, and the page of a move that failed."""
    looks = Looks()
    example.goto("/")
    example.get_by_role("link", name="Classrooms").click()
    looks.at(example)
    example.locator("button[name=destination]:has([data-state=failed])").click()
    expect(example.get_by_role("heading", name="This did not work")).to_be_visible(timeout=45_000)
    looks.at(example)
    return looks


@pytest.fixture(scope="module")
def job_page(browser: Browser, site: Site) -> Looks:
    """The page of a running job, which is then cancelled."""
    looks = Looks()
    context = browser.new_context(base_url=site.url, reduced_motion="reduce")
    page = context.new_page()
    page.goto("/transfer?steps=50")
    expect(page.get_by_role("progressbar", name="Moving the class")).to_be_visible()
    expect(page.get_by_role("log")).to_contain_text("Moving the class, running", timeout=15_000)
    looks.at(page)
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("heading")).to_have_text("Cancelled", timeout=20_000)
    looks.at(page)
    context.close()
    return looks


def test_axe_finds_nothing_on_any_page_of_the_example(photos: Looks, scheme: str) -> None:
    assert photos[scheme] == []


def test_axe_finds_nothing_in_the_classroom_and_where_it_could_not_move(classrooms: Looks, scheme: str) -> None:
    assert classrooms[scheme] == []


def test_axe_finds_nothing_on_the_page_of_a_running_job(job_page: Looks, scheme: str) -> None:
    assert job_page[scheme] == []


def test_axe_finds_nothing_on_a_bar_in_any_state(shop: Shop, scheme: Literal["light", "dark"]) -> None:
    shop.page.emulate_media(color_scheme=scheme)
    shop.page.route("**/verify?*", lambda route: route.abort())  # so that the states stay as they are
    style = (STATIC / "immortus.css").read_text()
    colours = ":root { color-scheme: light dark; background: light-dark(#f4f5f7, #15181c); color: CanvasText }"
    head = f"<title>Jobs</title><style>{colours}{style}</style>"
    shop.open(f"{head}<main><h1>Jobs</h1>{''.join(map(rendered, each_its_own()))}</main>")
    shop.page.evaluate("document.documentElement.lang = 'en'")
    assert mistakes(shop.page) == []


def test_a_theme_that_forces_its_colours_shows_how_far_a_job_is(shop: Shop) -> None:
    shop.page.emulate_media(forced_colors="active")
    shop.open(f"<style>{(STATIC / 'immortus.css').read_text()}</style>{rendered(STATES['cancelled'])}")
    bar = Image.open(io.BytesIO(shop.page.locator("progress").screenshot())).convert("RGB")
    done, rest = (bar.getpixel((bar.width * at // 10, bar.height // 2)) for at in (2, 8))
    assert done != rest


def each_its_own() -> list[Job | str]:
    """The states of as many jobs."""
    return [one if isinstance(one, str) else replace(one, job_id=f"job-{at}") for at, one in enumerate(STATES.values())]


def tree(page: Page) -> str:
    """The accessibility tree of the element, indented."""
    return "".join(f"    {line}\n" for line in page.locator("immortus-job").aria_snapshot().splitlines())


def test_the_accessibility_tree_of_each_state_is_the_listed_one(shop: Shop) -> None:
    trees = ""
    for name, thing in STATES.items():
        shop.open(rendered(thing))
        shop.page.wait_for_selector("immortus-job[aria-busy]", state="attached")
        trees += f"{name}\n{tree(shop.page)}"
    shop.open(rendered("gone"))
    shop.wait_for("immortus-job[error]")
    trees += f"not known\n{tree(shop.page)}"
    assert trees == TREES.read_text(), trees


NOTE = """() => {
  window.spoken = [];
  const note = (node) => node.parentNode?.role === "log" && node.textContent && spoken.push(node.textContent);
  const observer = new MutationObserver((changes) => changes.forEach(({ addedNodes }) => addedNodes.forEach(note)));
  observer.observe(document, { childList: true, subtree: true });
}"""


def test_two_bars_of_a_job_speak_once_and_not_after_a_morph(shop: Shop) -> None:
    shop.jobs["a"] = job(5, job_class=CLASS, current=10)
    html = rendered("a")
    shop.open(html + html)
    shop.page.evaluate(NOTE)
    shop.until("spoken.length === 1")
    shop.jobs["a"] = job(6, job_class=CLASS, current=60)
    shop.until("spoken.length === 2")
    shop.put_back("element", html)
    shop.jobs["a"] = job(7, State.FINISHED, job_class=CLASS, current=100)
    shop.until("spoken.length >= 3")
    shop.page.clock.run_for(5_000)
    assert shop.page.evaluate("spoken") == [
        "process image, running, 10 %",
        "process image, running, 60 %",
        "process image, done, 100 %",
    ]
    assert shop.page.evaluate("document.querySelector('[role=log]').getBoundingClientRect().bottom") <= 0


def test_in_a_modal_dialog_the_region_is_inside_of_it(shop: Shop) -> None:
    shop.jobs["a"] = job(5, job_class=CLASS)
    shop.open(f"<dialog>{rendered('a')}</dialog>")
    shop.page.evaluate("document.querySelector('dialog').showModal()")
    expect(shop.page.get_by_role("log")).to_have_text(re.compile("process image, running, 40 %"))
