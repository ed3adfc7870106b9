"""Any mix of loops and numbers, in each other, raising, by threads and processes: the bar stays within the outer item.

A program is a list of steps. A step is a loop, or numbers that count the same: `("track" | "update", items)`, with what
is done in each item: more steps, steps of a thread, or an error.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any, Self

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from immortus_channels.api.repository import JobRepository, get_job
from immortus_channels.jobs.job import percentage
from immortus_channels.stores import get_store
from immortus_channels.writer.run import Run
from tests.examples import examples
from tests.servers import RedisServer


class Broken(Exception):
    """What an item raises."""


# An inner step has another total than the outermost: with the same one, `update()` means the outermost.
def steps(sizes: Any, inside: Any, kinds: Any) -> Any:
    return st.tuples(kinds, sizes.flatmap(lambda size: st.lists(inside, min_size=size, max_size=size)))


INNER_SIZES, OUTER_SIZES = st.integers(0, 3), st.integers(4, 6)
ACTIONS = st.sampled_from(["nothing", "look", "message", "raise"])
INNERMOST = steps(INNER_SIZES, st.lists(ACTIONS, max_size=2), st.sampled_from(["track", "update"]))
ITEM = st.recursive(
    st.lists(ACTIONS | INNERMOST, max_size=2),
    lambda item: st.lists(
        ACTIONS | steps(INNER_SIZES, item, st.just("track")) | st.tuples(st.just("thread"), item), max_size=2
    ),
    max_leaves=8,
)
PROGRAMS = st.lists(steps(OUTER_SIZES, ITEM, st.sampled_from(["track", "update"])), min_size=1, max_size=3)


class Performer:
    """Performs programs on a job, and looks at its bar after each action."""

    def __init__(self, job: Any, look: Callable[[], None]) -> None:
        self.job, self.look = job, look

    def perform(self, kind: str, items: list[Any]) -> None:
        for _, todo in zip(self.counting(kind, len(items)), items, strict=True):
            self.do_all(todo, is_in_loop=kind == "track")

    def do_all(self, todo: list[Any], *, is_in_loop: bool) -> None:
        """Do it; where this thread is in no loop, numbers are of the outermost step, so a loop takes their place."""
        for one in todo:
            self.do(("track", one[1]) if one[0] == "update" and not is_in_loop else one)
            self.look()

    def counting(self, kind: str, size: int) -> Iterator[int]:
        if kind == "track":
            yield from self.job.track(range(size))
            return
        try:
            for number in range(size):
                self.job.update(current=number, total=size)
                yield number
        finally:
            if size:
                self.job.update(current=size, total=size)

    def do(self, one: Any) -> None:
        match one:
            case "raise":
                raise Broken
            case "message":
                self.job.update(message="Inside")
            case ("thread", todo):
                thread = threading.Thread(target=self.do_in_thread, args=[todo])
                thread.start()
                thread.join()
            case (kind, items):
                with contextlib.suppress(Broken):
                    self.perform(kind, items)

    def do_in_thread(self, todo: list[Any]) -> None:
        with contextlib.suppress(Broken):
            self.do_all(todo, is_in_loop=False)


class Bar:
    """The bar of a run, as its reports tell it."""

    def __init__(self, run: Run) -> None:
        self.run, self.item, self.last = run, 0, (0, 0.0)

    def look(self) -> None:
        said, _ = self.run.take()
        assert 0 <= said.within <= 1
        place = said.current + said.within
        assert said.step > self.last[0] or place >= self.last[1], "the bar has fallen within a step"
        assert said.current == self.item, "what is inside of an item has changed the count of the outer step"
        assert place <= self.item + 1
        self.last = said.step, place


@examples(300)
@given(PROGRAMS)
def test_the_bar_stays_within_the_item_at_work(program):
    run = Run(job_id="j", job_class="c", run_id="r")
    bar = Bar(run)
    performer = Performer(run, bar.look)
    for kind, items in program:
        done = 0
        with contextlib.suppress(Broken):
            for bar.item, todo in zip(performer.counting(kind, len(items)), items, strict=True):
                performer.do_all(todo, is_in_loop=kind == "track")
                done = bar.item + 1
        said, _ = run.take()
        assert (said.current, said.total) == (len(items) if kind == "update" else done, len(items))
        assert said.message in (None, "Inside")


# Processes


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def shared(redis: RedisServer, settings: Any) -> None:
    settings.IMMORTUS_STORE = {"BACKEND": "redis", "OPTIONS": {"url": redis.url}}
    settings.IMMORTUS_INLINE = False


def in_children(works: list[Callable[[], None]]) -> None:
    """Do each in a forked process that ends without any hook, all at once."""
    children = []
    for work in works:
        if (child := os.fork()) == 0:
            with contextlib.suppress(BaseException):
                work()
                os._exit(0)
            os._exit(1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * len(works)


class Watched:
    """The bars of a job over time, from its records."""

    def __init__(self, job_id: str) -> None:
        self.job_id, self.seen, self._over = job_id, [], threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._over.wait(0.003):
            self.look()

    def look(self) -> Any:
        job = get_store().get_many([self.job_id]).jobs[self.job_id]
        self.seen.append(((job.step, job.total), job.current + job.within, job))
        return job

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.look()
        for (step, place, _), (next_step, next_place, _) in zip(self.seen, self.seen[1:], strict=False):
            assert step != next_step or next_place >= place - 1e-9, "the bar has fallen within a step"


SHARES = st.lists(
    st.lists(st.tuples(st.sampled_from(["track", "advance", "raising"]), st.integers(0, 9)), max_size=3),
    min_size=1, max_size=3,
)  # fmt: skip


def share_of(job_id: str, parts: list[tuple[str, int]]) -> None:
    """One process's part of the work; a loop that raises has an item more, in which it does."""
    for kind, number in parts:
        if kind == "advance":
            for _ in range(number):
                get_job(job_id).update(advance=1)
            continue
        with contextlib.suppress(Broken):
            for item in get_job(job_id).track(range(number + (kind == "raising"))):
                list(get_job(job_id).track(range(3), message="Inside"))
                if kind == "raising" and item == number:
                    raise Broken


