"""How a run ended is what the worker has written into its table, with its worker on the test's event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from types import SimpleNamespace

import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from procrastinate import RetryStrategy
from procrastinate.exceptions import JobAborted

from immortus_channels import JobFailed, current_job, queues, started_by, tracked, tracking
from immortus_channels.jobs.job import State
from immortus_channels.queues import adapters
from immortus_channels.queues.port import Port
from immortus_channels.queues.procrastinate.adapter import ProcrastinateQueue
from immortus_channels.stores import get_store
from tests.queues.procrastinate.conftest import DATABASE, record_of, rows, worker_of
from tests.toys import FlakyStore

pytestmark = pytest.mark.postgresql


@pytest.fixture
def declare(app):
    """Declare a tracked task, in the two ways there are."""

    def declare(function, *, above=False, mark=None, **options):
        if above:
            return tracked(app.task(name=function.__name__, **options)(function), **(mark or {}))
        return app.task(name=function.__name__, **options)(tracked(**(mark or {}))(function))

    return declare


@pytest.fixture
def status_of(app):
    async def status_of(number):
        (row,) = await sync_to_async(rows)(f"WHERE id = {number}")
        return row["status"]

    return status_of


async def state_of(number: int, state: State):
    """The record, once it is in this state or three seconds have gone."""
    await until(lambda: record_of(number).state is state)
    return record_of(number)


async def until(holds):
    """Leave the thread free that Django's middleware for coroutine functions needs."""
    for _ in range(150):
        if holds():
            break
        await asyncio.sleep(0.02)


# Ends


@pytest.mark.parametrize("above", [False, True])
async def test_a_function_s_result_is_told_marked_above_and_below(declare, work, above):
    def doubles(number):
        current_job().set_meta(thread=threading.current_thread().name)
        return number * 2

    number = await declare(doubles, above=above, mark={"publish_result": True}).defer_async(number=4)
    await work()
    job = await state_of(number, State.FINISHED)
    assert (job.state, job.result, job.attempt) == (State.FINISHED, 8, 1)
    assert job.meta["thread"] != "MainThread"


@pytest.mark.parametrize("above", [False, True])
async def test_a_coroutine_function_s_result_is_told_likewise(declare, work, above):
    async def doubles(number):
        await asyncio.sleep(0)
        current_job().update(current=1, total=1)
        return number * 2

    number = await declare(doubles, above=above, mark={"publish_result": True}).defer_async(number=4)
    await work()
    job = await state_of(number, State.FINISHED)
    assert (job.state, job.result, job.document["percentage"]) == (State.FINISHED, 8, 100)


@pytest.mark.parametrize("above", [False, True])
async def test_what_a_function_raises_is_told(declare, work, above):
    def paints():
        code = "no_paint"
        raise JobFailed(code, "The painter ran out of blue.")

    number = await declare(paints, above=above).defer_async()
    await work()
    assert (await state_of(number, State.FAILED)).error.code == "no_paint"


async def test_an_error_that_a_middleware_swallows_is_a_success(declare, work, status_of):
    def swallow(call_next, context, worker):
        try:
            call_next()
        except ValueError:
            return "caught"

    def raises():
        raise ValueError

    number = await declare(raises, mark={"publish_result": True}).defer_async()
    await work(task_middleware=[swallow])
    job = await state_of(number, State.FINISHED)
    assert (job.state, job.result, await status_of(number)) == (State.FINISHED, "caught", "succeeded")


async def test_a_middleware_that_fails_after_the_body_has_failed_the_job(declare, work, status_of):
    def fail(call_next, context, worker):
        call_next()
        raise ValueError

    def returns():
        return 1

    number = await declare(returns).defer_async()
    await work(task_middleware=[fail])
    job = await state_of(number, State.FAILED)
    assert (job.error.code, await status_of(number)) == ("error", "failed")


async def test_a_job_of_a_task_that_no_worker_knows_is_told(app, declare, work):
    def forgotten():
        pass

    number = await declare(forgotten).defer_async()
    del app.tasks["forgotten"]
    await work()
    assert (await state_of(number, State.FAILED)).error.code == "unknown_task"


@pytest.mark.parametrize("state", [State.FINISHED, State.FAILED, State.CANCELLED])
async def test_the_end_of_the_run_that_ended_first_is_told(declare, work, caplog, state):
    status = {State.FINISHED: "succeeded", State.FAILED: "failed", State.CANCELLED: "aborted"}[state]

    def is_run_twice(number):
        with connections[DATABASE].cursor() as cursor:
            cursor.execute(f"UPDATE procrastinate_jobs SET status = '{status}'")

    number = await declare(is_run_twice).defer_async(number=1)
    await work()
    assert (await state_of(number, state)).state is state
    assert "was not found" in caplog.text


