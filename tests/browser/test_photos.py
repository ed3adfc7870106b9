"""The photo story in a real browser, with a real worker: what the page says is what happened."""

from __future__ import annotations

import json
import re

import pytest

expect = pytest.importorskip("playwright.sync_api").expect

pytestmark = [pytest.mark.usefixtures("patience"), pytest.mark.slow]

LOST_WITHIN = 75_000


def upload(page, photograph):
    page.set_input_files("#image", {"name": "meadow.jpg", "mimeType": "image/jpeg", "buffer": photograph})
    return newest(page)


def play(page, scene):
    """Press a scene's button; return its card once the job is known by its id."""
    page.click(f"[data-scene={scene}]")
    return newest(page)


def newest(page):
    """The card of the job started last; addressed by its job id, as later ones push it down."""
    expect(page.locator(".card").first).to_have_attribute("data-job", re.compile(".+"))
    job_id = page.locator(".card").first.get_attribute("data-job")
    return page.locator(f".card[data-job='{job_id}']")


def expect_state(card, state, code="", **options):
    expect(card).to_have_attribute("data-state", state, **options)
    expect(card).to_have_attribute("data-code", code)


def watch_percentages(page):
    """Note every percentage that a card shows, from the next page load on."""
    page.add_init_script("""
        window.percentages = new Set();
        const note = ({ target }) => window.percentages.add(target.dataset.percentage);
        new MutationObserver((changes) => changes.forEach(note))
            .observe(document, { subtree: true, attributeFilter: ["data-percentage"] });
    """)


def is_painted(card):
    """Wait for the thumbnail, and see that it really is a picture."""
    image = card.locator(".picture img")
    expect(image).to_have_attribute("src", re.compile("thumbnail"))
    return image.evaluate("(image) => image.decode().then(() => image.naturalWidth > 100)")


def test_an_uploaded_photograph_is_pushed_from_upload_to_thumbnail(page, photograph):
    documents = []

    def note(frame):
        message = json.loads(frame)
        if message["type"] == "job":
            documents.append(message["job"])

    page.on("websocket", lambda socket: socket.on("framereceived", note))
    card = upload(page, photograph)
    expect(page.locator("#transport")).to_have_attribute("data-transport", "websocket")
    expect_state(card, "finished")

    assert len({document["percentage"] for document in documents} - {None}) >= 10
    versions = [document["version"] for document in documents]
    assert versions == sorted(versions)
    assert is_painted(card)
    expect(page.locator("#gallery img")).to_have_count(1)


def test_without_websockets_the_same_story_is_polled(context, photograph):
    page = context.new_page()
    page.add_init_script("delete window.WebSocket")
    watch_percentages(page)
    page.goto("/")
    card = upload(page, photograph)
    expect(page.locator("#transport")).to_have_attribute("data-transport", "polling")
    expect_state(card, "finished")

    assert len(set(page.evaluate("[...window.percentages]")) - {""}) >= 5, "three seconds of polling"
    assert is_painted(card)


def test_the_switch_changes_the_transport_of_running_jobs(page):
    page.click("[data-sample=coffee]")
    badge = page.locator("#transport")
    expect(badge).to_have_attribute("data-transport", "websocket")
    page.click("#switch label:has([value=polling])")
    expect(badge).to_have_attribute("data-transport", "polling")
    page.click("#switch label:has([value=auto])")
    expect(badge).to_have_attribute("data-transport", "websocket")
    expect_state(newest(page), "finished")


@pytest.mark.case(50)
def test_a_reload_in_mid_job_shows_the_same_job(page, photograph):
    card = upload(page, photograph)
    job_id = card.get_attribute("data-job")
    expect(card).to_have_attribute("data-state", "running")
    page.reload()
    again = newest(page)
    assert again.get_attribute("data-job") == job_id
    expect_state(again, "finished")
    assert is_painted(again)


@pytest.mark.case(27)
def test_a_second_tab_and_one_opened_after_the_end_show_the_truth(context, page):
    page.click("[data-sample=chelsea]")
    first = newest(page)
    expect(first).to_have_attribute("data-state", "running")
    second = context.new_page()
    second.goto("/")
    expect_state(newest(second), "finished")
    expect_state(first, "finished")
    late = context.new_page()
    late.goto("/")
    expect_state(newest(late), "finished")
    assert is_painted(newest(late))


@pytest.mark.parametrize(
    ("scene", "state", "code", "attempt"),
    [
        ("fails", "failed", "out_of_blue", "1"),
        ("retries", "finished", "", "3"),
        ("crashes", "failed", "error", "1"),
        ("time-limit", "failed", "time_limit", "1"),
        ("child-killed", "failed", "worker_lost", "1"),
        ("table", "finished", "", "1"),
    ],
)
def test_a_job_ends_as_it_really_did(page, scene, state, code, attempt):
    card = play(page, scene)
    expect_state(card, state, code)
    expect(card).to_have_attribute("data-attempt", attempt)
    page.reload()
    expect_state(newest(page), state, code)