@pytest.mark.redis
@pytest.mark.parametrize("is_announced", [True, False])
@pytest.mark.usefixtures("shared")
@examples(15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SHARES)
def test_what_processes_count_of_a_job_that_nobody_runs_is_exact(is_announced, shares):
    job = JobRepository().create()
    if not is_announced:  # numbers and loops without a common total are steps of their own
        shares = [[part for part in parts if part[0] != "advance"] for parts in shares]
    everything = sum(number for parts in shares for _, number in parts)
    if is_announced:
        job.update(total=everything + 1)
    with Watched(job.id) as watched:
        in_children([lambda parts=parts: share_of(job.id, parts) for parts in shares])
    record = watched.look()
    assert record.current == everything
    assert not is_announced or record.total == everything + 1
    assert record.within >= 0


@pytest.mark.redis
@pytest.mark.usefixtures("shared")
@examples(15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["track", "update"]), SHARES)
def test_loops_of_processes_stay_within_the_item_of_the_task(kind, shares):
    loops = [[part for part in parts if part[0] != "advance"] for parts in shares]
    with JobRepository().create().running() as job:
        performer = Performer(job, lambda: None)
        with Watched(job.id) as watched:
            for item in performer.counting(kind, 3):
                job._side._notify(job._side)
                in_children([lambda parts=parts: share_of(job.id, parts) for parts in loops])
                record = watched.look()
                assert record.current <= item
                assert percentage(record.current, 3, None, record.within) <= 100 * (item + 1) / 3
    assert (get_job(job.id).document["current"], get_job(job.id).document["total"]) == (3, 3)
