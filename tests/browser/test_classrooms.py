"""The classrooms of the example: a form, the page of its job, and back with a message."""

from __future__ import annotations

import re

import pytest

expect = pytest.importorskip("playwright.sync_api").expect

pytestmark = [pytest.mark.usefixtures("patience"), pytest.mark.slow]

CLASSROOM = re.compile(r"/classrooms/\d+/$")
JOB_PAGE = re.compile(r"/immortus/jobs/.+")


@pytest.fixture
def page(context):
    page = context.new_page()
    enter(page)
    return page


def enter(page):
    """Go to the fullest classroom, which is never the cupboard: other tests have moved people around."""
    page.goto("/classrooms/")
    numbers = [int(text) for text in page.locator(".rooms span").all_inner_texts()]
    page.locator(".rooms a").nth(numbers.index(max(numbers))).click()
    expect(page.locator(".students input").first).to_be_checked()


def students(page):
    return [name.strip() for name in page.locator(".students label").all_inner_texts()]


def move(page, ending):
    """Press the first button that promises this ending; be led to the page of the job."""
    page.locator(".choices button", has_text=ending).first.click()
    expect(page).to_have_url(JOB_PAGE)


def test_all_students_move_while_the_page_waits_and_it_was_so_nice(page):
    address, moving = page.url, students(page)
    move(page, "so nice")
    expect(page.get_by_role("heading")).to_have_text(f"Moving {len(moving)} students")
    expect(page.locator("[data-immortus=percentage]")).to_have_text(re.compile(r"^[1-9]\d?(\.\d)? %$"))

    expect(page).to_have_url(address)
    expect(page.locator(".flashes .success")).to_have_text(re.compile(f"^It was so nice: {len(moving)} students moved"))
    expect(page.locator(".empty")).to_have_text("Nobody is here.")
    page.reload()
    expect(page.locator(".flashes")).to_have_count(0)
    enter(page)
    assert set(moving) <= set(students(page))


def test_only_those_who_were_chosen_move(page):
    first, *others = students(page)
    for name in others:
        page.get_by_label(name, exact=True).uncheck()
    move(page, "so nice")
    expect(page.get_by_role("heading")).to_have_text("Moving 1 student")
    expect(page.locator(".flashes .success")).to_have_text(re.compile("^It was so nice: 1 student moved"))
    assert students(page) == others
    assert first not in students(page)


def test_where_they_do_not_all_fit_in_the_message_is_the_other_one(page):
    address, before = page.url, students(page)
    move(page, "error being nice")
    expect(page).to_have_url(address)
    said = page.locator(".flashes .error")
    expect(said).to_have_text(
        re.compile(r"^Error being nice: \d students? moved to the broom cupboard, then it was full.$")
    )
    moved = int(re.search(r"\d", said.inner_text()).group())
    assert len(students(page)) == len(before) - moved > 0


def test_a_transfer_that_fails_says_why_on_the_page_of_the_job(page):
    before = students(page)
    move(page, "failed")
    expect(page.get_by_role("heading")).to_have_text("This did not work")
    expect(page.get_by_role("status")).to_have_text("The bell tower has no seats. Everybody stays where they are.")
    page.get_by_role("link", name="Classrooms").click()
    enter(page)
    assert students(page) == before
    expect(page.locator(".flashes")).to_have_count(0)


def test_nobody_chosen_is_said_at_once_and_starts_no_job(page):
    address = page.url
    for name in students(page):
        page.get_by_label(name, exact=True).uncheck()
    page.locator(".choices button", has_text="so nice").first.click()
    expect(page.locator(".flashes .error")).to_have_text("Choose who is to move, and where to.")
    assert page.url == address


def test_without_javascript_it_is_the_same(browser, demo):
    context = browser.new_context(base_url=demo.url, java_script_enabled=False)
    page = context.new_page()
    enter(page)
    address = page.url
    move(page, "error being nice")
    expect(page.get_by_role("heading")).to_have_text(re.compile("^Moving"))
    expect(page).to_have_url(address)
    expect(page.locator(".flashes .error")).to_have_text(re.compile("^Error being nice"))
    move(page, "failed")
    expect(page.get_by_role("heading")).to_have_text("This did not work")
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_each_page_leads_to_the_others_and_fits_a_phone(browser, demo, scheme):
    phone = browser.new_context(base_url=demo.url, viewport={"width": 360, "height": 740}, color_scheme=scheme)
    page = phone.new_page()
    page.goto("/")
    for name in ("Marathons", "Classrooms", "Photographs"):
        page.get_by_role("navigation", name="Pages").get_by_role("link", name=name).click()
        expect(page.get_by_role("navigation", name="Pages").locator("[aria-current]")).to_have_text(name)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
    phone.close()
