"""A run in this process tells one end, the first, and its code is in its context until then."""

from __future__ import annotations

import asyncio
import contextvars
import time

import pytest

from immortus_channels import current_job, tracking
from immortus_channels.api.repository import JobRepository
from immortus_channels.exceptions import JobFailed
from immortus_channels.jobs.events import Finished, Retrying
from immortus_channels.jobs.job import State
from immortus_channels.jobs.owner import starting_as
from immortus_channels.queues.body import awaited
from immortus_channels.queues.tracked import TaskOptions
from immortus_channels.writer.run import current_run
from tests.queues.conftest import TimeIsUp


@pytest.fixture
def begin(port, options, job_id):
    """Begin a run; what the test leaves behind in its context is put back."""
    begun = []

    def begin(**about):
        begun.append(port.begin(job_id, "resize", options, **about))
        return begun[-1]

    yield begin
    for delivery in reversed(begun):
        delivery.leave()


# Beginning


def test_a_run_is_on_record_and_its_code_in_its_context(begin, job_id, record):
    delivery = begin()
    assert (record().state, record().attempt, record().queue) == (State.RUNNING, 1, "toy")
    assert current_job().id == job_id
    assert awaited.get() is delivery


def test_a_run_knows_what_the_sender_knew(port, begin, options, job_id, record):
    header = port.sent(job_id, "resize", options, planned={"owner": "7"}).header
    delivery = begin(header=header)
    assert delivery.run.origin.owner == "7"
    assert record().owner == "7"


def test_a_run_has_the_id_that_another_process_may_tell_its_end_by(begin, record):
    begin(run_id="r7")
    assert record().run_id == "r7"


def test_the_header_of_another_job_tells_a_run_nothing(port, begin, options):
    header = port.sent("another", "resize", options, planned={"owner": "7"}).header
    assert begin(header=header).run.origin.owner is None


def test_the_worker_s_mark_says_how_a_job_is_cancelled(port, job_id, options):
    header = port.sent(job_id, "resize", options).header
    delivery = port.begin(job_id, "resize", TaskOptions(cancel="never"), header=header)
    delivery.leave()
    assert delivery.run.origin.cancel == "never"


def test_where_beginning_fails_nothing_of_the_run_is_left_in_its_context(port, options, job_id, monkeypatch):
    def fail(*_):
        raise RuntimeError(job_id)

    monkeypatch.setattr(tracking, "begin", fail)
    with pytest.raises(RuntimeError, match=job_id):
        port.begin(job_id, "resize", options)
    assert (current_run.get(), awaited.get(), port.here(job_id)) == (None, None, None)


def test_a_job_that_was_cancelled_while_it_waited_is_refused(port, begin, options, job_id, record):
    port.sent(job_id, "resize", options)
    tracking.cancel(job_id)
    delivery = begin()
    assert delivery.refused
    delivery.end()
    assert record().state is State.CANCELLED
    assert current_run.get() is None


def test_a_redelivery_is_the_next_attempt_and_ends_the_older_run(begin, record):
    first, second = begin(), begin()
    assert record().attempt == 2
    first.end()
    assert record().state is State.RUNNING
    second.end()
    assert record().state is State.FINISHED


def begin_again(port, begin, job_id, options, *, is_async):
    """Begin a run whose message may have come before."""
    if not is_async:
        return begin(redelivered=True)
    return asyncio.run(port.abegin(job_id, "resize", options, redelivered=True))


@pytest.mark.parametrize("is_async", [False, True])
def test_a_redelivery_of_a_finished_job_says_nothing(port, begin, options, job_id, record, is_async):
    begin().end()
    before = record()
    delivery = begin_again(port, begin, job_id, options, is_async=is_async)
    assert not delivery.refused
    assert delivery.is_silent
    delivery.run.update(current=1, total=2, message="again")
    delivery.run.set_meta({"tile": 3})
    delivery.end(RuntimeError())
    tracking.drain()
    assert record() == before


