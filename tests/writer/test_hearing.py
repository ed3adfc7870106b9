"""A run's step knows of a cancel that was requested before it, as far as the store answers."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise

import pytest

from immortus_channels.exceptions import JobCancelled
from immortus_channels.jobs.events import CancelRequested, Enqueued, Origin, Started
from immortus_channels.jobs.owner import starting_as
from immortus_channels.stores import get_store
from immortus_channels.writer import Write, perform, thread
from immortus_channels.writer.inline import InlineWriter
from immortus_channels.writer.run import SILENCE, Run, aowner_here, current_run, owner_here
from immortus_channels.writer.thread import HEARING, Writer
from tests.toys import FlakyStore, Ticks, eventually


@pytest.fixture
def store(settings):
    settings.IMMORTUS_STORE = {"BACKEND": "tests.toys.FlakyStore"}
    store = get_store()
    assert isinstance(store, FlakyStore)
    return store


def begun(writer, job_id="j", run_id="r"):
    run = Run(job_id=job_id, job_class="c", run_id=run_id, notify=writer.notify, listen=writer.listen)
    run.started(writer.submit(Started(job_id=job_id, job_class="c", run_id=run_id)).after)
    writer.attach(run)
    return run


@pytest.fixture
def threaded(store):
    it = Writer()
    yield it
    store.open.set()
    it.stop(1)
    assert eventually(lambda: it._thread is None)


@pytest.fixture
def run(threaded):
    return begun(threaded)


@pytest.fixture
def inline(store):
    return begun(InlineWriter())


def cancel_elsewhere():
    """As another process does it: this one's writer does not hear of it."""
    perform(Write(CancelRequested(job_id="j", job_class="c")))


def be_silent(run):
    """Until the next step is to look."""
    assert eventually(lambda: run.must_look)


def reads(store):
    """How often the store was read, but for its own reads that belong to a write."""
    return sum(call == "get_many" and before != "update" for before, call in pairwise(["", *store.calls]))


def duration_of(step):
    began = time.monotonic()
    step()
    return time.monotonic() - began


def test_a_task_that_only_asks_stops_at_its_next_checkpoint_after_a_cancel(run):
    be_silent(run)
    cancel_elsewhere()
    with pytest.raises(JobCancelled):
        run.checkpoint()
    with pytest.raises(JobCancelled):
        run.checkpoint()


@pytest.mark.parametrize("loop", ["outer", "inner"])
def test_no_item_is_begun_after_the_cancel(run, loop):
    begun_items = []

    def work():
        around = run.track([0]) if loop == "inner" else [0]
        for item in (item for _ in around for item in run.track(range(2))):
            begun_items.append(item)
            be_silent(run)
            cancel_elsewhere()

    with pytest.raises(JobCancelled):
        work()
    assert begun_items == [0]


def test_a_cancel_is_heard_once_more_after_a_look_that_found_none(run):
    for _ in range(2):
        be_silent(run)
        run.checkpoint()
        assert not run.must_look, "the next steps look no more"
    be_silent(run)
    cancel_elsewhere()
    with pytest.raises(JobCancelled):
        run.checkpoint()


def test_a_step_is_not_to_look_before_the_store_was_silent_for_a_while(run):
    run.must_look = True  # as where the store answers between the mark and the step
    run.heard_at = time.monotonic()
    run._listen = lambda _: pytest.fail("it has just heard")
    run.checkpoint()
    assert not run.must_look
    assert not eventually(lambda: run.must_look, seconds=SILENCE * 0.8)


def test_a_run_that_writes_and_so_hears_asks_nothing(run, store):
    until = time.monotonic() + 2.5 * SILENCE
    for _ in run.track(iter(int, 1)):
        time.sleep(0.01)
        if time.monotonic() > until:
            break
    assert not reads(store)


def test_a_store_that_hangs_is_waited_for_once(run, store):
    be_silent(run)
    store.open.clear()
    assert HEARING * 0.9 <= duration_of(run.checkpoint) < 3 * HEARING
    until = time.monotonic() + 2 * SILENCE
    while time.monotonic() < until:
        assert duration_of(run.checkpoint) < HEARING / 2
        time.sleep(0.02)
    store.open.set()
    cancel_elsewhere()
    assert eventually(lambda: run.cancel_requested or run.checkpoint())


def test_a_store_that_hangs_is_waited_for_by_one_of_the_runs(run, store, threaded):
    other = begun(threaded, "k", "s")
    be_silent(run)
    be_silent(other)
    store.open.clear()
    assert duration_of(run.checkpoint) >= HEARING * 0.9
    assert duration_of(other.checkpoint) < HEARING / 2


