"""What every store does, whatever it keeps its jobs in."""

from __future__ import annotations

import enum
import multiprocessing
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace

import pytest

from immortus_channels.exceptions import UnreadableRecord
from immortus_channels.jobs.events import Enqueued, Overdue, Reported, Started
from immortus_channels.jobs.job import Error, Job, State
from immortus_channels.jobs.lifecycle import SECOND, apply
from immortus_channels.keys import key_of
from immortus_channels.stores.base import Filter, Position
from tests.stores.places import count_up, one_more

SHARED = ["sqlite", "beside", "postgresql", "pgbouncer", "mariadb", "redis", "sentinel", "cluster"]
PLACES = ["memory", *SHARED]


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest):
    return request.getfixturevalue(request.param)


@pytest.fixture(params=SHARED)
def shared_place(request: pytest.FixtureRequest):
    return request.getfixturevalue(request.param)


@pytest.fixture
def store(place, opened):
    return opened(place)


def read(store, job_id: str = "a") -> Job | None:
    return store.get_many([job_id]).jobs.get(job_id)


def ids(jobs) -> list[str]:
    return [job.job_id for job in jobs]


# Reading and writing


class Newer(enum.StrEnum):
    """A state that a later release may have."""

    PAUSED = "paused"

    @property
    def is_over(self) -> bool:
        return False


@pytest.mark.fault("E7")
def test_a_record_that_cannot_be_read_counts_as_unknown_and_costs_no_other(store, put, caplog):
    put(store, "odd", state=Newer.PAUSED, owner="7", lease_until=-5, lease_holder="h")
    put(store, "well", owner="7", lease_until=-5, lease_holder="h")
    reading = store.get_many(["odd", "well", "nobody"])
    assert (list(reading.jobs), list(reading.unreadable)) == (["well"], ["odd"])
    assert {record.job_id for record in caplog.records} == {"odd"}
    for wanted in (Filter(), Filter(owner="7"), Filter(overdue=True)):
        assert ids(store.list(wanted)) == ["well"]
        assert ids(store.list(wanted)) == ["well"]
    store.renew({"odd": "h", "well": "h"}, 100)
    assert read(store, "well").lease_until > reading.now


@pytest.mark.fault("E7")
def test_a_record_that_cannot_be_read_is_not_written_over(store, put):
    put(store, "odd", state=Newer.PAUSED)
    with pytest.raises(UnreadableRecord, match="'odd' cannot be read"):
        put(store, "odd", message="here")
    assert list(store.get_many(["odd"]).unreadable) == ["odd"]


def test_an_unknown_job_is_absent_and_no_error(store):
    assert store.get_many(["a", "b"]).jobs == {}
    assert store.positions(["a", "b"]).of == {}
    assert store.list(Filter()) == []
    store.renew({"a": "run"}, 10)


def test_what_was_written_is_read_back_whole_and_as_the_same_text(store, put):
    written = put(
        store,
        job_class="shop.tasks.resize",
        state=State.FAILED,
        current=0.0,
        total=0,
        given_percentage=0.0,
        message="naïve \x00 “quoted” 100 % \N{PARTY POPPER} \\ \" '",
        error=Error(code="not_an_image", message="Nö"),
        result=[1, {"a": None}],
        meta={"miles": 12.5, "": "empty"},
        owner="7",
        past_ids=("r1", "r2"),
        finished_at=0,
    )
    assert read(store) == written
    assert read(store).text == written.text


def test_update_tells_the_job_before_and_after(store):
    first = replace(Job(job_id="a"), version=1)
    second = replace(first, version=2)
    assert store.update("a", lambda _job, _now: first) == (None, first)
    assert store.update("a", lambda _job, _now: second) == (first, second)


def test_a_change_that_returns_the_same_job_writes_nothing(store, put):
    put(store, version=5)
    assert store.update("a", lambda job, _now: job)[1].version == 5
    assert read(store).version == 5


def test_a_change_that_makes_nothing_of_an_unknown_job_leaves_it_unknown(store):
    assert store.update("a", lambda _job, _now: None) == (None, None)
    assert read(store) is None


def test_a_change_that_raises_changes_nothing(store, put):
    put(store, message="before")

    def broken(_job, _now):
        raise LookupError

    with pytest.raises(LookupError):
        store.update("a", broken)
    assert read(store).message == "before"