def test_the_code_of_such_a_run_is_in_its_context_until_it_ends(port, begin, options, job_id):
    begin(header=port.sent(job_id, "resize", options, planned={"owner": "7"}).header).end()
    delivery = begin(header=port.prepare(job_id, "resize", options, planned={"owner": "7"}).header, redelivered=True)
    assert current_job().id == job_id
    assert port.prepare("another", "resize", options).header["owner"] == "7"
    delivery.end()
    assert current_run.get() is None


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("end", [lambda it: it.again(), lambda it: it.end(RuntimeError()), lambda it: it.leave()])
def test_a_redelivery_of_a_job_that_is_not_done_is_a_run(port, begin, options, job_id, record, end, is_async):
    end(begin())
    delivery = begin_again(port, begin, job_id, options, is_async=is_async)
    assert not delivery.is_silent
    assert (record().state, record().attempt) == (State.RUNNING, 2)
    delivery.end()


def test_a_job_that_was_completed_by_hand_before_its_run_is_refused(port, begin, options, job_id, record):
    header = port.sent(job_id, "resize", options).header
    tracking.publish(Finished(job_id=job_id, by_hand=True))
    assert begin(header=header, redelivered=True).refused
    assert record().state is State.FINISHED


def test_a_run_under_another_queue_s_id_goes_on_and_says_nothing(toy_queue, port, options, begin, job_id, record):
    port.sent(job_id, "resize", options)
    before = record()
    toy_queue.name = "other"
    delivery = begin()
    assert not delivery.refused
    assert current_run.get() is None
    delivery.end(RuntimeError())
    assert record() == before
    assert port.here(job_id) is None


def test_a_run_under_another_user_s_job_by_hand_goes_on_and_says_nothing(port, options, begin, job_id, record):
    with starting_as(lambda: "7"):
        JobRepository().create(id=job_id)
    before = record()
    with starting_as(lambda: "8"):
        header = port.sent(job_id, "resize", options).header
    delivery = begin(header=header)
    assert not delivery.refused
    assert current_run.get() is None
    delivery.end(value=1)
    assert record() == before


def test_a_time_limit_that_strikes_at_the_start_ends_the_run(port, options, job_id, record, monkeypatch):
    begin = tracking.begin

    def begin_late(*args):
        begin(*args)
        raise TimeIsUp

    monkeypatch.setattr(tracking, "begin", begin_late)
    with pytest.raises(TimeIsUp):
        port.begin(job_id, "resize", options)
    assert record().error.code == "time_limit"
    assert current_run.get() is None


# Ending


@pytest.mark.parametrize(
    ("end", "state", "code"),
    [
        (lambda it: it.end(), State.FINISHED, None),
        (lambda it: it.end(RuntimeError("secret")), State.FAILED, "error"),
        (lambda it: it.end(JobFailed("full", "The disk is full.")), State.FAILED, "full"),
        (lambda it: it.end(TimeIsUp()), State.FAILED, "time_limit"),
        (lambda it: it.fail("worker_lost"), State.FAILED, "worker_lost"),
        (lambda it: it.cancel(), State.CANCELLED, "cancelled"),
        (lambda it: it.cancel("expired"), State.CANCELLED, "expired"),
        (lambda it: it.again(), State.RETRYING, None),
        (lambda it: it.back(), State.ENQUEUED, None),
        (lambda it: it.hand_over(), State.RUNNING, None),
    ],
)
def test_each_end_is_on_record_and_leaves_the_context(begin, record, end, state, code):
    delivery = begin()
    end(delivery)
    job = record()
    assert (job.state, job.error and job.error.code) == (state, code)
    assert current_run.get() is None
    assert awaited.get() is None


def test_the_first_end_is_told_and_no_other(begin, monkeypatch):
    told = []
    monkeypatch.setattr(tracking, "end", lambda _, kind, **__: told.append(kind))
    delivery = begin()
    delivery.again()
    delivery.end(RuntimeError())
    delivery.back()
    assert told == [Retrying]


