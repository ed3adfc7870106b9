"""Loops of one job that run beside each other, in tasks and in threads: they add up, whoever asked for the handle."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from immortus_channels.api.repository import JobRepository, aget_job, current_job, get_job
from immortus_channels.stores import get_store

PARTS = (2, 6, 12)


@pytest.fixture(autouse=True)
def _settings(settings):
    settings.IMMORTUS_STORE = {"BACKEND": "memory"}


class Bar:
    """The bars that a job showed; all parts have begun before any of them counts."""

    def __init__(self, job, parts=PARTS):
        self.job, self.seen = job, []
        self.met = threading.Barrier(len(parts))

    def look(self):
        record = get_store().get_many([self.job.id]).jobs[self.job.id]
        self.seen.append((record.current, record.total))

    async def in_task(self, handle, n):
        for _ in handle.track(range(n)):
            await asyncio.sleep(0.02)
            self.look()

    def in_thread(self, handle, n):
        for number in handle.track(range(n)):
            if not number:
                self.met.wait(5)
            self.look()

    def check(self, *, is_announced=True):
        self.look()
        assert self.seen[-1] == (20, 20)
        assert (20, 20) not in self.seen[:-8], "full before the last items"
        if is_announced:
            assert {total for _, total in self.seen} == {20}


async def handle_of(job, getter):
    return await aget_job(job.id) if getter == "aget_job" else current_job()


@pytest.mark.parametrize("getter", ["aget_job", "current_job"])
@pytest.mark.parametrize("is_announced", [True, False])
async def test_loops_of_tasks_add_up_in_an_async_block(getter, is_announced):
    bar = Bar(await JobRepository().acreate())
    async with bar.job.arunning() as running:
        if is_announced:
            running.update(total=20)
        await asyncio.gather(*[bar.in_task(await handle_of(bar.job, getter), n) for n in PARTS])
    bar.check(is_announced=is_announced)


def test_loops_of_tasks_add_up_in_a_plain_task():
    bar = Bar(JobRepository().create())

    async def work():
        await asyncio.gather(*(bar.in_task(current_job(), n) for n in PARTS))

    with bar.job.running() as running:
        running.update(total=20)
        asyncio.run(work())
    bar.check()


async def test_loops_of_to_thread_add_up():
    bar = Bar(await JobRepository().acreate())
    async with bar.job.arunning() as running:
        running.update(total=20)
        await asyncio.gather(*(asyncio.to_thread(lambda n=n: bar.in_thread(get_job(bar.job.id), n)) for n in PARTS))
    bar.check()


@pytest.mark.parametrize("is_announced", [True, False])
@pytest.mark.parametrize("kind", ["run", "elsewhere"])
def test_loops_of_threads_that_are_given_the_job_add_up(kind, is_announced):
    bar = Bar(JobRepository().create())

    def work(job):
        if is_announced:
            job.update(total=20)
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda n: bar.in_thread(job, n), PARTS))

    if kind == "elsewhere":
        work(bar.job)
    else:
        with bar.job.running() as running:
            work(running)
    bar.check(is_announced=is_announced)


async def test_parts_one_after_another_fill_the_total_that_was_announced():
    bar = Bar(await JobRepository().acreate())
    one_at_a_time = asyncio.Semaphore(1)

    async def part(n):
        async with one_at_a_time:
            await bar.in_task(await aget_job(bar.job.id), n)

    async with bar.job.arunning() as running:
        running.update(total=20)
        await asyncio.gather(*map(part, PARTS))
    bar.check()


async def test_what_a_part_advances_adds_to_the_announced_total_too():
    bar = Bar(await JobRepository().acreate())

    async def advance():
        for _ in range(8):
            current_job().update(advance=1)
            await asyncio.sleep(0.001)

    async def loop():
        await asyncio.sleep(0.004)
        await bar.in_task(current_job(), 12)

    async with bar.job.arunning() as running:
        running.update(total=20)
        await asyncio.gather(advance(), loop())
    bar.check()


async def test_one_loop_after_another_in_tasks_are_two_steps():
    bar = Bar(await JobRepository().acreate())
    async with bar.job.arunning():
        for n in (5, 3):
            await asyncio.create_task(bar.in_task(current_job(), n))
    bar.look()
    assert bar.seen[-1] == (3, 3)


def inner_parts(items):
    """Return what works on an item, in tasks or threads that begin in it."""

    async def in_tasks(job):
        async def part():
            for _ in current_job().track(range(items)):
                job.update(advance=1)
                await asyncio.sleep(0)

        await asyncio.gather(*(part() for _ in range(3)))

    async def in_threads(job):
        await asyncio.gather(*(asyncio.to_thread(lambda: list(current_job().track(range(items)))) for _ in range(3)))

    async def in_tasks_of_a_loop(job):
        for _ in job.track(range(2)):
            await in_tasks(job)

    async def that_advance(job):
        async def part():
            job.update(advance=1)

        await asyncio.gather(*(part() for _ in range(3)))

    return {
        "tasks": in_tasks, "threads": in_threads, "tasks of a loop": in_tasks_of_a_loop, "advance": that_advance
    }  # fmt: skip


@pytest.mark.parametrize("kind", inner_parts(0))
@pytest.mark.parametrize("is_in_new_loop", [True, False])
async def test_tasks_and_threads_that_begin_in_an_item_are_part_of_it(kind, is_in_new_loop):
    bar = Bar(await JobRepository().acreate())

    async def work(job):
        for item in job.track(range(4)):
            await inner_parts(10)[kind](job)
            report, _ = job._side.take()
            assert (report.current, report.total) == (item, 4)
            assert report.within <= 1

    async with bar.job.arunning() as running:
        await (asyncio.create_task(work(running)) if is_in_new_loop else work(running))
    bar.look()
    assert bar.seen[-1] == (4, 4)


async def test_a_loop_inside_of_a_part_is_of_that_parts_item():
    bar = Bar(await JobRepository().acreate())

    async def part(n):
        for _ in current_job().track(range(n)):
            for _ in current_job().track(range(7)):
                await asyncio.sleep(0)

    async with bar.job.arunning() as running:
        running.update(total=20)
        await asyncio.gather(*map(part, PARTS))
    bar.check()


async def test_a_task_that_outlives_the_loop_it_began_in_is_a_step_of_its_own():
    bar = Bar(await JobRepository().acreate())

    async def part():
        await asyncio.sleep(0.05)
        await bar.in_task(current_job(), 3)

    async with bar.job.arunning() as running:
        await asyncio.gather(*[asyncio.create_task(part()) for _ in running.track(range(2))])
    bar.look()
    assert bar.seen[-1] == (6, 6)


async def test_a_loop_closed_by_another_task_ends_all_the_same():
    bar = Bar(await JobRepository().acreate())

    async def begin(job):
        items = iter(job.track(range(4)))
        next(items)
        return items

    async with bar.job.arunning() as running:
        items = await asyncio.create_task(begin(running))
        items.close()
        await bar.in_task(running, 3)
    bar.look()
    assert bar.seen[-1] == (3, 3)
