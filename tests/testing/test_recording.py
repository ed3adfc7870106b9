"""Recorded jobs: every document that a block of code gave rise to."""

from __future__ import annotations

import uuid

import pytest
from django.db import connection

from immortus_channels import JobFailed, JobRepository, get_job
from immortus_channels.conf import settings
from immortus_channels.exceptions import JobNotFound
from immortus_channels.push import receivers
from immortus_channels.testing import recorded_jobs


def worked(**how):
    with JobRepository().create().running() as job:
        for n in range(3):
            job.update(current=n + 1, total=4, **how)
    return job.job_id


def test_every_call_makes_a_document():
    with recorded_jobs() as jobs:
        job_id = worked(message="Sawing")
        assert get_job(job_id).document == jobs.last(job_id)
    assert jobs.states(job_id) == ["enqueued", "running", "finished"]
    assert jobs.seen(job_id, "percentage") == [None, 25.0, 50.0, 75.0, 100.0]
    assert jobs.seen(job_id, "message") == ["", "Sawing"]
    assert [event for _, event in jobs.events] == ["job_enqueued", "job_started", *["meta"] * 3, "job_finished"]


def test_what_a_writer_s_thread_has_still_to_write_is_recorded():
    with recorded_jobs(IMMORTUS_INLINE=False) as jobs, JobRepository().create().running() as job:
        job.update(current=1, total=4, message="Sawing")
        job.update(current=4, message="Gluing")
    assert jobs.states(job.job_id) == ["enqueued", "running", "finished"]
    assert jobs.last(job.job_id)["message"] == "Gluing"


def test_jobs_are_told_apart():
    with recorded_jobs() as jobs:
        first, second = worked(), worked()
    assert {document["job_id"] for document in jobs.documents} == {first, second}
    assert {document["job_id"] for document in jobs.of(second)} == {second}


def test_a_job_is_looked_up_by_whatever_may_be_its_id():
    number = uuid.UUID(int=5)
    with recorded_jobs() as jobs:
        for job_id in (42, number):
            with JobRepository().create(id=job_id).running():
                pass
    for job_id in (42, "42", number, str(number)):
        assert jobs.last(job_id)["job_id"] == str(job_id)
        assert jobs.states(job_id) == ["enqueued", "running", "finished"]
    with pytest.raises(TypeError, match="give text, a UUID or a whole number"):
        jobs.of(None)


def test_how_a_job_failed_is_recorded():
    with recorded_jobs() as jobs, JobRepository().create(id="saw").running():
        raise JobFailed(code="blunt", message="The saw is blunt.")
    assert jobs.last("saw")["error"] == {"code": "blunt", "message": "The saw is blunt."}


def test_asking_for_a_job_that_told_nothing_lists_the_jobs_there_are():
    with recorded_jobs() as jobs:
        JobRepository().create(id="saw")
    with pytest.raises(KeyError, match=r"'file'.*\['saw'\]"):
        jobs.last("file")


def test_asking_for_a_key_that_no_document_has_lists_the_keys_there_are():
    with recorded_jobs() as jobs, JobRepository().create(id="saw").running() as job:
        job.set_meta(teeth=40)
    assert jobs.seen("saw", "teeth") == [None, 40]
    with pytest.raises(KeyError, match=r"'saw' has 'mesage', only .*message"):
        jobs.seen("saw", "mesage")
    assert jobs.seen("file", "mesage") == []


def test_nothing_is_written_to_the_database_and_nothing_is_left(settings):
    settings.IMMORTUS_STORE = {"BACKEND": "memory"}
    before = receivers._current
    with recorded_jobs():
        job_id = worked()
    assert receivers._current == before
    assert connection.connection is None or not connection.in_atomic_block
    with pytest.raises(JobNotFound):
        get_job(job_id)


def test_other_settings_hold_for_the_block():
    with recorded_jobs(IMMORTUS_RETENTION=5):
        assert (settings.RETENTION, settings.FLUSH_INTERVAL) == (5, 0)
    assert settings.FLUSH_INTERVAL == 0.2
