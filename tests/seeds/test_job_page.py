"""Seed 004, "Display a spinner while a background job runs"."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.site import Site

NOTE_WHAT_IS_SEEN = """
addEventListener("DOMContentLoaded", () => {
  const seen = JSON.parse(sessionStorage.seen ?? "[]");
  seen.push({header: document.querySelector("h1").textContent.trim(), body: document.body.textContent});
  sessionStorage.seen = JSON.stringify(seen);
});
"""


@pytest.mark.case(45, 48)
@pytest.mark.parametrize(
    ("action", "flash"),
    [
        pytest.param("a_nice_action", ("success", "IT WAS SO NICE."), id="nice"),
        pytest.param("a_nice_action?nasty", ("error", "ERROR being nice"), id="nasty"),
    ],
)
def test_the_user_sees_the_spinner_page_and_then_what_the_job_says(
    page: Page, action: str, flash: tuple[str, str]
) -> None:
    """Seed 004, Job Handler: `header` and `message`, then `on_ready` reads a stored symbol, then `next_url`."""
    page.add_init_script(NOTE_WHAT_IS_SEEN)
    page.goto(f"/classroom/12/{action}")
    page.wait_for_url("**/classroom/12", timeout=20000)
    expect(page.locator("h1")).to_have_text("Classroom 12")
    seen = page.evaluate("JSON.parse(sessionStorage.seen)")
    assert [one["header"] for one in seen] == ["The Header on the Spinner Page", "Classroom 12"]
    assert "This message appears to the user on the spinner page as body text." in seen[0]["body"]
    tags, text = flash
    expect(page.locator("p")).to_have_text([text])
    expect(page.locator("p")).to_have_class(tags)
    page.reload()
    expect(page.locator("p")).to_have_count(0)


def test_a_job_marked_as_complete_stays_finished_when_its_worker_returns(site: Site) -> None:
    """Seed 004: `job.complete!` in the worker, and metadata that is there for handling what comes after."""
    answer = site.http.get("/classroom/12/a_nice_action")
    assert answer.status_code == 302
    job_id = answer.headers["Location"].strip("/").rpartition("/")[2]
    document = site.wait_for(job_id, "finished")
    assert (document["percentage"], document["error"]) == (100, None)
    assert "classroom_id" not in document, "metadata stays on the server"
    ready = site.http.get(answer.headers["Location"])
    assert (ready.status_code, ready.headers["Location"]) == (302, "/classroom/12")