async def test_an_end_that_the_table_does_not_have_is_not_told(declare, work, caplog):
    def deletes_itself(number):
        with connections[DATABASE].cursor() as cursor:
            cursor.execute("DELETE FROM procrastinate_jobs")

    number = await declare(deletes_itself).defer_async(number=1)
    await work()
    await asyncio.sleep(0.1)
    assert record_of(number).state is State.RUNNING
    assert adapters._ports[queues.by_name("procrastinate")].here(f"procrastinate-{number}") is None
    assert "Tracking failed" not in caplog.text


async def test_jobs_that_are_deleted_at_their_end_are_told(declare, work):
    def returns():
        pass

    number = await declare(returns).defer_async()
    await work(delete_jobs="always")
    assert (await state_of(number, State.FINISHED)).state is State.FINISHED
    assert await sync_to_async(rows)() == []


async def test_untracked_tasks_are_not_told_and_make_no_run(app, work, status_of):
    seen = []

    @app.task(name="untracked")
    def untracked():
        seen.append(current_job().id)

    number = await untracked.defer_async()
    await work()
    assert seen == [""]
    assert (record_of(number), await status_of(number)) == (None, "succeeded")


# Retries


async def test_a_retry_is_told_with_its_time_and_the_next_run_counts(declare, work, status_of):
    def flaky():
        if current_job().attempt == 1:
            raise ValueError

    number = await declare(flaky, retry=RetryStrategy(max_attempts=3, wait=1)).defer_async()
    await work()
    assert (await state_of(number, State.RETRYING)).state is State.RETRYING
    assert await status_of(number) == "todo"
    await asyncio.sleep(1)
    await work()
    job = await state_of(number, State.FINISHED)
    assert (job.state, job.attempt) == (State.FINISHED, 2)


async def test_a_job_that_a_job_defers_has_the_owner_even_after_a_retry(declare, work):
    children = []
    child = declare(child_of_the_test)

    def starts():
        children.append(child.defer())
        if len(children) == 1:
            raise ValueError

    with started_by(SimpleNamespace(pk=7)):
        await declare(starts, retry=1).defer_async()
    await work()
    assert [record_of(number).owner for number in children] == ["7", "7"]


def child_of_the_test():
    pass


async def test_a_stalled_job_that_is_retried_is_in_its_next_attempt(app, declare, work):
    entered = []

    async def stalls_once():
        entered.append(1)
        if len(entered) == 1:
            await asyncio.sleep(10)

    at_once = {"shutdown_graceful_timeout": 0.1}
    number = await declare(stalls_once).defer_async()
    async with worker_of(app, wait=True, concurrency=2, fetch_job_polling_interval=0.1, **at_once) as worker:
        working = asyncio.create_task(worker.run())
        await until(lambda: entered)
        (job,) = await app.job_manager.list_jobs_async(id=number)
        await app.job_manager.retry_job(job)
        await state_of(number, State.FINISHED)
        worker.stop()
        await working
    job = record_of(number)
    assert (job.state, job.attempt) == (State.FINISHED, 2)


# Cancels


async def test_a_cancel_stops_the_body_and_no_retry_follows(declare, work, status_of):
    def works():
        for _ in current_job().track(range(200)):
            time.sleep(0.02)

    number = await declare(works, retry=True).defer_async()
    working = asyncio.create_task(work())
    await state_of(number, State.RUNNING)
    await sync_to_async(tracking.cancel)(f"procrastinate-{number}")
    await working
    assert (await state_of(number, State.CANCELLED)).state is State.CANCELLED
    assert await status_of(number) == "failed"


@pytest.mark.parametrize("above", [False, True])
async def test_a_job_that_is_cancelled_here_alone_is_refused(declare, work, status_of, above, monkeypatch):
    ran = []

    def returns():
        ran.append(1)

    monkeypatch.setattr(ProcrastinateQueue, "cancel", lambda *_, **__: None)
    number = await declare(returns, above=above).defer_async()
    await sync_to_async(tracking.cancel)(f"procrastinate-{number}")
    await work()
    assert (ran, await status_of(number), record_of(number).state) == ([], "aborted", State.CANCELLED)


async def test_a_cancel_reaches_the_table(declare, status_of):
    def returns():
        pass

    number = await declare(returns).defer_async()
    await sync_to_async(tracking.cancel)(f"procrastinate-{number}")
    for _ in range(100):
        if await status_of(number) == "cancelled":
            break
        await asyncio.sleep(0.02)
    assert await status_of(number) == "cancelled"


