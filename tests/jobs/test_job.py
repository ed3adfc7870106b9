"""A job as stored, and as browsers see it."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immortus_channels.jobs.job import DOCUMENT_KEYS, PROGRESS_KEYS, SENTENCES, Error, Job, State, dump, percentage

EXAMPLE = """
{"job_id": "908ec6f1-…", "job_class": "shop.tasks.process_image", "state": "running", "completed": false,
 "version": 1795369005459331, "attempt": 1,
 "current": 3, "total": 10, "percentage": 30.0, "message": "Filtering",
 "error": null, "result": null, "cancel_requested": false, "stalled": false,
 "enqueued_at": "2026-11-22T17:00:00.000Z", "started_at": "2026-11-22T17:00:01.250Z", "finished_at": null,
 "miles_run": 12.5}
"""
"""The protocol's example."""

JOB = Job(
    job_id="908ec6f1-…",
    job_class="shop.tasks.process_image",
    state=State.RUNNING,
    version=1795369005459331,
    current=3,
    total=10,
    message="Filtering",
    enqueued_at=1795366800000000,
    started_at=1795366801250999,
    meta={"miles_run": 12.5},
)


# The document


def test_the_document_is_the_protocols_example_key_for_key_in_its_order():
    assert list(JOB.document.items()) == list(json.loads(EXAMPLE).items())


def test_the_text_is_the_document_as_strict_compact_json():
    assert json.loads(JOB.text) == JOB.document
    assert not re.search(r'[,:] ["\d]', JOB.text)
    with pytest.raises(ValueError, match="JSON"):
        replace(JOB, meta={"miles": float("nan")}).text  # noqa: B018


@pytest.mark.parametrize("state", State)
def test_completed_says_that_the_state_is_finished(state):
    assert replace(JOB, state=state).document["completed"] is (state == "finished")


def test_four_states_are_over():
    assert {state for state in State if state.is_over} == {"finished", "failed", "cancelled", "lost"}


def test_an_error_is_a_code_and_a_sentence():
    assert replace(JOB, error=Error(code="x", message="No.")).document["error"] == {"code": "x", "message": "No."}
    assert Error(code="expired").message == SENTENCES["expired"]
    assert Error(code="mine").message == SENTENCES["error"]


@pytest.mark.case(16)
def test_meta_comes_last_sorted_and_cannot_name_a_key_of_the_document():
    job = replace(JOB, meta={"zebra": 1, "state": "hacked", "version": 9}, strategy_meta={"apple": 2})
    assert list(job.document)[-2:] == ["apple", "zebra"]
    assert (job.document["state"], job.document["version"]) == ("running", JOB.version)


def test_what_the_strategy_says_wins_over_what_the_task_set():
    assert replace(JOB, meta={"miles": 1}, strategy_meta={"miles": 2}).document["miles"] == 2


def test_the_order_in_which_meta_was_set_makes_no_other_text():
    assert replace(JOB, meta={"a": 1, "b": 2}).text == replace(JOB, meta={"b": 2, "a": 1}).text


def test_meta_may_give_progress_by_the_documents_own_keys():
    job = replace(JOB, meta={"current": 5, "total": 20, "percentage": 12.34, "message": "Mine"})
    shown = job.document
    assert (shown["current"], shown["total"], shown["percentage"], shown["message"]) == (5, 20, 12.3, "Mine")
    assert PROGRESS_KEYS < DOCUMENT_KEYS


def test_progress_in_meta_of_another_type_is_ignored():
    job = replace(JOB, meta={"current": "5", "total": True, "percentage": None, "message": 4})
    shown = job.document
    assert (shown["current"], shown["total"], shown["percentage"], shown["message"]) == (3, 10, 30.0, "Filtering")


# Percentage


@pytest.mark.case(34)
@pytest.mark.parametrize(
    ("current", "total", "expected"),
    [
        (3, 10, 30.0),
        (1, 3, 33.3),
        (2, 3, 66.6),
        (999, 1000, 99.9),
        (99_999, 100_000, 99.9),
        (10, 10, 100.0),
        (0, 10, 0.0),
        (-1, 10, 0.0),
        (29, 100, 29.0),
        (0.5, 1, 50.0),
        (11, 10, None),
        (3, None, None),
        (3, 0, None),
        (0, 0, None),
        (3, -1, None),
    ],
)
def test_the_percentage_of_a_count(current, total, expected):
    assert percentage(current, total) == expected