def test_a_message_that_went_back_may_be_due_later(begin, record):
    due = time.time_ns() // 1000 + 3 * 86_400 * 10**6
    begin().back(eta=due)
    assert record().lease_until > due


def test_what_the_body_returned_is_the_job_s_result_if_the_mark_says_so(begin, record):
    begin().end(value={"pages": 3})
    assert record().result == {"pages": 3}


@pytest.mark.parametrize("value", [object(), {"page": {1, 2}}, "x" * 40_000], ids=["type", "deep", "large"])
def test_a_value_that_cannot_be_a_result_is_one_warning(begin, record, caplog, value):
    begin().end(value=value)
    assert (record().state, record().result) == (State.FINISHED, None)
    (line,) = caplog.records
    assert (line.levelname, line.exc_info) == ("WARNING", None)
    assert line.message.startswith(f"resize returned a value of type {type(value).__name__}, which is not published")


def test_a_retry_is_due_when_the_run_has_sent_it_for(port, begin, record):
    delivery = begin()
    delivery.resent_for = record().version + 3_600_000_000
    delivery.again()
    assert record().lease_until > delivery.resent_for


def test_an_end_may_leave_the_context_to_the_caller(port, begin, job_id, record):
    delivery = begin()
    delivery.finish(None, leaves=False)
    assert record().state is State.FINISHED
    assert port.inside(job_id) is delivery
    delivery.leave()
    assert port.here(job_id) is None


def test_an_end_that_another_context_tells_leaves_that_as_it_is(port, begin, options, record):
    elsewhere = contextvars.copy_context().run(port.begin, "elsewhere", "resize", options)
    here = begin()
    elsewhere.end()
    assert record("elsewhere").state is State.FINISHED
    assert current_run.get() is here.run
    assert awaited.get() is here


def test_a_run_inside_of_a_run_gives_the_context_back(begin, port, options):
    outer = begin()
    inner = port.begin("inner", "resize", options)
    assert inner.run.around is outer.run
    inner.end()
    assert current_run.get() is outer.run
    assert awaited.get() is outer


def test_a_queue_says_whether_an_end_waits_for_the_store(toy_queue, begin, monkeypatch):
    waits = []
    monkeypatch.setattr(tracking, "end", lambda *_, wait, **__: waits.append(wait))
    begin().end()
    toy_queue.waits_for_ends = True
    begin().end()
    assert waits == [0, None]


# The body


def test_what_the_body_raised_ends_the_run_where_the_queue_knows_less(begin, record):
    def body():
        assert awaited.get() is None
        raise disk_is_full

    delivery, disk_is_full = begin(), JobFailed("full", "The disk is full.")
    with pytest.raises(JobFailed), delivery.body():
        body()
    delivery.end()
    assert record().error.code == "full"


def test_the_body_notes_what_it_returned(begin, record):
    delivery = begin()
    with delivery.body() as body:
        body.value = 5
    delivery.end()
    assert record().result == 5


# On an event loop


async def test_runs_on_one_event_loop_have_contexts_of_their_own(port, options, record):
    async def run(job_id):
        delivery = await port.abegin(job_id, "resize", options)
        await asyncio.sleep(0)
        assert current_run.get() is delivery.run
        assert port.here(job_id) is delivery
        delivery.end(value=job_id)

    await asyncio.gather(*(run(f"loop-{number}") for number in range(8)))
    assert current_run.get() is None
    results = [record(f"loop-{number}").result for number in range(8)]
    assert results == [f"loop-{number}" for number in range(8)]


async def test_a_start_that_is_cancelled_leaves_the_job_waiting(port, options, job_id, record, monkeypatch):
    begin = tracking.abegin

    async def begin_and_hang(*args):
        await begin(*args)
        await asyncio.sleep(60)

    monkeypatch.setattr(tracking, "abegin", begin_and_hang)
    starting = asyncio.create_task(port.abegin(job_id, "resize", options))
    await asyncio.sleep(0.05)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert record().state is State.ENQUEUED
    assert port.here(job_id) is None