def test_the_time_is_in_microseconds_since_1970_in_utc(store):
    told = []
    store.update("a", lambda _job, now: told.append(now))
    for now in (*told, store.get_many([]).now, store.positions([]).now):
        assert abs(now - time.time() * SECOND) < 2 * SECOND


@pytest.mark.case(19)
@pytest.mark.parametrize("job_id", ["x" * 255, "ø/%_'\"`; \\", "a:b", "{b}", "\N{PARTY POPPER}" * 255, " ", "a "])
def test_any_id_that_the_protocol_allows_works(store, put, job_id):
    put(store, job_id, owner=job_id, lease_until=-1, lease_holder="h")
    assert read(store, job_id).job_id == job_id
    assert list(store.positions([job_id]).of) == [job_id]
    assert ids(store.list(Filter(owner=job_id))) == [job_id]
    assert ids(store.list(Filter(overdue=True))) == [job_id]


def test_ids_that_differ_in_case_are_different_jobs(store, put):
    put(store, "job", owner="me", job_class="task")
    put(store, "JOB", owner="ME", job_class="TASK")
    assert store.get_many(["job", "JOB"]).jobs.keys() == {"job", "JOB"}
    assert ids(store.list(Filter(owner="me"))) == ids(store.list(Filter(job_class="task"))) == ["job"]


def test_positions_say_version_and_lease_of_a_thousand_jobs(store, put):
    known = [put(store, f"job-{i}", lease_until=i or None) for i in range(3)]
    positions = store.positions([f"job-{i}" for i in range(1000)])
    assert positions.of == {job.job_id: Position(version=job.version, lease_until=job.lease_until) for job in known}


DIFFERENT = {
    "spaces at the end": ("7", "7 ", "7  "),
    "other white space": ("7", "7\t", "7\n", " 7", "7\N{NO-BREAK SPACE}"),
    "accents": ("cafe", "café", "cafe\N{COMBINING ACUTE ACCENT}"),
    "letters that are taken for others": (
        "strasse",
        "straße",
        "STRASSE",
        "fi",
        "\N{LATIN SMALL LIGATURE FI}",
        "i",
        "\N{LATIN SMALL LETTER DOTLESS I}",
    ),
    "characters beyond the first 65,536": ("\N{PARTY POPPER}", "\N{PILE OF POO}", "?", "??", "????"),
    "characters without weight": ("a", "a\N{ZERO WIDTH SPACE}", "a\N{ZERO WIDTH JOINER}", "a\x01"),
}


@pytest.mark.parametrize("texts", DIFFERENT.values(), ids=DIFFERENT)
def test_texts_that_differ_by_one_character_are_different(store, put, texts):
    for text in texts:
        put(store, text, owner=text, job_class=text, lease_until=-1, lease_holder=text)
    assert store.get_many(texts).jobs.keys() == store.positions(texts).of.keys() == set(texts)
    for text in texts:
        assert ids(store.list(Filter(owner=text))) == ids(store.list(Filter(job_class=text))) == [text]
        assert ids(store.list(Filter(owner=text, job_class=text))) == [text]
    store.renew({texts[0]: texts[1], texts[1]: texts[1]}, 60)
    reading = store.get_many(texts)
    assert [i for i, job in reading.jobs.items() if job.lease_until > reading.now] == [texts[1]]


def test_a_job_is_not_met_by_an_id_that_ends_in_a_space(store, put):
    put(store, "a", message="mine")
    assert store.get_many(["a "]).jobs == {}
    assert store.update("a ", lambda job, _now: job) == (None, None)
    put(store, "a ", message="another's")
    assert (read(store, "a").message, read(store, "a ").message) == ("mine", "another's")


# What is known already


def say(text: str):
    """A change that sets the message."""
    return lambda job, now: replace(job, message=text, version=max(job.version + 1, now))


def test_a_job_that_stands_as_it_is_known_is_changed(store, put):
    put(store)
    known = read(store)
    for text in ("one", "two"):
        before, known = store.update("a", say(text), known=known)
        assert before.version < known.version
        assert read(store) == known


def test_a_job_that_others_have_changed_is_changed_as_it_stands(store, put):
    known = put(store)
    put(store, current=5)
    before, after = store.update("a", say("new"), known=known)
    assert (before.current, after.current, after.message) == (5, 5, "new")
    assert read(store) == after


