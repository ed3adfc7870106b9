"""A job by its id, anywhere but in its run: it counts, stops and shows that it is at work as it does there."""

from __future__ import annotations

import contextlib
import copy
import pickle
import threading
import time

import pytest

from immortus_channels.api.job_state import JobState
from immortus_channels.api.repository import JobRepository, current_job, get_job
from immortus_channels.exceptions import JobCancelled, StoreUnavailable
from immortus_channels.jobs.job import State
from immortus_channels.stores import get_store
from tests.toys import eventually


@pytest.fixture(autouse=True, params=["inline", "thread"])
def _settings(request, settings):
    settings.IMMORTUS_STORE = {"BACKEND": "tests.toys.FlakyStore"}
    settings.IMMORTUS_INLINE = request.param == "inline"


@pytest.fixture
def job():
    return JobRepository().create()


def shown(job):
    document = get_job(job.id).document
    return document["current"], document["total"], document["percentage"], document["message"]


def test_a_job_that_others_advance_is_running_until_its_complete(job):
    get_job(job.id).update(total=50)
    for _ in range(44):
        get_job(job.id).update(advance=1)
    assert get_job(job.id).state is State.RUNNING
    assert shown(job)[:3] == (44, 50, 88.0)
    job.complete()
    assert get_job(job.id).state is State.FINISHED


def test_a_loop_on_any_handle_counts(job):
    assert list(get_job(job.id).track("abc", message="Spelling")) == ["a", "b", "c"]
    assert get_job(job.id).state is State.RUNNING
    assert shown(job) == (3, 3, 100.0, "Spelling")


def test_loops_of_a_handle_are_steps_and_one_left_early_keeps_its_count(job):
    list(job.track(range(10)))
    for item in job.track(range(4)):
        if item == 2:
            break
    assert shown(job)[:2] == (2, 4)


def test_a_loop_writes_at_most_once_an_interval(job, settings):
    settings.IMMORTUS_FLUSH_INTERVAL = 0.05
    began, calls = time.monotonic(), len(get_store().calls)
    for _ in job.track(range(40)):
        time.sleep(0.01)
    updates = get_store().calls[calls:].count("update")
    assert updates <= 3 + (time.monotonic() - began) / 0.05


def test_a_loop_shows_how_far_it_is_while_an_item_takes_long(job, settings):
    if settings.IMMORTUS_INLINE:
        pytest.skip("an inline writer writes in the calls of the job alone")
    for item in job.track(range(11)):
        if item == 10:
            time.sleep(0.5)
            assert shown(job)[:2] == (10, 11)


def test_loops_of_threads_with_handles_of_their_own_add_up(job):
    def work():
        for _ in get_job(job.id).track(range(25)):
            time.sleep(0.001)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shown(job)[:3] == (100, 100, 100.0)


def test_a_loop_in_a_loop_moves_the_bar_within_its_item(job):
    for item in job.track(range(2)):
        for inner in get_job(job.id).track(range(2), message="Inside"):
            if (item, inner) == (1, 1):
                time.sleep(0.3)
                seen = shown(job)
    assert shown(job) == (2, 2, 100.0, "Inside")
    assert seen[0] <= 1
    assert seen[1] == 2


def test_a_loop_in_a_counted_step_moves_the_bar_within_its_item(job):
    job.update(current=3, total=50)
    list(get_job(job.id).track(range(10)))
    assert shown(job)[:3] == (3, 50, 8.0)
    job.update(current=4, total=50)
    assert shown(job)[:3] == (4, 50, 8.0)


def test_numbers_in_a_loop_of_another_function_are_of_a_step_inside(job):
    for _ in job.track(range(2)):
        for number in range(1, 3):
            get_job(job.id).update(current=number, total=2, message="Inside")
    assert shown(job) == (2, 2, 100.0, "Inside")


def test_a_loop_that_raises_has_counted_what_it_did(job):
    with contextlib.suppress(LookupError):
        for item in job.track(range(10)):
            if item == 7:
                raise LookupError
    assert shown(job)[:2] == (7, 10)
    list(job.track("ab"))
    assert shown(job)[:2] == (2, 2)


# Stopping


