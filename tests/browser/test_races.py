"""The marathons of the example: what the runner sets is what the page shows, for any number of races at once."""

from __future__ import annotations

import re

import pytest

expect = pytest.importorskip("playwright.sync_api").expect

pytestmark = [pytest.mark.usefixtures("patience"), pytest.mark.slow]

A_WHILE = 1_000
"""Milliseconds in which a page that reloads in circles has long done so."""
NOTE_MILES = """
    addEventListener("DOMContentLoaded", () => {
        const note = ({ target }) => noted(target.closest(".race").dataset.jobUuid, target.textContent);
        document.querySelectorAll("[data-metric=miles_run]").forEach((miles) => {
            new MutationObserver((changes) => changes.forEach(note)).observe(miles, { childList: true });
        });
    });
"""


@pytest.fixture
def page(context):
    page = context.new_page()
    page.goto("/marathons/")
    return page


@pytest.fixture
def loads(page):
    """The page's loads from now on."""
    loads = []
    page.on("domcontentloaded", lambda page: loads.append(page.url))
    return loads


def start(page, course):
    """Start a marathon; return its card, which stays its own when others come."""
    page.click(f"[name=course][value={course}]")
    title = page.locator(f"[value={course}] .title").inner_text()
    card = page.locator(".race", has=page.get_by_role("heading", name=title))
    expect(card).to_have_count(1)
    return card


def miles(card):
    return card.locator("[data-metric=miles_run]")


def test_two_marathons_move_at_once_and_each_end_reloads_the_page(page, loads):
    heard: dict[str, list[float]] = {}
    page.expose_function("noted", lambda job_uuid, text: heard.setdefault(job_uuid, []).append(float(text)))
    page.add_init_script(NOTE_MILES)
    boston = start(page, "boston")
    expect(miles(boston)).not_to_have_text("0.0")
    berlin = start(page, "berlin")
    expect(miles(berlin)).not_to_have_text("0.0")
    assert boston.get_attribute("data-state") == berlin.get_attribute("data-state") == "running"
    expect(boston.locator("[data-metric=pace]")).to_have_text("10:02")
    started = len(loads)

    for card, time in ((boston, "3:38:28"), (berlin, "3:18:41")):
        # This sentence is the server's: it is there only after the reload.
        expect(card.locator(".message")).to_have_text(f"Finished in {time}")
        expect(miles(card)).to_have_text("26.2")
    page.wait_for_timeout(A_WHILE)
    assert len(loads) in {started + 1, started + 2}  # both may end in one breath
    assert len(heard) == 2
    for run in heard.values():
        assert run == sorted(run)
        assert len(set(run)) >= 10


def test_a_page_that_is_behind_the_end_of_a_race_reloads_only_once(context, page):
    berlin = start(page, "berlin")
    behind = page.content()
    expect(berlin.locator(".message")).to_have_text(re.compile("Finished"))

    late, loads = context.new_page(), []
    late.on("domcontentloaded", lambda page: loads.append(page.url))
    late.route("**/marathons/", lambda route: route.fulfill(body=behind, content_type="text/html"))
    late.goto("/marathons/")
    expect(late.locator(".race")).not_to_have_count(0)
    late.wait_for_function("performance.getEntriesByType('navigation')[0].type === 'reload'")
    late.wait_for_timeout(A_WHILE)
    assert len(loads) == 2


def test_a_runner_who_gives_up_is_told_with_the_reason_and_the_page_stays(page, loads):
    card = start(page, "death-valley")
    page.wait_for_load_state()
    started = len(loads)
    expect(card).to_have_attribute("data-state", "failed")
    expect(card.locator(".message")).to_have_text("Too hot: the runner gave up after 16.4 miles.")
    expect(miles(card)).to_have_text("16.4")
    page.wait_for_timeout(A_WHILE)
    assert len(loads) == started
    page.reload()
    expect(card.locator(".message")).to_have_text("Too hot: the runner gave up after 16.4 miles.")


def test_a_killed_race_stops_and_the_other_goes_on(page):
    boston, berlin = start(page, "boston"), start(page, "berlin")
    expect(miles(boston)).not_to_have_text("0.0")
    boston.get_by_role("button", name="Kill").click()
    expect(boston).to_have_attribute("data-state", "cancelled")
    expect(boston.locator(".message")).to_have_text("This was cancelled.")
    expect(boston.get_by_role("button")).to_have_count(0)
    stopped_at, other_at = miles(boston).inner_text(), miles(berlin).inner_text()
    expect(miles(berlin)).not_to_have_text(other_at)
    assert miles(boston).inner_text() == stopped_at
    berlin.get_by_role("button", name="Kill").click()
    expect(berlin).to_have_attribute("data-state", "cancelled")


def test_without_javascript_the_page_keeps_up_too(browser, demo):
    context = browser.new_context(base_url=demo.url, java_script_enabled=False)
    page = context.new_page()
    page.goto("/marathons/")
    card = start(page, "death-valley")
    expect(card.get_by_role("button")).to_have_count(0)
    expect(miles(card)).not_to_have_text("0.0")
    context.close()


def test_a_marathon_is_on_the_page_of_whoever_started_it_alone(browser, demo, page):
    start(page, "death-valley")
    stranger = browser.new_context(base_url=demo.url)
    elsewhere = stranger.new_page()
    elsewhere.goto("/marathons/")
    expect(elsewhere.locator(".empty")).to_be_visible()
    expect(elsewhere.locator(".race")).to_have_count(0)
    stranger.close()
