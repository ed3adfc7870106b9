"""A block of code is a run like any other: leased, told of, cancellable, and ended by how the block ends."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager

import pytest
from django.contrib.auth.models import User

from immortus_channels import queues, tracking
from immortus_channels.api.job_handler import JobHandler, name_of
from immortus_channels.api.repository import JobRepository, aget_job, current_job, get_job
from immortus_channels.api.without_queue import running
from immortus_channels.exceptions import JobCancelled, JobFailed, JobRunning
from immortus_channels.jobs.events import Finished, Origin
from immortus_channels.jobs.job import Job, State
from immortus_channels.jobs.owner import started_by
from immortus_channels.stores import get_store
from immortus_channels.writer.run import current_run, owner_here
from tests.toys import ToyQueue


@pytest.fixture(autouse=True)
def _settings(settings, monkeypatch):
    settings.IMMORTUS_STORE = {"BACKEND": "memory"}
    monkeypatch.setattr(queues, "connected", [ToyQueue()])


@pytest.fixture
def job():
    return JobRepository().create()


@pytest.mark.parametrize("error", [ValueError(), JobFailed("out_of_ink"), None])
def test_after_a_block_both_handles_show_how_it_ended(job, error):
    try:
        with job.running() as running:
            assert (job.state, running.state) == ("enqueued", "running")
            if error is not None:
                raise error
    except ValueError:
        pass
    end = "finished" if error is None else "failed"
    assert (job.state, running.state) == (end, end)


def end_of(job):
    record = get_job(job.job_id).record
    return record.state, record.error and (record.error.code, record.error.message)


def test_a_block_runs_its_job_with_a_lease_and_finishes_it_afterwards(job):
    with running(job.record) as run:
        record = get_job(job.job_id).record
        assert (record.state, record.run_id, record.lease_holder) == (State.RUNNING, run.run_id, run.run_id)
        assert record.lease_until is not None
        assert current_run.get() is run
    assert current_run.get() is None
    assert end_of(job) == (State.FINISHED, None)


def test_a_second_block_is_the_next_attempt(job):
    for attempt in (1, 2):
        with job.running() as again:
            assert again.attempt == attempt


def test_a_block_says_how_its_job_failed(job):
    with job.running():
        raise JobFailed("not_an_image", "This file is not an image.")  # noqa: EM101
    assert end_of(job) == (State.FAILED, ("not_an_image", "This file is not an image."))


def test_a_block_that_fails_with_a_code_that_is_no_text_has_failed(job):
    with job.running():
        raise JobFailed(ValueError("a secret"), "A sentence.")
    assert end_of(job) == (State.FAILED, ("error", "A sentence."))


@pytest.mark.parametrize("error", [ValueError("a secret"), KeyboardInterrupt(), SystemExit(0)])
def test_any_other_error_of_a_block_fails_its_job_without_its_words(job, error):
    with pytest.raises(type(error)), job.running():
        raise error
    assert end_of(job) == (State.FAILED, ("error", "Something went wrong."))
    assert current_run.get() is None


class OwnError(Exception):
    """What a block makes of whatever it meets."""


@contextmanager
def wrapping():
    try:
        yield
    except Exception as met:
        raise OwnError from met


class TimeIsUp(Exception):
    """What the queue raises in the middle of anybody's code."""


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (JobFailed("not_an_image", "No image."), (State.FAILED, ("not_an_image", "No image."))),
        (TimeIsUp(), (State.FAILED, ("time_limit", "This took too long and was stopped."))),
        (JobCancelled("another"), (State.FAILED, ("error", "Something went wrong."))),
    ],
    ids=repr,
)
def test_a_block_that_raises_from_another_error_ends_its_job_by_the_other(job, error, end):
    queues.connected[0].interrupts = (TimeIsUp,)

    with pytest.raises(OwnError), job.running(), wrapping():
        raise error
    assert end_of(job) == end


def test_a_block_that_raises_from_its_own_cancellation_is_cancelled(job):
    with pytest.raises(OwnError), job.running() as inside, wrapping():
        list(inside.track(get_job(job.job_id).cancel() for _ in range(3)))
    assert end_of(job)[0] is State.CANCELLED


def test_a_block_that_raises_job_cancelled_though_nobody_asked_has_failed(job):
    with job.running():
        raise JobCancelled
    assert end_of(job) == (State.FAILED, ("error", "Something went wrong."))


@pytest.mark.parametrize("is_asked", [True, False])
async def test_a_block_whose_task_is_cancelled_is_cancelled_if_that_was_asked(is_asked):
    async def work():
        async with job.arunning():
            begun.set()
            await asyncio.sleep(10)

    job, begun = await JobRepository().acreate(), asyncio.Event()
    task = asyncio.create_task(work())
    await begun.wait()
    if is_asked:
        await (await aget_job(job.job_id)).acancel()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await job.arefresh()
    wanted = (State.CANCELLED, "cancelled") if is_asked else (State.FAILED, "error")
    assert (job.state, job.document["error"]["code"]) == wanted


def test_a_block_that_hears_of_its_cancellation_elsewhere_is_cancelled(job):
    """Its run in this process has not heard of it yet: the record counts."""
    with job.running() as inside:
        get_job(job.job_id).cancel()
        inside._side.cancel_requested = False
        raise JobCancelled(job.job_id)
    assert end_of(job)[0] is State.CANCELLED


