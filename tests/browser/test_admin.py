"""The admin's page of a job in Chromium: its bar and its table never say different things."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.site import Site, running_site

pytestmark = pytest.mark.browser

WATCH = """
() => {
  window.seen = [];
  const row = (name) => document.querySelector(`.field-${name} pre, .field-${name} .readonly`).textContent.trim();
  const part = (name) => document.querySelector(`[data-immortus=${name}]`).textContent;
  const said = () => JSON.parse(document.querySelector(".field-document pre").textContent);
  const note = () => {
    seen.push({
      bar: document.querySelector("immortus-job").getAttribute("state"),
      percentage: part("percentage"),
      document: said(),
      ...Object.fromEntries(["state", "started_at", "ended_at"].map((name) => [name, row(name)])),
      share: row("percentage"),
    });
    requestAnimationFrame(note);
  };
  note();
}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    zone = json.dumps({"TIME_ZONE": "Asia/Tokyo", "LANGUAGE_CODE": "de"})
    with running_site(tmp_path_factory.mktemp("site"), SETTINGS=zone) as site:
        site.manage("shell", "-c", "from django.contrib.auth.models import User; User.objects.create_superuser('boss')")
        yield site


@pytest.fixture
def page(browser: Browser, site: Site) -> Iterator[Page]:
    """What breaks the site's policy or raises on the page fails the test."""
    context = browser.new_context(base_url=site.url)
    mistakes: list[str] = []
    context.on("weberror", lambda mistake: mistakes.append(str(mistake.error)))
    context.on("console", lambda said: mistakes.append(said.text) if "Content Security" in said.text else None)
    context.request.get("/log-in/boss")
    yield context.new_page()
    context.close()
    assert not mistakes


def look_at(page: Page, job_id: str) -> None:
    """Open the job's page, and note from then on what each frame shows."""
    page.goto(f"/admin/immortus_channels/jobrecord/{job_id}/change/")
    page.evaluate(WATCH)


def times(page: Page) -> list[str]:
    """The hours and minutes of sending, start and end."""
    rows = [page.locator(f".field-{name}_at .readonly").inner_text() for name in ("enqueued", "started", "ended")]
    return [found for row in rows for found in re.findall(r"\b\d{1,2}:\d\d\b", row)]


def agree(seen: list[dict[str, Any]]) -> None:
    """No frame said two things."""
    for one in seen:
        said = one["document"]
        assert one["bar"] == said["state"] == one["state"]
        share = said["percentage"]
        assert one["share"] == ("" if share is None else f"{share:.1f} %")
        assert one["percentage"] == ("" if share is None else f"{share:.1f}".removesuffix(".0") + " %")
        assert (one["started_at"] == "-") is (said["started_at"] is None)
        assert (one["ended_at"] == "-") is (said["finished_at"] is None)


@pytest.mark.slow
def test_from_waiting_to_the_end_the_table_says_what_the_bar_says(site: Site, page: Page) -> None:
    job_id = site.start("steps", kwargs={"count": 12, "pause": 0.2})
    look_at(page, job_id)
    worker = site.start_worker("-P", "solo")
    expect(page.locator("immortus-job")).to_have_attribute("state", "finished", timeout=20_000)
    worker.stop()
    seen = page.evaluate("seen")
    agree(seen)
    assert {one["state"] for one in seen} == {"enqueued", "running", "finished"}
    assert len({one["share"] for one in seen}) > 5
    live = times(page)
    page.reload()
    page.evaluate(WATCH)
    agree(page.evaluate("seen"))
    assert times(page) == live, "in the zone of the site, not of the browser"


def test_a_job_that_is_cancelled_or_deleted_meanwhile_is_told_by_both(site: Site, page: Page) -> None:
    job_id = site.start("steps")
    look_at(page, job_id)
    page.evaluate("(id) => Immortus.cancel(id)", job_id)
    expect(page.locator(".field-state .readonly")).to_have_text("cancelled")
    agree(page.evaluate("seen"))


def test_what_cannot_be_told_any_more_is_not_said(site: Site, page: Page) -> None:
    job_id = site.start("steps")
    page.route_web_socket("**", lambda socket: socket.close())
    body = json.dumps({"job_id": job_id, "error": {"code": "strategy_error", "message": "It cannot be told."}})
    page.route("**/verify/**", lambda route: route.fulfill(status=500, content_type="application/json", body=body))
    page.goto(f"/admin/immortus_channels/jobrecord/{job_id}/change/")
    expect(page.locator("immortus-job")).to_have_attribute("error", "strategy_error")
    assert page.locator(".field-state .readonly").inner_text() == "-"
    assert json.loads(page.locator(".field-document pre").inner_text()) == json.loads(body)
