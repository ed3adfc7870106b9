"""What a message tells a worker of its job's record."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace

import pytest

from immortus_channels.jobs.events import CancelRequested, Created, Enqueued, Origin, Started
from immortus_channels.jobs.job import Job
from immortus_channels.jobs.lifecycle import apply
from immortus_channels.queues.messages import (
    continuing_header,
    first_header,
    from_header,
    is_about,
    is_second,
    job_in,
    key_in,
    namespace_in,
    owner_header,
    second_header,
    to_header,
    with_owner,
    with_record,
    without_second,
)

ORIGIN = Origin(
    send_id="s1",
    namespace="north",
    owner="north\x1f7",
    queue="celery",
    cancel="terminate",
    eta=5_000_000,
    params={"n": [1.5, "ä", None], "big": 2**70},
    data={"a": {"b": [True, 1, 1.0]}},
)


def sent(origin: Origin = ORIGIN, before: Job | None = None, now: int = 7_000) -> Job:
    job = apply(before, Enqueued(job_id="north\x1fa", job_class="c", origin=origin), now=now)
    assert job is not None
    return job


def over_the_wire(header):
    return json.loads(json.dumps(header))


def test_a_header_brings_the_origin_across():
    assert from_header(over_the_wire(to_header(ORIGIN))) == ORIGIN


def test_the_worker_makes_the_sender_s_record_again():
    job = sent()
    header = over_the_wire(with_record(to_header(ORIGIN), job))
    known = job_in(header, job.job_id, "c")
    assert known == replace(job, lease_until=None)
    assert not known.is_lease_known


def test_a_renewed_lease_is_not_told():
    job = sent()
    renewed = replace(job, lease_until=10**15)
    assert with_record({}, job) == with_record({}, renewed)


@pytest.mark.parametrize(
    "job",
    [
        sent(before=apply(None, Created(job_id="north\x1fa", creation="c1"), now=6_000)),
        apply(sent(), Started(job_id="north\x1fa", job_class="c", run_id="r"), now=8_000),
        apply(sent(), CancelRequested(job_id="north\x1fa"), now=8_000),
        replace(sent(), strategy_meta={"asked": 1}),
        replace(sent(), owner="north\x1f8"),
    ],
    ids=["made by hand", "running", "cancelled", "with a strategy's meta", "another's"],
)
def test_a_record_that_the_origin_does_not_tell_is_read(job):
    header = over_the_wire(with_record(to_header(ORIGIN), job))
    assert job_in(header, job.job_id, "c") is None


@pytest.mark.parametrize("record", ["x", [1], [7_000, "0"], [None, "0"], {}, [7_000, None, 1], ["7", "0"], None])
def test_what_no_release_of_ours_has_sent_is_not_believed(record):
    assert job_in({**to_header(ORIGIN), "record": record}, "north\x1fa", "c") is None


def test_a_message_of_a_release_before_tells_no_record():
    assert job_in(to_header(ORIGIN), "north\x1fa", "c") is None
    assert job_in(None, "a", "c") is None


# Which job, which life, whose


def test_a_header_is_about_the_job_whose_id_it_has():
    job_id = uuid.uuid4()
    header = over_the_wire(first_header(ORIGIN, job_id))
    assert is_about(header, job_id)
    assert is_about(header, str(job_id))
    assert not is_about(header, "another")
    assert not is_about(None, job_id)


def test_a_header_of_an_old_release_is_about_the_job_that_has_it():
    assert is_about(to_header(ORIGIN), "any")


def test_what_continues_a_life_takes_no_arguments_along():
    header = continuing_header(ORIGIN, "a")
    assert from_header(header) == replace(ORIGIN, params=None, data=None)
    assert not is_second(header)


def test_a_second_message_says_so_until_it_is_the_only_one():
    header = second_header(ORIGIN, "a")
    assert is_second(header)
    assert without_second(header) == continuing_header(ORIGIN, "a")
    assert not is_second(None)


def test_a_key_is_the_id_in_the_namespace_of_the_message():
    assert key_in(namespace_in(None, to_header(ORIGIN)), "a") == "north\x1fa"
    assert key_in(namespace_in(None), 5) == "5"
    assert key_in("north", [1]) == [1]


def test_a_planned_job_is_its_planner_s_whoever_sends_it():
    by_worker = Origin(send_id="s2", queue="celery", staff_only=True)
    planned = with_owner(by_worker, over_the_wire(owner_header(ORIGIN)))
    assert planned == replace(by_worker, namespace="north", owner=ORIGIN.owner, staff_only=False)
    assert with_owner(by_worker, None) == by_worker
