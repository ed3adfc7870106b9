"""What a page is told that comes back with any version: the recovery table, one row a test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.simulation.viewers import Viewer
from tests.simulation.world import MISSING, World


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    assert world.judge_now() == []
    world.close()


@pytest.fixture
def page(world: World) -> Viewer:
    """A page that shows job "a" running at 1 of 100."""
    for what in ("enqueue", "start", "report"):
        world.tell("a", what)
    page = world.viewers[0]
    page.follow("a")
    world.connect(page)
    world.pass_time()
    return page


def came_back(world: World, page: Viewer) -> list[str]:
    """The types of frames that answer the page, which has lost its socket and opens another."""
    answers: list[str] = []
    world.connect(page)
    assert page.socket is not None
    hear = page.hear
    page.hear = lambda text: (answers.append(text), hear(text))[1]  # type: ignore[assignment, func-returns-value]
    world.pass_time(0.3)
    return [text.split('"')[3] for text in answers if '"hello"' not in text]


def shows(world: World, page: Viewer) -> bool:
    return page.shown["a"].text == world.store.text("a")


def test_behind_it_is_told_the_newest(world, page):
    world.cut(page)
    world.tell("a", "report")
    assert came_back(world, page) == ["job"]
    assert shows(world, page)


def test_equal_it_is_told_that_it_is_current(world, page):
    world.cut(page)
    assert came_back(world, page) == ["current"]
    assert shows(world, page)


def test_behind_a_job_that_ended_meanwhile_it_is_told_the_end_once(world, page):
    world.cut(page)
    world.tell("a", "finish")
    assert came_back(world, page) == ["job"]
    assert shows(world, page)
    assert page.shown["a"].settled == 1


@pytest.mark.parametrize("clock", [0.0, -90.0, 90.0])
def test_ahead_of_a_rolled_back_store_it_gets_the_document_above_its_own(world, page, clock):
    held = page.shown["a"].version
    world.stop()
    world.store.roll_back("a", 1)
    world.skew = clock
    assert came_back(world, page) == ["job"]
    assert shows(world, page)
    assert page.shown["a"].version > held


def test_ahead_of_a_job_that_is_over_it_is_told_the_end(world, page):
    world.stop()
    world.store.roll_back("a", 1)
    world.skew = -90.0
    world.tell("a", "finish")
    assert came_back(world, page) == ["job"]
    assert shows(world, page)
    assert page.shown["a"].settled == 1


def test_from_the_future_beyond_belief_it_is_answered_and_lifts_nothing(world, page):
    before = world.store.text("a")
    page.shown["a"].version = 2**53 - 1
    assert came_back(world, page) == ["job"]
    assert world.store.text("a") == before


def test_of_a_job_that_never_existed_it_is_told_so(world):
    page = world.viewers[0]
    page.follow("a")
    assert came_back(world, page) == ["error"]
    assert page.shown["a"].is_missing


def test_of_a_job_that_expired_meanwhile_it_is_told_that_there_is_none(world, page):
    world.cut(page)
    world.store.forget("a")
    assert came_back(world, page) == ["error"]


def test_of_a_job_that_vanishes_it_is_told_and_hears_when_that_is_back(world, page):
    world.store.forget("a")
    world.pass_time(MISSING / 2)
    assert not page.shown["a"].is_missing
    world.pass_time(MISSING + 2)
    assert page.shown["a"].is_missing
    world.tell("a", "report")
    world.pass_time(2.5)
    assert shows(world, page)


def test_after_a_rollback_it_shows_the_store_within_one_recheck(world, page):
    world.tell("a", "report")
    world.pass_time()
    world.store.roll_back("a", 1)
    world.pass_time(1.5)
    assert shows(world, page)


def test_without_its_right_it_is_told_what_of_an_unknown_job(world, page):
    world.forbid("alice", "a")
    assert came_back(world, page) == ["error"]
