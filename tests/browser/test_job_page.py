"""The page of a job in Chromium: it follows the job and leaves by itself, with and without JavaScript."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.site import Site, running_site

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module", params=["uvicorn", pytest.param("gunicorn", marks=pytest.mark.slow)])
def site(request, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_site(tmp_path_factory.mktemp("site"), server=request.param) as site:
        yield site


@pytest.fixture
def context(browser: Browser, site: Site) -> Iterator[BrowserContext]:
    """A viewer who is logged in; whatever breaks the pages' policy or raises on them fails the test."""
    context = browser.new_context(base_url=site.url)
    mistakes: list[str] = []
    context.on("weberror", lambda mistake: mistakes.append(str(mistake.error)))
    context.on("console", lambda said: mistakes.append(said.text) if "Content Security" in said.text else None)
    context.request.get("/log-in/ada")
    yield context
    context.close()
    assert not mistakes


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


@pytest.mark.case(49)
def test_the_page_follows_the_job_and_then_leaves_with_the_flash_message(page: Page) -> None:
    page.goto("/transfer?steps=12")
    expect(page.get_by_role("heading")).to_have_text("Moving the class")
    expect(page.get_by_text("Moving chairs")).to_be_visible()
    expect(page.locator("[data-immortus=percentage]")).to_have_text(re.compile(r"^[1-9]\d(\.\d)? %$"))
    expect(page.locator("body")).to_have_text("IT WAS SO NICE.", timeout=10_000)
    assert page.url.endswith("/flashes")


def test_the_other_outcome_has_the_other_message(page: Page) -> None:
    page.goto("/transfer?steps=2&nice=no")
    expect(page.locator("body")).to_have_text("ERROR being nice", timeout=10_000)


@pytest.mark.case(45)
def test_of_two_tabs_both_leave_and_the_hook_is_called_once(site: Site, context: BrowserContext, page: Page) -> None:
    page.goto("/transfer?steps=8")
    job_id = page.url.rstrip("/").rpartition("/")[2]
    other = context.new_page()
    other.goto(page.url)
    for tab in (page, other):
        tab.wait_for_url("**/flashes", timeout=10_000)
    # Not by the flash message: two tabs that arrive together may both read it before either has taken it away.
    assert (site.var / "web.log").read_text().count(f"ready {job_id}") == 1


@pytest.mark.case(46, 55)
def test_a_failure_is_told_as_text_and_the_page_stays(page: Page) -> None:
    page.goto("/transfer?end=failed")
    expect(page.get_by_role("heading")).to_have_text("This did not work", timeout=10_000)
    expect(page.get_by_role("status")).to_have_text("The room is <b>too small</b>.")
    page.wait_for_timeout(1000)
    assert page.evaluate("performance.getEntriesByType('navigation').length") == 1
    assert "/jobs/" in page.url


def test_going_back_leads_past_the_page_that_waits(page: Page) -> None:
    page.goto("/log-in/ada")
    page.goto("/transfer?steps=3")
    expect(page.locator("body")).to_have_text("IT WAS SO NICE.", timeout=10_000)
    page.go_back()
    expect(page.locator("body")).to_have_text("ada")


@pytest.mark.case(47)
def test_an_unknown_job_is_said_and_not_asked_for_in_circles(browser: Browser, site: Site) -> None:
    page = browser.new_page()
    page.clock.install()
    visits: list[str] = []
    page.on("framenavigated", lambda frame: visits.append(frame.url))
    page.goto(f"{site.url}/immortus/jobs/nobody/")
    expect(page.get_by_role("heading")).to_have_text("There is no such job")
    page.clock.run_for(60_000)
    page.wait_for_timeout(500)
    assert len(visits) == 1
    page.close()


@pytest.mark.case(49)
def test_without_javascript_the_page_leaves_too(browser: Browser, site: Site) -> None:
    context = browser.new_context(base_url=site.url, java_script_enabled=False)
    page = context.new_page()
    page.goto("/transfer?steps=15")
    assert page.get_by_role("heading").inner_text() == "Moving the class"
    page.wait_for_url("**/flashes", timeout=12_000)
    assert page.locator("body").inner_text() == "IT WAS SO NICE."
    context.close()


@pytest.mark.parametrize("has_javascript", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_viewer_can_cancel_with_and_without_javascript(browser: Browser, site: Site, has_javascript) -> None:
    context = browser.new_context(base_url=site.url, java_script_enabled=has_javascript)
    page = context.new_page()
    page.goto("/transfer?steps=150")
    address = page.url
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("heading")).to_have_text("Cancelled", timeout=20_000)
    assert page.url == address
    expect(page.get_by_role("button")).to_have_count(0)
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone_and_keeps_still_for_those_who_want_that(
    browser: Browser, site: Site, scheme, tmp_path: Path
) -> None:
    size = {"width": 320, "height": 640}
    page = browser.new_page(base_url=site.url, viewport=size, color_scheme=scheme, reduced_motion="reduce")
    page.goto("/transfer?steps=30")
    page.screenshot(path=tmp_path / f"{scheme}.png")
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    assert page.evaluate("document.getAnimations().length") == 0
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(244, 245, 247)", "dark": "rgb(21, 24, 28)"}[scheme]
    page.close()
