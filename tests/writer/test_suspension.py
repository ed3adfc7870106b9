from __future__ import annotations

import math

import pytest

from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.writer.suspension import Suspension, Suspensions

DOWN = StoreUnavailable("down")


@pytest.fixture
def suspensions():
    return Suspensions()


def refused(suspensions, *job_ids, now=0.0):
    """A round in which these jobs failed and others worked."""
    suspensions.begin_round()
    suspensions.note_success(["well", "too"])
    for job_id in job_ids:
        suspensions.note_failure(job_id, DOWN)
    suspensions.end_round(now)


def test_a_suspension_lasts_twice_as_long_each_time_up_to_a_limit():
    suspension = Suspension(0.1, 10.0)
    lasted = []
    for _ in range(9):
        suspension.extend(now=7.0)
        lasted.append(round(suspension.until - 7.0, 6))
    assert lasted == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]
    assert suspension.times == 9
    suspension.lift()
    assert (suspension.times, suspension.until) == (0, -math.inf)


def test_a_suspension_does_not_overflow_after_hours():
    suspension = Suspension(0.1, 10.0)
    for _ in range(5_000):
        suspension.extend(now=7.0)
    assert suspension.until == 17.0


def test_a_job_that_fails_while_others_work_is_left_alone(suspensions):
    refused(suspensions, "bad", now=5.0)
    assert not suspensions.may_write("bad", 5.05)
    assert suspensions.may_write("bad", 5.1)
    assert suspensions.may_write("well", 5.0)
    assert suspensions.store.times == 0


def test_within_a_round_a_job_that_failed_is_not_tried_again(suspensions):
    suspensions.note_success(["well"])
    suspensions.note_failure("bad", DOWN)
    assert suspensions.until("bad") == math.inf
    suspensions.end_round(0.0)
    assert suspensions.until("bad") == 0.1


def test_two_jobs_that_fail_while_none_works_mean_that_the_store_is_down(suspensions):
    suspensions.note_failure("a", DOWN)
    with pytest.raises(StoreUnavailable):
        suspensions.note_failure("b", DOWN)
    suspensions.abandon_round(3.0, DOWN)
    assert (suspensions.store.times, suspensions.store.until) == (1, 3.1)
    assert suspensions.may_write("a", 3.0), "it was the store's fault"


def test_one_job_that_fails_while_no_other_works_means_it_too(suspensions):
    suspensions.note_success(["a"])
    suspensions.note_failure("a", DOWN)
    with pytest.raises(StoreUnavailable):
        suspensions.end_round(0.0)


def test_a_job_that_was_refused_before_says_nothing_about_the_store(suspensions):
    refused(suspensions, "bad")
    suspensions.begin_round()
    suspensions.note_failure("bad", DOWN)
    suspensions.note_failure("a", DOWN)
    with pytest.raises(StoreUnavailable):
        suspensions.end_round(1.0)
    suspensions.abandon_round(1.0, DOWN)
    assert suspensions.until("bad") == 1.2
    assert suspensions.until("a") == -math.inf


def test_a_store_or_a_job_that_works_again_is_no_longer_suspended(suspensions):
    refused(suspensions, "bad")
    suspensions.abandon_round(0.0, DOWN)
    suspensions.note_success(["bad"])
    suspensions.end_round(1.0)
    assert suspensions.store.times == 0
    assert suspensions.until("bad") == -math.inf
    assert not suspensions.refused


def test_a_pause_lasts_until_the_first_job_may_be_written(suspensions):
    assert suspensions.pause([], 0.0) == math.inf
    assert suspensions.pause(["a"], 0.0) == 0.0
    refused(suspensions, "bad", now=0.0)
    refused(suspensions, "bad", "worse", now=1.0)
    assert suspensions.pause(["bad"], 1.0) == pytest.approx(0.2)
    assert suspensions.pause(["bad", "worse"], 1.0) == pytest.approx(0.1)
    assert suspensions.pause(["bad", "well"], 1.0) == 0.0


def test_recalled_jobs_are_tried_at_once_and_still_known_as_refused(suspensions):
    refused(suspensions, "bad")
    suspensions.recall()
    assert suspensions.may_write("bad", 0.0)
    suspensions.begin_round()
    assert suspensions.refused == {"bad"}


def test_the_log_gets_one_line_about_a_job_that_is_refused_time_and_again(suspensions, caplog):
    for now in range(6):
        refused(suspensions, "bad", now=float(now))
    assert [line.getMessage() for line in caplog.records] == [
        "The record of 'bad' cannot be written, others can; it is tried again"
    ]