def test_a_store_that_is_slow_is_not_waited_for_again(run, store):
    store.pause = 2 * HEARING
    be_silent(run)
    run.checkpoint()
    be_silent(run)
    assert duration_of(run.checkpoint) < HEARING / 2
    be_silent(run)
    store.pause = 0
    run.checkpoint()
    be_silent(run)
    cancel_elsewhere()
    with pytest.raises(JobCancelled):
        run.checkpoint()


def test_a_store_that_is_down_is_not_asked_for_a_while(run, store, threaded):
    be_silent(run)
    store.failures = 1
    run.checkpoint()
    assert threaded.is_behind
    asked = reads(store)
    for _ in range(50):
        assert duration_of(run.checkpoint) < HEARING / 2
    assert reads(store) == asked


def test_an_event_loop_is_not_held_up_and_hears_at_a_later_step(run, store):
    store.pause = 0.05

    passed = []

    async def task():
        passed.append(duration_of(run.checkpoint))
        for _ in range(100):
            await asyncio.sleep(0.02)
            run.checkpoint()

    be_silent(run)
    cancel_elsewhere()
    with pytest.raises(JobCancelled):
        asyncio.run(task())
    assert passed, "it heard of it later"
    assert passed[0] < store.pause / 2


def test_a_run_that_ended_asks_nothing(run, threaded, store):
    be_silent(run)
    threaded.detach(run)
    run.checkpoint()
    assert not run.must_look
    assert not reads(store)


def test_inline_a_step_reads_after_a_while(inline, store):
    cancel_elsewhere()
    inline.checkpoint()
    assert not reads(store), "it has just heard"
    inline.heard_at -= SILENCE
    with pytest.raises(JobCancelled):
        inline.checkpoint()


def test_inline_a_store_that_fails_is_left_alone(inline, store, caplog):
    for _ in range(2):
        store.failures = 1
        inline.heard_at -= SILENCE
        inline.checkpoint()
    assert reads(store) == 1
    assert "cannot be read" in caplog.text


def test_inline_an_event_loop_reads_nothing(inline, store):
    async def step():
        inline.checkpoint()

    inline.heard_at -= SILENCE
    asyncio.run(step())
    assert not reads(store)


# Whose jobs a run starts


SENDING = Enqueued(job_id="j", origin=Origin(send_id="s", owner="7", params={"a": 1}), sent_at=time.time_ns() // 1000)


@pytest.fixture(params=["threaded", "inline"])
def overtook(request, store):
    """A run that began before its sending was told, which another process has just done."""
    run = begun(request.getfixturevalue("threaded") if request.param == "threaded" else InlineWriter())
    perform(Write(SENDING))
    token = current_run.set(run)
    yield run
    current_run.reset(token)


def test_what_a_run_starts_that_overtook_its_sending_has_the_right_owner(overtook):
    assert overtook.origin.staff_only
    assert owner_here() == ("7", False)
    assert overtook.params == {"a": 1}


def test_who_sent_a_job_is_asked_once_and_only_where_it_is_unknown(run, store):
    token = current_run.set(run)
    assert [owner_here() for _ in range(3)] == [(None, True)] * 3
    assert reads(store) == 1
    for origin in (Origin(owner="7"), Origin(send_id="s", staff_only=True)):
        run.origin, run._has_asked = origin, False
        assert owner_here() == (origin.owner, origin.staff_only)
    run.origin = None
    with starting_as(lambda: "8"):
        assert owner_here() == ("8", False)
    assert reads(store) == 1
    current_run.reset(token)


def test_a_store_that_hangs_is_hardly_waited_for_to_learn_the_sender(run, store):
    token = current_run.set(run)
    store.open.clear()
    assert HEARING * 0.9 <= duration_of(owner_here) < 3 * HEARING
    assert duration_of(owner_here) < HEARING / 2
    store.open.set()
    current_run.reset(token)


async def test_on_an_event_loop_the_sender_is_awaited_and_the_loop_runs_on(run, store, monkeypatch):
    monkeypatch.setattr(thread, "HEARING", 5.0)
    perform(Write(SENDING))
    token = current_run.set(run)
    store.pause = 0.1
    async with Ticks() as ticks:
        assert await aowner_here() == ("7", False)
    assert ticks.number > 5
    current_run.reset(token)


async def test_on_an_event_loop_the_plain_question_waits_for_nothing(run, store):
    perform(Write(SENDING))
    token = current_run.set(run)
    store.pause = 0.05
    assert duration_of(lambda: owner_here() == (None, True)) < store.pause / 2
    current_run.reset(token)
