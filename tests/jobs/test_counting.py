"""What a run, callers from outside and loops in other processes count of a job, together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immortus_channels.jobs.events import (
    CancelRequested,
    Counted,
    Created,
    Enqueued,
    Origin,
    Report,
    Reported,
    Started,
    Updated,
)
from immortus_channels.jobs.job import Job, State
from immortus_channels.jobs.lifecycle import apply

T0 = 1_795_369_005_000_000


def after(*events, job=None):
    for number, event in enumerate(events):
        job = apply(job, event, now=T0 + number)
    return job


def made():
    return Created(job_id="a", creation="c", origin=Origin())


def update(**numbers):
    return Updated(job_id="a", **numbers)


def begin(loop, total, by=None, **more):
    return Counted(job_id="a", loop=loop, by=by or loop, total=total, begins=True, **more)


def count(loop, total, done, advance=1, by=None, **more):
    return Counted(job_id="a", loop=loop, by=by or loop, total=total, done=done, advance=advance, **more)


def report(step=1, current=0, total=None, **more):
    said = Report(step=step, current=current, total=total, **more)
    return Reported(job_id="a", run_id="r", report=said)


def started():
    return Started(job_id="a", run_id="r", origin=Origin(send_id="s"))


def shown(job):
    return job.current, job.total, job.document["percentage"]


# Jobs that nobody runs


@pytest.mark.parametrize(
    "first", [update(current=1), update(advance=1), update(percentage=5), update(total=9), begin("x", 9)], ids=str
)
def test_the_first_progress_of_a_job_made_by_hand_makes_it_run(first):
    job = after(made(), first)
    assert (job.state, job.event, job.started_at, job.attempt) == (State.RUNNING, "job_started", T0 + 1, 1)
    assert (job.lease_until, job.lease_holder) == (None, "")


@pytest.mark.parametrize("said", [update(message="Soon"), update(meta={"a": 1}), update(data={"a": 1})], ids=str)
def test_a_job_made_by_hand_waits_as_long_as_it_makes_no_progress(said):
    assert after(made(), said).state is State.ENQUEUED


def test_a_job_that_a_queue_has_announced_waits_for_that():
    sent = Enqueued(job_id="a", origin=Origin(send_id="s"))
    assert after(made(), sent, update(advance=1)).state is State.ENQUEUED
    assert after(sent, made(), update(advance=1)).state is State.ENQUEUED


def test_a_queue_that_starts_a_job_by_hand_later_runs_its_first_attempt():
    sent = Enqueued(job_id="a", origin=Origin(send_id="s"))
    waiting = after(made(), update(advance=1), sent)
    assert (waiting.state, waiting.started_at, waiting.current) == (State.ENQUEUED, None, 1)
    running = after(started(), job=waiting)
    assert (running.state, running.attempt, running.current, running.lease_holder) == (State.RUNNING, 1, 0, "r")


def test_a_job_that_nobody_runs_is_cancelled_at_once():
    job = after(made(), update(advance=1), CancelRequested(job_id="a"))
    assert (job.state, job.cancel_requested) == (State.CANCELLED, True)


# Loops of several handles


def test_loops_of_several_handles_add_their_items_and_totals():
    job = after(made(), begin("x", 10), count("x", 10, 4, 4), begin("y", 30), count("y", 30, 2, 2))
    assert shown(job) == (6, 40, 15.0)


def test_a_loop_that_begins_after_all_others_have_ended_adds_to_them_too():
    job = after(made(), begin("x", 10), count("x", 10, 10, 10, ends=True), begin("y", 10), count("y", 10, 5, 5))
    assert shown(job) == (15, 20, 75.0)


def test_each_loop_of_the_only_handle_is_a_step():
    job = after(made(), begin("x", 10, by="h"), count("x", 10, 10, 10, by="h"), begin("y", 4, by="h"))
    assert shown(job) == (0, 4, 0.0)


def test_an_announced_total_stays_while_loops_of_others_add_to_it():
    job = after(made(), update(total=40, by="h"), begin("x", 10), count("x", 10, 4, 4), begin("y", 10))
    assert shown(job) == (4, 40, 10.0)


def test_a_loop_of_the_handle_that_gave_a_total_is_the_next_step():
    assert shown(after(made(), update(total=40, by="h"), begin("x", 10, by="h"))) == (0, 10, 0.0)


def test_a_loop_whose_length_is_unknown_leaves_the_whole_unknown():
    job = after(made(), begin("x", 10), begin("y", None), count("y", None, 3, 3), begin("z", 5))
    assert shown(job) == (3, None, None)


def test_numbers_beside_the_loops_of_others_are_added_to_theirs():
    job = after(made(), begin("x", 10), update(advance=2), begin("y", 10), count("x", 10, 1))
    assert shown(job) == (3, 20, 15.0)


def test_the_parts_of_several_items_at_work_move_the_bar_together():
    job = after(made(), begin("x", 10), begin("y", 10), count("x", 10, 0.5, 0, within=0.5))
    job = after(count("y", 10, 0.75, 0, within=0.75), job=job)
    assert shown(job) == (0, 20, 6.2)
    assert shown(after(count("x", 10, 1, 1, within=-0.5), job=job)) == (1, 20, 8.7)


# Loops inside of an item


def test_a_loop_in_a_counted_step_moves_the_bar_within_its_item():
    job = after(made(), update(current=3, total=50), begin("x", 10), count("x", 10, 5, 5, message="Reading"))
    assert (shown(job), job.message) == ((3, 50, 7.0), "Reading")
    assert shown(after(count("x", 10, 10, 5, ends=True), job=job)) == (3, 50, 8.0)
    assert shown(after(update(current=4, total=50), job=job)) == (4, 50, 8.0)


def test_several_loops_in_an_item_move_the_bar_together_and_never_back():
    job = after(made(), update(current=0, total=2), begin("x", 10), count("x", 10, 5, 5))
    assert shown(job) == (0, 2, 25.0)
    job = after(begin("y", 10), job=job)
    assert shown(job) == (0, 2, 25.0)
    job = after(count("y", 10, 10, 10, ends=True), job=job)
    assert shown(job) == (0, 2, 37.5)
    assert shown(after(count("x", 10, 6), job=job)) == (0, 2, 37.5)


def test_loops_in_a_loop_of_the_run_are_parts_of_its_item():
    job = after(started(), report(current=1, total=4, counted=True), begin("x", 10), count("x", 10, 5, 5))
    assert shown(job) == (1, 4, 37.5)
    assert shown(after(report(current=1, total=4, counted=True, within=0.2), job=job)) == (1, 4, 37.5)
    assert shown(after(report(current=2, total=4, counted=True), job=job)) == (2, 4, 50.0)


# A run, and others beside it


def test_what_others_add_and_what_the_run_counts_are_both_kept():
    job = after(started(), report(current=3, total=50, counted=True), update(advance=4), update(advance=1))
    assert job.current == 8
    assert after(report(current=5, total=50, counted=True), job=job).current == 10
    assert after(report(step=2, current=1, total=9, counted=True), update(advance=1), job=job).current == 2


def test_a_run_that_reports_its_old_step_again_leaves_the_step_of_others():
    job = after(started(), report(current=4, total=4), begin("x", 10), count("x", 10, 6, 6))
    job = after(report(current=4, total=4, meta={"a": 1}), job=job)
    assert (shown(job), job.meta) == ((6, 10, 60.0), {"a": 1})
    assert shown(after(report(step=2, current=1, total=2, counted=True), job=job)) == (1, 2, 50.0)


def test_progress_after_the_end_changes_nothing():
    job = after(started(), report(current=1, total=4), CancelRequested(job_id="a"))
    over = after(made(), update(advance=1), CancelRequested(job_id="a"))
    assert after(begin("x", 9), count("x", 9, 1), job=over) is over
    assert job.state is State.RUNNING


EVENTS = st.one_of(
    st.builds(lambda n, t: update(current=n, total=t), st.integers(0, 9), st.sampled_from([5, 10])),
    st.builds(lambda n: update(advance=n), st.integers(0, 3)),
    st.builds(begin, st.sampled_from("xyz"), st.sampled_from([None, 3, 8])),
    st.builds(lambda x, d: count(x, 8, d), st.sampled_from("xyz"), st.integers(1, 8)),
    st.builds(
        lambda s, n, w: report(step=s, current=n, total=10, counted=True, within=w),
        st.integers(1, 3), st.integers(0, 10), st.sampled_from([0.0, 0.25, 1.0]),
    ),
)  # fmt: skip


@given(st.booleans(), st.lists(EVENTS, max_size=30))
def test_whatever_comes_the_bar_does_not_fall_within_a_step(is_run, events):
    job = after(started() if is_run else made())
    for event in events:
        before, job = job, after(event, job=job)
        assert Job.from_record(job.to_record()) == job
        if (job.step, job.total) == (before.step, before.total):
            assert (job.current, job.current + job.within) >= (before.current, before.current + before.within)