def test_a_block_that_is_asked_to_stop_is_cancelled_at_its_next_checkpoint(job):
    with job.running() as inside:
        get_job(job.job_id).cancel()
        inside.checkpoint()
        pytest.fail("the checkpoint lets a cancelled job go on")
    assert end_of(job)[0] is State.CANCELLED


def test_a_job_that_was_cancelled_while_it_waited_does_not_run(job):
    job.cancel()
    with pytest.raises(JobCancelled), job.running():
        pytest.fail("it runs")
    assert current_run.get() is None
    assert end_of(job)[0] is State.CANCELLED


def test_a_block_in_a_job_is_a_job_of_its_own(job):
    outer = tracking.make_run(job_id="outer", job_class="task", run_id="o", origin=Origin(owner="7"))
    token = current_run.set(outer)
    tracking.begin(outer)
    with job.running() as inner:
        assert current_job().job_id == inner.job_id == job.job_id
    assert current_job().job_id == "outer"
    current_run.reset(token)
    tracking.end(outer, Finished)
    assert get_job("outer").state is State.FINISHED


def test_the_cancellation_of_the_job_around_ends_both(job):
    around = JobRepository().create()
    with around.running() as outer:
        get_job(around.job_id).cancel()
        with job.running():
            outer.checkpoint()
        pytest.fail("the outer job goes on")
    assert end_of(job)[0] is end_of(around)[0] is State.CANCELLED


def test_a_cancelled_job_inside_of_another_does_not_cancel_the_other(job):
    around = JobRepository().create()
    job.cancel()
    with pytest.raises(JobCancelled), around.running(), job.running():
        pytest.fail("it runs")
    assert end_of(job)[0] is State.CANCELLED
    assert end_of(around) == (State.FAILED, ("error", "Something went wrong."))


ALREADY = r"The job '.+' runs in this process already, .* get_job\('.+'\) beside it"


def test_a_block_of_a_job_that_runs_here_is_refused_and_harms_nothing(job):
    with job.running() as outer:
        for second in (job, get_job(job.job_id), current_job()):
            with pytest.raises(JobRunning, match=ALREADY), second.running():
                pytest.fail("it runs twice")
        outer.set_result({"rows": 3})
        assert current_job().job_id == job.job_id
    record = get_job(job.job_id).record
    assert (record.state, record.attempt, record.result) == (State.FINISHED, 1, {"rows": 3})
    with job.running() as again:
        assert again.attempt == 2


def test_of_many_threads_that_begin_a_block_of_one_job_one_does(job):
    def work():
        barrier.wait(5)
        try:
            with get_job(job.job_id).running():
                ran.append(True)
                is_refused.wait(5)
        except JobRunning:
            refused.append(True)
            if len(refused) == 7:
                is_refused.set()

    barrier, is_refused = threading.Barrier(8), threading.Event()
    ran, refused = [], []
    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(ran), len(refused)) == (1, 7)
    assert (get_job(job.job_id).attempt, end_of(job)) == (1, (State.FINISHED, None))


def test_a_block_in_a_queue_s_run_of_its_job_is_refused(job):
    run = tracking.make_run(job_id=job.job_id, job_class="task", run_id="r", origin=Origin.of(job.record), queue="toy")
    tracking.begin(run)
    with pytest.raises(JobRunning, match=ALREADY), get_job(job.job_id).running():
        pytest.fail("it runs twice")
    run.set_result(5)
    tracking.end(run, Finished)
    record = get_job(job.job_id).record
    assert (record.state, record.attempt, record.result) == (State.FINISHED, 1, 5)


async def test_a_block_of_a_job_that_runs_here_is_refused_in_async_code():
    job = await JobRepository().acreate()
    async with job.arunning():
        with pytest.raises(JobRunning, match=ALREADY):
            async with job.arunning():
                pytest.fail("it runs twice")
    assert (await aget_job(job.job_id)).attempt == 1


def test_a_job_whose_block_could_not_begin_may_be_run_by_another(job, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(tracking, "begin", lambda run: setattr(run, "refused", True))
        with pytest.raises(JobCancelled), job.running():
            pytest.fail("it runs")
    with job.running():
        pass
    assert end_of(job) == (State.FINISHED, None)


def test_threads_have_blocks_of_their_own():
    def work(n, found):
        with JobRepository().create(n=n).running() as job:
            found[n] = (current_job().job_id == job.job_id, job.job_id)

    found = {}
    threads = [threading.Thread(target=work, args=(n, found)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(is_own for is_own, _ in found.values())
    assert {get_job(job_id).state for _, job_id in found.values()} == {State.FINISHED}


def test_what_a_block_starts_belongs_to_the_jobs_owner():
    with started_by(User(pk=7)):
        job = JobRepository().create()
    with job.running():
        assert owner_here() == ("7", False)


def test_a_record_that_was_lost_meanwhile_is_made_anew_as_it_was():
    with started_by(User(pk=7)):
        job = JobRepository().create(handler=JobHandler, a=1)
    with job.running():
        del get_store()._records[job.job_id]
    record = get_job(job.job_id).record
    assert (record.state, record.owner, record.handler, record.data) == (
        State.FINISHED,
        "7",
        name_of(JobHandler),
        {"a": 1},
    )


def test_a_job_that_may_not_run_raises_before_its_block():
    with pytest.raises(JobCancelled), running(Job(job_id=_cancelled())):
        pytest.fail("it runs")


def _cancelled():
    job = JobRepository().create()
    job.cancel()
    return job.job_id