@pytest.mark.parametrize("retry", [False, True])
async def test_an_abort_of_a_coroutine_is_a_cancel(app, declare, work, status_of, retry):
    async def sleeps():
        await asyncio.sleep(10)

    number = await declare(sleeps, retry=retry).defer_async()
    working = asyncio.create_task(work(abort_job_polling_interval=0.1))
    await state_of(number, State.RUNNING)
    await app.job_manager.cancel_job_by_id_async(number, abort=True)
    await working
    assert (await state_of(number, State.CANCELLED)).state is State.CANCELLED
    assert await status_of(number) == ("failed" if retry else "aborted")


async def test_terminate_aborts_a_coroutine(declare, work, status_of):
    async def sleeps():
        await asyncio.sleep(10)

    number = await declare(sleeps, mark={"cancel": "terminate"}).defer_async()
    working = asyncio.create_task(work(abort_job_polling_interval=0.1))
    await state_of(number, State.RUNNING)
    await sync_to_async(tracking.cancel)(f"procrastinate-{number}")
    await working
    assert (await state_of(number, State.CANCELLED)).state is State.CANCELLED
    assert await status_of(number) == "aborted"


async def test_a_function_that_aborts_when_it_is_asked_to_is_cancelled(app, declare, work):
    def looks(context):
        while not context.should_abort():
            time.sleep(0.02)
        raise JobAborted

    number = await declare(looks, pass_context=True, retry=True).defer_async()
    working = asyncio.create_task(work(abort_job_polling_interval=0.1))
    await state_of(number, State.RUNNING)
    await app.job_manager.cancel_job_by_id_async(number, abort=True)
    await working
    assert (await state_of(number, State.CANCELLED)).state is State.CANCELLED


async def test_a_function_that_does_not_look_is_finished_despite_the_abort(app, declare, work):
    def sleeps():
        time.sleep(0.5)

    number = await declare(sleeps).defer_async()
    working = asyncio.create_task(work(abort_job_polling_interval=0.1))
    await state_of(number, State.RUNNING)
    await app.job_manager.cancel_job_by_id_async(number, abort=True)
    await working
    assert (await state_of(number, State.FINISHED)).state is State.FINISHED


# The worker's end


@pytest.mark.parametrize(("retry", "state"), [(False, State.FAILED), (True, State.RETRYING)])
async def test_a_shutdown_that_aborts_a_job_is_no_cancel(app, declare, retry, state):
    async def sleeps():
        await asyncio.sleep(10)

    number = await declare(sleeps, retry=retry).defer_async()
    async with worker_of(app, wait=True, shutdown_graceful_timeout=0.1) as worker:
        working = asyncio.create_task(worker.run())
        await state_of(number, State.RUNNING)
        worker.stop()
        await working
    job = await state_of(number, state)
    assert (job.state, job.error and job.error.code) == (state, None if retry else "worker_lost")


async def test_a_shutdown_waits_for_jobs_and_tells_their_ends(app, declare):
    def sleeps():
        time.sleep(0.3)

    number = await declare(sleeps).defer_async()
    async with worker_of(app, wait=True) as worker:
        working = asyncio.create_task(worker.run())
        await state_of(number, State.RUNNING)
        worker.stop()
        await working
    assert (await state_of(number, State.FINISHED)).state is State.FINISHED


# What breaks here


async def test_an_abort_while_the_begin_waits_ends_the_job_in_the_table(app, declare, settings, status_of):
    async def sleeps():
        await asyncio.sleep(10)

    task = declare(sleeps)
    settings.IMMORTUS_STORE = {"BACKEND": f"{FlakyStore.__module__}.{FlakyStore.__qualname__}"}
    number = await task.defer_async()
    get_store().pause = 0.3
    async with worker_of(app, wait=True) as worker:
        working = asyncio.create_task(worker.run())
        await until(lambda: worker._running_jobs)
        await asyncio.sleep(0.05)
        worker._handle_abort_jobs_requested([number])
        await until(lambda: not worker._running_jobs)
        worker.stop()
        await working
    get_store().pause = 0
    assert await status_of(number) == "aborted"
    assert (await state_of(number, State.CANCELLED)).state is State.CANCELLED


@pytest.mark.parametrize("broken", ["abegin", "here", "noted"])
async def test_tracking_that_breaks_leaves_the_jobs_as_they_were(declare, work, status_of, monkeypatch, broken):
    def returns():
        return 1

    def raises():
        raise ValueError

    tasks = declare(returns), declare(raises)
    numbers = [await task.defer_async() for task in tasks]
    monkeypatch.setattr(Port, broken, lambda *_, **__: 1 / 0)
    await work()
    assert [await status_of(number) for number in numbers] == ["succeeded", "failed"]
