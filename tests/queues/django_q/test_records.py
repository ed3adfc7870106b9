"""What the rows that Django-Q2 keeps say of a job, and what they leave open."""

from __future__ import annotations

import time

import pytest

from immortus_channels.jobs import namespaces
from immortus_channels.jobs.events import Failed, Finished
from immortus_channels.jobs.job import State


@pytest.fixture
def run(async_task, work, cluster):
    """Send and run a function; return its id."""

    def run(name, *args, **options):
        job_id = async_task(getattr(work, name), *args, **options)
        cluster.work()
        return job_id

    return run


def test_a_success_is_on_record(run, queue, work):
    job_id = run("double", 4)
    job = queue.fetch(job_id)
    assert (job.state, job.job_class) == (State.FINISHED, f"{work.__name__}.double")
    assert queue.keeps_records()


def test_what_the_queue_does_not_have_is_not_on_record(queue, cluster):
    assert queue.fetch("f" * 32) is queue.end_of("f" * 32, "", since=0) is None


@pytest.mark.parametrize(
    ("settings_of_cluster", "is_final"),
    [({}, False), ({"ACK_FAILURES": True}, True), ({"MAX_ATTEMPTS": 1}, True), ({"MAX_ATTEMPTS": 2}, False)],
)
def test_a_failure_is_an_end_if_the_settings_say_so(run, queue, conf, monkeypatch, settings_of_cluster, is_final):
    for name, value in settings_of_cluster.items():
        monkeypatch.setattr(conf, name, value)
    job_id = run("breaks")
    job, end = queue.fetch(job_id), queue.end_of(job_id, "", since=0)
    assert (job and job.state) == (State.FAILED if is_final else None)
    assert isinstance(end, Failed) == is_final
    monkeypatch.setattr(conf, "ORM", None)  # Redis, whose messages never come back
    assert queue.fetch(job_id).state is State.FAILED


def test_an_end_counts_for_a_run_that_began_before_it(run, queue, work):
    since = time.time_ns() // 1000
    job_id = run("double", 4)
    end = queue.end_of(job_id, f"{work.__name__}.double", since=since)
    assert isinstance(end, Finished)
    assert end.report.result == 8
    assert queue.end_of(job_id, "", since=since).report is None, "only a task that publishes its result"
    assert queue.end_of(job_id, "", since=time.time_ns() // 1000) is None


def test_results_in_the_cache_are_records_too(run, queue, conf, monkeypatch):
    monkeypatch.setattr(conf, "CACHED", True)
    assert queue.fetch(run("double", 4)).state is State.FINISHED


def test_where_namespaces_are_used_no_row_tells_whose_it_is(run, queue, monkeypatch):
    job_id = run("double", 4)
    monkeypatch.setattr(namespaces, "are_used", lambda: True)
    assert queue.fetch(job_id) is None