def test_a_job_that_is_known_and_gone_is_no_job(store):
    known = Job(job_id="a", version=7)
    assert store.update("a", lambda job, _now: job and say("new")(job, 8), known=known) == (None, None)
    assert read(store) is None


def test_a_change_without_effect_on_the_known_job_is_tried_on_the_record(store, put):
    known = put(store, message="old")
    put(store, message="newer")
    _, after = store.update("a", lambda job, now: job if job.message == "old" else say("mine")(job, now), known=known)
    assert after.message == read(store).message == "mine"


def test_a_renewal_since_then_is_not_undone(store, put):
    known = put(store, lease_until=1, lease_holder="run")
    store.renew({"a": "run"}, 60)
    store.update("a", say("new"), known=known)
    assert read(store).message == "new"
    assert read(store).lease_until > store.get_many([]).now + 30 * SECOND


def test_a_job_known_to_be_overdue_and_renewed_since_is_not_stalled(store, put):
    put(store, "b")
    known = put(store, state=State.RUNNING, lease_until=-1, lease_holder="run")
    store.renew({"a": "run"}, 60)
    store.update("a", lambda job, now: apply(job, Overdue(job_id="a"), now=now), known=known)
    assert not read(store).stalled


# Two at once


def test_a_conflict_applies_the_change_to_what_the_other_wrote(store, put):
    put(store, current=0)
    calls = []

    def change(job, now):
        calls.append(job.current)
        if len(calls) == 1:
            one_more(store, "a")
        return replace(job, current=job.current + 10, version=max(job.version + 1, now))

    store.update("a", change)
    assert calls == [0, 1]
    assert read(store).current == 11


def test_two_that_create_one_job_make_one_record(store, put):
    calls = []

    def change(job, now):
        calls.append(job and job.message)
        if job is None:
            put(store, message="other")
        return replace(job or Job(job_id="a"), current=1, version=(job.version if job else now) + 1)

    store.update("a", change)
    assert calls == [None, "other"]
    assert (read(store).message, read(store).current) == ("other", 1)


def test_threads_lose_nothing_and_versions_strictly_rise(store, put):
    put(store)

    def count(_):
        store.claim_thread()
        try:
            return [one_more(store, "a") for _ in range(10)]
        finally:
            store.release_thread()

    with ThreadPoolExecutor(4) as pool:
        versions = [version for some in pool.map(count, range(4)) for version in some]
    assert read(store).current == len(set(versions)) == 40
    assert read(store).version == max(versions)


@pytest.mark.case(38)
@pytest.mark.parametrize(
    "shared_place",
    [one if one == "sqlite" else pytest.param(one, marks=pytest.mark.slow) for one in SHARED],
    indirect=True,
)
def test_processes_lose_nothing_and_versions_strictly_rise(shared_place, opened, put):
    store = opened(shared_place)
    put(store)
    with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("spawn")) as pool:
        counts = [pool.submit(count_up, shared_place, "a", 40) for _ in range(3)]
        versions = [count.result(timeout=60) for count in counts]
    assert all(some == sorted(some) for some in versions)
    assert read(store).current == len({version for some in versions for version in some}) == 120


# Leases


def test_a_renewal_moves_the_lease_and_not_the_version(store, put):
    before = put(store, lease_until=1, lease_holder="run")
    store.renew({"a": "run", "unknown": "run"}, 60)
    after = read(store)
    assert after.version == before.version
    assert after.lease_until == store.positions(["a"]).of["a"].lease_until
    assert 58 * SECOND < after.lease_until - store.get_many([]).now <= 60 * SECOND


def test_only_the_holder_renews_and_only_a_lease_that_there_is(store, put):
    jobs = [
        put(store, "other", lease_until=1, lease_holder="newer"),
        put(store, "none", lease_until=None, lease_holder="run"),
        put(store, "over", state=State.FINISHED, finished_at=0),
    ]
    store.renew({"other": "run", "none": "run", "over": ""}, 60)
    assert store.get_many(ids(jobs)).jobs == {job.job_id: job for job in jobs}


def test_many_leases_are_renewed_each_by_its_holder(store, put):
    for i in range(3):
        put(store, str(i), lease_until=1, lease_holder=f"run-{i}")
    store.renew({str(i): f"run-{i % 2}" for i in range(700)}, 60)
    reading = store.get_many(["0", "1", "2"])
    renewed = {job_id for job_id, job in reading.jobs.items() if job.lease_until > reading.now + 30 * SECOND}
    assert renewed == {"0", "1"}


