"""When a store's own clock is asked, and when it is guessed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from immortus_channels.jobs.job import Job
from immortus_channels.jobs.lifecycle import SECOND
from immortus_channels.stores import compare_and_set
from immortus_channels.stores.compare_and_set import CLOCK_SLACK, Clock
from tests.stores.test_contract import PLACES


@pytest.fixture
def host(monkeypatch):
    """The host's own time since it was started, in microseconds; it stands still."""
    times = [5 * SECOND]
    monkeypatch.setattr(compare_and_set, "_since_boot", lambda: times[0])
    return times


@pytest.fixture(params=PLACES)
def store(request, opened):
    return opened(request.getfixturevalue(request.param))


@pytest.fixture
def reads(store, monkeypatch):
    """The ids of each read."""
    made = []
    get_many = store.get_many
    monkeypatch.setattr(store, "get_many", lambda ids: [made.append(ids), get_many(ids)][1])
    return made


def later(job: Job, now: int) -> Job:
    return replace(job, message="new", version=max(job.version + 1, now))


def test_a_clock_goes_on_by_the_hosts_time(host):
    clock = Clock()
    assert clock.guess() is None
    clock.show(100)
    assert clock.guess() == 100
    host[0] += 3
    assert clock.guess() == 103


def test_the_look_that_was_heard_soonest_counts(host):
    clock = Clock()
    clock.show(100)
    host[0] += 50
    clock.show(110)
    assert clock.guess() == 150
    clock.forget()
    clock.show(110)
    assert clock.guess() == 110


def test_a_job_that_is_known_is_written_without_a_read(store, put, reads):
    known = put(store)
    assert reads.clear() is None
    for _ in range(3):
        _, known = store.update("a", later, known=known)
    assert reads == []


def test_a_process_reads_before_its_first_write_to_learn_the_time(store, put, reads):
    known = put(store)
    store._clock = Clock()
    assert reads.clear() is None
    store.update("a", later, known=known)
    assert reads == [["a"]]


def test_a_refused_write_is_answered_with_what_is_there(store, put, reads):
    known = put(store)
    put(store)
    assert reads.clear() is None
    before, after = store.update("a", later, known=known)
    assert before.version > known.version
    assert after.version > before.version
    assert reads == []


def test_a_job_that_is_known_to_be_new_is_written_without_a_read(store, put, reads):
    put(store, "b")
    assert reads.clear() is None
    before, after = store.update("a", lambda job, now: Job(job_id="a", version=now), known=Job(job_id="a"))
    assert (before, after) == (None, store.get_many(["a"]).jobs["a"])
    assert reads == [["a"]]  # the one of this test


def test_a_job_that_is_not_as_new_as_believed_is_changed(store, put):
    put(store, message="there")
    new = Job(job_id="a")
    before, after = store.update("a", lambda job, now: later(job or new, now), known=new)
    assert (before.message, after.message) == ("there", "new")


def test_a_lease_that_is_not_known_is_not_compared(store, put, reads):
    known = put(store, lease_until=5, lease_holder="run").with_unknown_lease
    store.renew({"a": "run"}, 60)
    assert reads.clear() is None
    store.update("a", lambda job, now: replace(later(job, now), lease_until=now, lease_holder="x"), known=known)
    assert reads == []
    renewed = put(store, "b", lease_until=5, lease_holder="run")
    store.update("b", later, known=renewed.with_unknown_lease)
    assert store.get_many(["b"]).jobs["b"].lease_until == renewed.lease_until


def test_a_version_ahead_of_the_clock_is_not_guessed_in_vain(store, put, reads, monkeypatch):
    known = put(store, version=store.get_many([]).now + 3600 * SECOND)
    monkeypatch.setattr(
        store, "_replace", lambda *args: [guesses.append(args[2]), type(store)._replace(store, *args)][1]
    )
    guesses = []
    store.update("a", later, known=known)
    assert guesses == [None]


@pytest.mark.parametrize("seconds", [-3600, 3600])
def test_a_host_that_slept_does_not_write_a_wrong_time(store, put, reads, host, seconds):
    known = put(store, version=1)
    host[0] += seconds * SECOND
    assert reads.clear() is None
    _, after = store.update("a", lambda job, now: replace(later(job, now), finished_at=now), known=known)
    assert reads == []
    assert abs(after.finished_at - store.get_many([]).now) < CLOCK_SLACK
    assert reads.clear() is None
    store.update("a", later, known=after)
    assert reads == []


def test_a_record_s_times_do_not_run_backwards_after_a_late_clock_reading(store, put, host):
    known = put(store)
    host[0] -= CLOCK_SLACK // 2
    times = []
    store.update("a", lambda job, now: [times.append(now), later(job, now)][1], known=known)
    assert times == [known.version]