def test_people_read_what_a_failure_says_to_them_and_nothing_else(page):
    failed, crashed = play(page, "fails"), play(page, "crashes")
    expect(failed.locator(".message")).to_have_text("The painter ran out of blue.")
    expect_state(crashed, "failed", "error")
    assert "easel" not in crashed.inner_text()


def test_a_running_job_stops_when_it_is_cancelled(page):
    card = play(page, "slow")
    expect(card.locator(".message")).to_contain_text("Painting")
    card.locator(".cancel").click()
    expect_state(card, "cancelled", "cancelled")


def test_a_waiting_job_that_is_cancelled_never_runs(page):
    running = [play(page, "slow"), play(page, "slow")]
    for card in running:
        expect(card).to_have_attribute("data-state", "running")
    waiting = play(page, "slow")
    waiting.locator(".cancel").click()
    expect_state(waiting, "cancelled", "cancelled")
    for card in running:
        card.locator(".cancel").click()
        expect_state(card, "cancelled", "cancelled")
    page.click("[data-sample=coffee]")
    expect_state(newest(page), "finished")
    page.reload()
    expect(page.locator(f".card[data-job='{waiting.get_attribute('data-job')}']")).to_have_attribute(
        "data-state", "cancelled"
    )


def test_the_jobs_of_a_killed_worker_are_lost_and_the_demo_goes_on(page):
    card = play(page, "worker-killed")
    expect(card).to_have_attribute("data-state", "stalled", timeout=LOST_WITHIN)
    expect_state(card, "lost", "lost", timeout=LOST_WITHIN)
    page.click("[data-sample=coffee]")
    expect_state(newest(page), "finished")


def test_all_jobs_of_a_page_share_one_socket(page):
    sockets = []
    page.on("websocket", lambda socket: sockets.append(socket.url))
    for _ in range(3):
        page.click("[data-sample=coffee]")
    page.click("[data-scene=fails]")
    expect(page.locator(".card[data-state=finished]")).to_have_count(3)
    expect(page.locator(".card[data-state=failed]")).to_have_count(1)
    assert len(sockets) == 1


def test_a_file_that_is_no_picture_is_refused_with_a_reason(page):
    page.set_input_files("#image", {"name": "poem.jpg", "mimeType": "image/jpeg", "buffer": b"The sea, the sea"})
    expect(page.locator("#problem")).to_have_text("This file is not a picture that can be read.")
    expect(page.locator(".card")).to_have_count(0)


def test_a_job_of_somebody_else_is_as_unknown_as_one_that_never_was(browser, demo):
    alice, bob = (sign_in(browser, demo, name) for name in ("alice", "bob"))
    alice.click("[data-sample=coffee]")
    job_id = newest(alice).get_attribute("data-job")
    hers, his, none = (
        (page.request.get(f"/immortus/verify/{wanted}"), wanted)
        for page, wanted in ((alice, job_id), (bob, job_id), (bob, "00000000-0000-4000-8000-000000000000"))
    )
    assert hers[0].status == 200
    assert his[0].status == none[0].status == 404
    assert his[0].text().replace(his[1], "") == none[0].text().replace(none[1], "")
    for page in (alice, bob):
        page.context.close()


def sign_in(browser, demo, name):
    page = browser.new_context(base_url=demo.url).new_page()
    page.goto("/login/")
    page.fill("[name=username]", name)
    page.fill("[name=password]", "immortus")
    page.click("button.primary")
    expect(page.locator(".foot")).to_contain_text(f"Signed in as {name}")
    return page


@pytest.mark.parametrize("path", ["/", "/marathons/", "/classrooms/"])
def test_no_page_scrolls_sideways_on_the_narrowest_phone(page, path):
    page.set_viewport_size({"width": 320, "height": 640})
    page.goto(path)
    assert page.evaluate("document.documentElement.scrollWidth") == 320


@pytest.mark.parametrize("path", ["/", "/marathons/", "/classrooms/"])
def test_each_page_answers_to_head(context, path):
    assert context.request.head(path).status == 200


def test_without_javascript_the_jobs_are_listed_each_with_its_page(browser, demo):
    context = browser.new_context(base_url=demo.url, java_script_enabled=False)
    page = context.new_page()
    page.goto("/")
    expect(page.get_by_text("Nothing yet")).to_be_visible()
    token = page.locator("#upload [name=csrfmiddlewaretoken]").get_attribute("value")
    form = {"sample": "chelsea", "csrfmiddlewaretoken": token}
    job_id = context.request.post("/process_image", form=form).json()["job_id"]
    page.reload()
    expect(page.get_by_text("Nothing yet")).to_be_hidden()
    page.get_by_role("link", name="Chelsea").click()
    assert job_id in page.url
    context.close()