def test_a_change_that_leaves_the_lease_alone_does_not_undo_a_renewal(store, put):
    put(store, lease_until=1, lease_holder="run")
    renewals = [{"a": "run"}]

    def change(job, now):
        if renewals:
            store.renew(renewals.pop(), 60)
        return replace(job, message="new", version=max(job.version + 1, now))

    store.update("a", change)
    assert read(store).message == "new"
    assert read(store).lease_until > store.get_many([]).now + 30 * SECOND


def test_a_job_renewed_while_it_was_called_overdue_is_not_stalled(store, put):
    put(store, state=State.RUNNING, lease_until=-1, lease_holder="run")
    calls = []

    def change(job, now):
        calls.append(job.lease_until)
        after = apply(job, Overdue(job_id="a"), now=now)
        if len(calls) == 1:
            assert after.stalled
            store.renew({"a": "run"}, 60)
        return after

    store.update("a", change)
    assert len(calls) == 2
    assert not read(store).stalled


def test_a_lease_ends_with_the_job_and_comes_back_with_it(store, put):
    put(store, state=State.RUNNING, lease_until=-1, lease_holder="run")
    put(store, state=State.LOST, lease_until=None, lease_holder="", finished_at=0)
    assert store.list(Filter(overdue=True)) == []
    put(store, state=State.RUNNING, lease_until=-1, lease_holder="run", finished_at=None)
    assert ids(store.list(Filter(overdue=True))) == ["a"]


def test_the_lifecycle_runs_through_the_store(store):
    events = (
        Enqueued(job_id="a", job_class="task"),
        Started(job_id="a", run_id="r"),
        Reported(job_id="a", run_id="r"),
    )
    for event in events:
        store.update("a", lambda job, now, event=event: apply(job, event, now=now))
    assert read(store).state is State.RUNNING
    assert read(store).lease_holder == "r"


# Listing


@pytest.fixture
def five(store, put):
    """Jobs 1 to 5, the newest last."""
    put(store, "1", owner="ann", job_class="x", state=State.RUNNING, version=1, lease_until=-5, lease_holder="r")
    put(store, "2", owner="ann", job_class="y", state=State.FINISHED, version=2, finished_at=-1)
    put(store, "3", owner="bob", job_class="x", state=State.ENQUEUED, version=3, lease_until=60, lease_holder="s")
    put(store, "4", owner=None, job_class="y", state=State.FAILED, version=4, finished_at=-1)
    put(store, "5", owner="ann", job_class="x", state=State.RETRYING, version=5, lease_until=-1)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Filter(), "54321"),
        (Filter(owner="ann"), "521"),
        (Filter(owner="an_"), ""),
        (Filter(job_class="x"), "531"),
        (Filter(states=[State.RUNNING]), "1"),
        (Filter(states=[State.ENQUEUED, State.FAILED, State.RETRYING]), "543"),
        (Filter(states=[]), ""),
        (Filter(overdue=True), "51"),
        (Filter(owner="ann", job_class="x"), "51"),
        (Filter(owner="ann", states=[State.FINISHED, State.RUNNING]), "21"),
        (Filter(job_class="x", states=[State.RUNNING], overdue=True), "1"),
    ],
)
@pytest.mark.usefixtures("five")
def test_a_listing_has_what_is_wanted_newest_first(store, wanted, expected):
    assert "".join(ids(store.list(wanted))) == expected


NAMESPACES = ("", "a", "A", "a_", "ab", "%")


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_a_namespace_has_its_own_jobs_of_an_id_in_its_lists(store, put, namespace):
    for version, each in enumerate(NAMESPACES):
        for job_id in ("17", "a18"):
            about = {"job_class": "x", "owner": key_of(each, "1"), "state": State.RUNNING, "version": version}
            put(store, key_of(each, job_id), **about, message=each, lease_until=-5)
    ours = {key_of(namespace, "17"), key_of(namespace, "a18")}
    job = read(store, key_of(namespace, "17"))
    assert job is not None
    assert (job.message, job.document["job_id"], job.shown.owner) == (namespace, "17", "1")
    owner = key_of(namespace, "1")
    for about in ({}, {"job_class": "x"}, {"states": [State.RUNNING]}, {"owner": owner}, {"overdue": True}):
        assert set(ids(store.list(Filter(namespace=namespace, **about)))) == ours
    assert set(ids(store.list(Filter(owner=owner)))) == ours