def test_a_loop_on_any_handle_stops_once_it_is_asked_to(job):
    done = []

    def cancelled_at_3():
        for item in job.track(range(400)):
            done.append(item)
            time.sleep(0.01)
            if item == 3:
                get_job(job.id).cancel()

    with pytest.raises(JobCancelled):
        cancelled_at_3()
    assert 4 <= len(done) < 200


def test_a_loop_on_a_cancelled_job_does_not_begin(job):
    get_job(job.id).cancel()
    with pytest.raises(JobCancelled):
        next(job.track("ab"))


def test_checkpoints_and_the_question_itself_work_on_any_handle(job):
    assert not job.cancel_requested
    job.checkpoint()
    get_job(job.id).cancel()
    time.sleep(0.6)
    assert job.cancel_requested
    with pytest.raises(JobCancelled):
        job.checkpoint()


def test_a_checkpoint_asks_the_store_only_now_and_then(job):
    calls = len(get_store().calls)
    for _ in range(1000):
        job.checkpoint()
    assert len(get_store().calls) - calls <= 2


def test_a_checkpoint_goes_on_while_the_store_is_silent(job, caplog):
    time.sleep(0.6)
    get_store().failures = 5
    job.checkpoint()
    assert "cannot be read" in caplog.text
    get_store().failures = 0


def test_a_loop_goes_on_while_the_store_is_silent_and_counts_later(job, caplog, settings):
    if settings.IMMORTUS_INLINE:
        pytest.skip("an inline writer keeps nothing for later")
    for item in job.track(range(10)):
        if item == 5:
            get_store().failures = 2
        time.sleep(0.02)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with contextlib.suppress(StoreUnavailable):
            if shown(job)[0] == 10:
                break
        time.sleep(0.1)
    assert shown(job)[:2] == (10, 10)


@pytest.mark.parametrize("by", ["the run's handle", "another handle", "a thread"])
def test_a_job_that_cancels_itself_knows_it_at_once(job, by):
    with job.running() as inside:
        handle = job if by == "another handle" else inside
        thread = threading.Thread(target=handle.cancel)
        thread.run() if by != "a thread" else (thread.start(), thread.join())
        assert inside.cancel_requested
        inside.checkpoint()
    assert get_job(job.id).state is State.CANCELLED


def test_a_job_that_cancels_itself_in_a_transaction_knows_it_at_once(job, monkeypatch):
    with job.running() as inside:
        monkeypatch.setattr(get_store(), "waits_for_caller", lambda: True)
        inside.cancel()
        assert inside.cancel_requested


def test_a_loop_elsewhere_counts_its_items_once_whatever_is_advanced(job, caplog):
    for _ in job.track(range(4)):
        job.update(advance=1, message="Going")
        for _ in job.track(range(2)):
            get_job(job.id).update(advance=1)
    assert shown(job) == (4, 4, 100.0, "Going")
    assert "adds nothing" in caplog.text


def test_a_count_on_its_way_to_a_store_that_hangs_outlives_its_loop(job, settings):
    if settings.IMMORTUS_INLINE:
        pytest.skip("an inline writer is in the store for no longer than its caller")
    settings.IMMORTUS_FLUSH_INTERVAL = 0.01
    store = get_store()
    for item in job.track(range(10)):
        if item == 5:
            store.open.clear()
            store.calls.clear()
        if item == 6:
            assert eventually(lambda: "update" in store.calls)
            store.failures = 1
    store.open.set()
    assert eventually(lambda: store.failures == 0)
    assert eventually(lambda: shown(job)[:2] == (10, 10))


# Copies


class Marathon(JobState):
    task = "run_marathon"


def test_a_handle_is_pickled_by_its_id(job):
    there = pickle.loads(pickle.dumps(job))
    there.update(advance=2)
    assert (there.id, type(there), shown(job)[0]) == (job.id, type(job), 2)
    assert type(pickle.loads(pickle.dumps(Marathon(job.id)))) is Marathon


def test_a_handle_of_no_job_stays_one_of_none():
    pickle.loads(pickle.dumps(current_job())).update(advance=1)


def test_a_copy_of_a_running_jobs_handle_is_its_run_only_here(job):
    with job.running() as inside:
        assert copy.copy(inside)._side is inside._side
        sent, found = pickle.dumps(inside), []
        thread = threading.Thread(target=lambda: found.append(pickle.loads(sent)))
        thread.start()
        thread.join()
        assert found[0].state is State.RUNNING
