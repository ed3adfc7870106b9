"""The items of a job's loop: counted when the next is asked for, under `for` and `async for` alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from django.contrib.auth.models import Group

from immortus_channels import current_job, tracking
from immortus_channels.api.items import TrackedItems
from immortus_channels.exceptions import JobCancelled
from immortus_channels.jobs.events import Finished
from immortus_channels.writer.run import current_run


@pytest.fixture
def run(settings):
    settings.IMMORTUS_STORE = {"BACKEND": "memory"}
    run = tracking.make_run(job_id="j", job_class="task", run_id="r", origin=None)
    tracking.begin(run)
    token = current_run.set(run)
    yield run
    current_run.reset(token)
    tracking.end(run, Finished)


@pytest.fixture
def job(run):
    return current_job()


class Pages:
    """Items that come one by one; what the job had counted when each was asked for is written down."""

    def __init__(self, run, items="abc"):
        self.run, self.items, self.counted = run, items, []

    async def __aiter__(self):
        for item in self.items:
            self.counted.append(self.run.take()[0].current)
            await asyncio.sleep(0)
            yield item
        self.counted.append(self.run.take()[0].current)


def standing(run):
    """The step's number, and what is counted of how much."""
    report = run.take()[0]
    return report.step, report.current, report.total


# Plain loops


def test_a_plain_loop_is_over_the_runs_own_generator(run, job):
    items = job.track("abc")
    assert isinstance(items, TrackedItems)
    assert type(iter(items)) is type(run.track("abc"))
    assert iter(items) is iter(items)


def test_items_are_an_iterator_and_an_async_iterator(job):
    items = job.track("abc")
    assert isinstance(items, Iterator)
    assert isinstance(items, AsyncIterator)
    assert (next(items), list(items)) == ("a", ["b", "c"])
    assert list(items) == []


def test_nothing_begins_before_the_first_item(run, job):
    items = job.track("abc")
    assert run.take()[0].step == 0
    next(items)
    assert standing(run) == (1, 0, 3)


# Async loops


async def test_async_items_are_counted_when_the_next_is_asked_for(run, job):
    pages = Pages(run)
    assert [item async for item in job.track(pages, total=3, message="Reading")] == ["a", "b", "c"]
    assert pages.counted == [0, 1, 2, 3]
    assert (standing(run), run.take()[0].message) == ((1, 3, 3), "Reading")


async def test_plain_items_are_counted_in_an_async_loop_too(run, job):
    counted = [run.take()[0].current async for _ in job.track("abc")]
    assert (counted, standing(run)) == ([0, 1, 2], (1, 3, 3))


async def test_an_async_generator_has_no_length(run, job):
    async for _ in job.track(aiter(Pages(run))):
        assert standing(run)[2] is None


@pytest.mark.django_db(transaction=True)
async def test_rows_of_the_database_are_counted_and_their_number_known(run, job):
    for name in "abc":
        await Group.objects.acreate(name=name)
    rows = job.track(Group.objects.order_by("name"))
    assert [(row.name, standing(run)) async for row in rows] == [
        ("a", (1, 0, 3)),
        ("b", (1, 1, 3)),
        ("c", (1, 2, 3)),
    ]


async def test_a_loop_that_is_left_counts_no_more_and_ends_its_step(run, job):
    async for item in job.track(Pages(run)):
        if item == "b":
            break
    assert standing(run)[:2] == (1, 1)
    async for _ in job.track(Pages(run), total=3):
        pass
    assert standing(run) == (2, 3, 3)


async def test_items_that_raise_end_the_loop(run, job):
    async def broken():
        yield "a"
        raise LookupError

    items = job.track(broken())
    with pytest.raises(LookupError):
        [item async for item in items]
    assert standing(run)[:2] == (1, 1)
    with pytest.raises(StopAsyncIteration):
        await anext(items)
    job.update(current=1, total=9)
    assert standing(run) == (2, 1, 9)


async def test_an_async_loop_within_another_is_no_step(run, job):
    async for _ in job.track(Pages(run, "ab"), total=2):
        async for _ in job.track(Pages(run)):
            pass
    assert standing(run) == (1, 2, 2)


@pytest.mark.parametrize("source", [Pages, lambda run: "abc"], ids=["async", "plain"])
async def test_a_cancel_is_heard_between_two_items(run, job, source):
    items = job.track(source(run))
    assert [await anext(items), await anext(items)] == ["a", "b"]
    run.cancel_requested = True
    with pytest.raises(JobCancelled):
        await anext(items)
    assert standing(run)[:2] == (1, 2)


async def test_a_cancel_while_the_next_item_is_awaited_comes_before_it(run, job):
    async def slow():
        yield "a"
        run.cancel_requested = True
        yield "b"

    items = job.track(slow())
    assert await anext(items) == "a"
    with pytest.raises(JobCancelled):
        await anext(items)


@pytest.mark.parametrize("source", [Pages, lambda run: "abc"], ids=["async", "plain"])
async def test_no_item_is_taken_back_by_a_cancel_after_the_last(run, job, source):
    async for item in job.track(source(run)):
        run.cancel_requested = item == "c"
    assert standing(run)[:2] == (1, 3)


async def test_outside_a_job_async_items_just_come():
    async def items():
        yield 1

    assert [item async for item in current_job().track(items())] == [1]
    assert [item async for item in current_job().track("ab")] == ["a", "b"]