@pytest.mark.usefixtures("five")
def test_a_listing_goes_on_below_the_version_it_ended_with(store):
    first = store.list(Filter(), limit=2)
    assert ids(first) == ["5", "4"]
    assert ids(store.list(Filter(), limit=2, before=first[-1].version)) == ["3", "2"]
    assert ids(store.list(Filter(states=list(State)), limit=2, before=4)) == ["3", "2"]


@pytest.mark.usefixtures("five")
def test_a_job_is_listed_as_it_is_now_and_not_as_it_was(store, put):
    put(store, "1", owner="bob", job_class="z", state=State.FINISHED, finished_at=0, lease_until=None)
    assert ids(store.list(Filter())) == ["1", "5", "4", "3", "2"]
    assert ids(store.list(Filter(owner="ann"))) == ["5", "2"]
    assert ids(store.list(Filter(owner="bob"))) == ["1", "3"]
    assert ids(store.list(Filter(job_class="x"))) == ["5", "3"]
    assert ids(store.list(Filter(states=[State.RUNNING]))) == []


def test_jobs_of_one_version_are_all_listed(store, put):
    for i in range(120):
        put(store, f"{i:03}", owner="ann", version=7)
    assert len(store.list(Filter(owner="ann"), limit=120)) == 120


# Pruning


@pytest.mark.case(52)
def test_only_jobs_that_ended_long_enough_ago_are_pruned(store, put):
    put(store, "old", state=State.FINISHED, finished_at=-100)
    put(store, "new", state=State.FAILED, finished_at=-10)
    put(store, "running", state=State.RUNNING, lease_until=-1000, lease_holder="r")
    put(store, "revived", state=State.LOST, finished_at=-100)
    put(store, "revived", state=State.RUNNING, finished_at=None)
    assert store.prune(50) == 1
    assert store.get_many(["old", "new", "running", "revived"]).jobs.keys() == {"new", "running", "revived"}
    assert "old" not in ids(store.list(Filter()))
    assert store.prune(50) == 0


def test_pruning_takes_the_oldest_first_and_no_more_than_asked(store, put):
    for age in (300, 500, 400, 600):
        put(store, str(age), state=State.CANCELLED, finished_at=-age)
    assert store.prune(50, limit=2) == 2
    assert sorted(ids(store.list(Filter()))) == ["300", "400"]
    assert store.prune(50) == 2


# Removing


def test_a_job_is_removed_with_all_that_leads_to_it_if_it_is_still_as_read(store, put):
    over = {"state": State.FINISHED, "finished_at": -100, "owner": "7", "job_class": "paint"}
    gone, changed, other = put(store, "gone", **over), put(store, "changed", **over), put(store, "other", **over)
    now = put(store, "changed", message="again")
    assert store.remove([gone, changed, Job(job_id="unknown", version=7)]) == 1
    assert store.get_many(["gone", "changed", "other"]).jobs == {"changed": now, "other": other}
    for wanted in (Filter(), Filter(owner="7"), Filter(job_class="paint"), Filter(states=[State.FINISHED])):
        assert ids(store.list(wanted)) == ["changed", "other"]
    assert store.prune(50) == 2, "nothing of it is left to be pruned"


def test_many_are_removed_at_once_and_none_where_none_are_given(store, put):
    jobs = [put(store, f"{number}", state=State.FAILED, finished_at=-1, owner="7") for number in range(200)]
    assert store.remove([]) == 0
    assert store.remove(jobs) == 200
    assert store.list(Filter(owner="7")) == []


def test_a_job_that_is_not_over_is_removed_with_its_lease(store, put):
    store.remove([put(store, owner="7", lease_until=-1, lease_holder="run")])
    assert store.list(Filter(overdue=True)) == []


# Threads and connections


def test_a_closed_store_opens_again(store, put):
    put(store)
    store.close()
    assert read(store) is not None


def test_a_claimed_thread_sees_others_writes_and_lets_go_of_its_connection(store, put):
    put(store, message="here")
    told = []

    def claimed():
        store.claim_thread()
        told.append(read(store).message)
        put(store, message="there")
        store.release_thread()
        store.release_thread()

    thread = threading.Thread(target=claimed)
    thread.start()
    thread.join()
    assert told == ["here"]
    assert read(store).message == "there"