@pytest.mark.case(35)
def test_a_count_beyond_its_total_is_shown_beside_it_without_a_percentage():
    shown = replace(JOB, current=12).document
    assert (shown["current"], shown["total"], shown["percentage"]) == (12, 10, None)


@pytest.mark.case(41)
def test_how_long_a_job_takes_is_told_by_its_times():
    waiting = replace(JOB, state=State.ENQUEUED, started_at=None).document
    assert (waiting["started_at"], waiting["finished_at"]) == (None, None)
    over = replace(JOB, state=State.FINISHED, finished_at=1795366803750000).document
    assert (over["started_at"], over["finished_at"]) == ("2026-11-22T17:00:01.250Z", "2026-11-22T17:00:03.750Z")


def test_a_given_percentage_wins_and_never_rounds_up_to_the_end():
    assert percentage(1, 10, 55.55) == 55.5
    assert percentage(0, None, 99.99) == percentage(0, None, 100) == percentage(0, None, 250) == 99.9
    assert percentage(0, None, -3) == 0.0
    assert percentage(10, 10, 40) == 40.0
    assert percentage(10, 10, 100) == 100.0
    assert percentage(9, 10, 100) == 99.9
    assert percentage(1e308, 1e308) == 100.0
    assert percentage(1e308, 1.7e308) == percentage(0, None, 1e308) == 99.9


def test_a_job_is_named_by_its_id_either_way():
    assert JOB.id == JOB.job_id


@pytest.mark.case(10)
def test_a_finished_job_shows_100_and_a_failed_one_keeps_its_last():
    assert replace(JOB, state=State.FINISHED).document["percentage"] == 100.0
    assert replace(JOB, state=State.FINISHED, total=None).document["percentage"] == 100.0
    assert replace(JOB, state=State.FAILED).document["percentage"] == 30.0


@given(st.integers(0, 10**6), st.integers(1, 10**6))
def test_a_percentage_is_100_only_at_the_end_and_has_one_decimal(current, total):
    shown = percentage(current, total)
    if current > total:
        assert shown is None
    else:
        assert shown is not None
        assert 0 <= shown <= 100
        assert (shown == 100) is (current == total)
        assert round(shown, 1) == shown


@given(st.integers(0, 999), st.integers(1, 1000))
def test_a_percentage_does_not_fall_when_the_count_rises(current, total):
    one, next_one = percentage(current, total), percentage(current + 1, total)
    assert next_one is None or (one is not None and one <= next_one)


# The record

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | words,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2),
    max_leaves=4,
)
objects = st.dictionaries(words, values, max_size=2)
times = st.none() | st.integers(0, 2**52)
jobs = st.builds(
    Job,
    job_id=words,
    job_class=words,
    state=st.sampled_from(State),
    version=st.integers(0, 2**53),
    attempt=st.integers(1, 9),
    event=words,
    current=numbers,
    total=st.none() | numbers,
    given_percentage=st.none() | st.floats(0, 100),
    message=words,
    step=st.integers(0, 9),
    run_step=st.integers(0, 9),
    error=st.none() | st.builds(Error, code=words, message=words),
    result=values,
    meta=objects,
    strategy_meta=objects,
    data=objects,
    params=objects,
    owner=st.none() | words,
    staff_only=st.booleans(),
    cancel=st.sampled_from(["ask", "terminate", "never"]),
    past_ids=st.lists(words, max_size=3).map(tuple),
    lease_until=times,
    lease_holder=words,
    cancel_requested=st.booleans(),
    stalled=st.booleans(),
    enqueued_at=times,
    started_at=times,
    finished_at=times,
)


@given(jobs)
def test_a_record_gives_back_the_same_job_and_the_same_text(job):
    again = Job.from_record(job.to_record())
    assert again == job
    assert again.text == job.text


def test_a_record_may_be_bytes():
    assert Job.from_record(JOB.to_record().encode()) == JOB


@pytest.mark.parametrize("zero", [0, 0.0])
def test_a_zero_that_was_given_is_not_forgotten(zero):
    job = replace(JOB, current=zero, total=zero, given_percentage=0.0)
    assert Job.from_record(job.to_record()).text == job.text


def test_a_record_of_a_newer_release_is_read_by_an_older_one():
    record = json.loads(JOB.to_record()) | {"colour": "red"}
    assert Job.from_record(json.dumps(record)) == JOB


def test_a_record_says_only_what_is_not_usual():
    assert json.loads(Job(job_id="a").to_record()) == {"job_id": "a"}


def test_a_text_has_no_escapes_that_it_does_not_need():
    assert dump({"a": ["é", None]}) == '{"a":["é",null]}'
