"""What a message tells a worker of its job's record."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from immortus_channels.jobs.events import CancelRequested, Created, Enqueued, Origin, Started
from immortus_channels.jobs.job import Job
from immortus_channels.jobs.lifecycle import apply
from immortus_channels.queues.messages import from_header, job_in, to_header, with_record

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
