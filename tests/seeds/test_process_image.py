"""Seed 000, "Create a Job to process an image and update the progress in UI"; its JavaScript is in `page.html`."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Request

from tests.site import Site

VALUE = "document.querySelector('progress').value"
FINISHED = "document.querySelector('img').alt !== ''"


def test_create_a_job_to_process_an_image_and_update_the_progress_in_ui(page: Page, site: Site) -> None:
    """Seed 000, JavaScript Create: the percentage comes from the strategy's meta method."""
    page.goto("/image")
    page.click("button")
    page.wait_for_function(FINISHED, timeout=15000)
    shown = page.evaluate("shown")
    assert set(shown) <= set(range(0, 100, 10))
    assert len(set(shown)) >= 3
    assert shown == sorted(shown)
    job_id = page.evaluate("document.querySelector('img').alt").rpartition(" ")[2]
    assert site.verify(job_id)["state"] == "finished"


def test_the_info_persists_in_a_refresh(page: Page) -> None:
    """Seed 000, JavaScript Verify: "we need this if we want the info to persist in a refresh"."""
    posts: list[str] = []

    def note(request: Request) -> None:
        if request.method == "POST":
            posts.append(request.url)

    page.on("request", note)
    page.goto("/image")
    page.click("button")
    page.wait_for_function(f"{VALUE} >= 20", timeout=15000)
    before = page.evaluate("shown")
    page.reload()
    page.wait_for_function(FINISHED, timeout=15000)
    after = page.evaluate("shown")
    assert after, "the refreshed page saw the job running"
    assert before[-1] <= after[0]
    assert all(one <= next_one for one, next_one in itertools.pairwise(after))
    assert len(posts) == 1, "the refreshed page started no job of its own"


def test_a_refresh_after_the_end_shows_it_at_once(page: Page) -> None:
    """Seed 000, JavaScript Verify: a job that is over is told as finished, without progress."""
    page.goto("/image")
    page.click("button")
    page.wait_for_function(FINISHED, timeout=15000)
    page.reload()
    page.wait_for_function(FINISHED, timeout=2000)
    assert page.evaluate("shown") == []


@pytest.mark.case(30)
def test_job_failed_to_create(page: Page, alerts: list[str], until: Callable[..., None]) -> None:
    """Seed 000: `jobFailedToCreate`; the verify step is not run."""
    page.goto("/image?record=refused")
    page.click("button")
    until(lambda: alerts)
    page.wait_for_timeout(500)
    assert alerts == ["Job failed to create"]


def test_job_failed(page: Page, alerts: list[str], until: Callable[..., None]) -> None:
    """Seed 000: `jobFailed`, when the job raised."""
    page.goto("/image?record=broken")
    page.click("button")
    until(lambda: alerts)
    page.wait_for_timeout(500)
    assert alerts == ["Job failed"]
    assert not page.evaluate(FINISHED)
