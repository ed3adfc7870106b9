"""A run that begins with what its message tells of the record, whatever happened since it was sent."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from immortus_channels.jobs.events import (
    CancelRequested,
    Created,
    Disowned,
    Enqueued,
    Failed,
    Finished,
    Origin,
    Overdue,
    Retrying,
    Started,
    Touched,
    Updated,
)
from immortus_channels.jobs.job import Job
from immortus_channels.jobs.lifecycle import apply
from immortus_channels.queues.messages import job_in, to_header, with_record
from tests.stores.test_contract import PLACES

ORIGIN = Origin(send_id="s1", owner="7", queue="celery", handler="x", params={"n": [1.5, "ä"]}, data={"a": {}})
RENEW, FORGET = "renew", "forget"


def event(kind, **given):
    return kind(job_id="a", job_class="c", **given)


SINCE = {
    "nothing": [],
    "renewed": [RENEW],
    "cancelled": [event(CancelRequested)],
    "begun by another": [event(Started, run_id="r2", origin=ORIGIN)],
    "finished by another": [event(Started, run_id="r2"), event(Finished, run_id="r2")],
    "asked to stop in another": [event(Started, run_id="r2"), event(CancelRequested)],
    "retrying": [event(Started, run_id="r2"), event(Retrying, run_id="r2")],
    "sent again": [event(Enqueued, origin=replace(ORIGIN, send_id="s2"))],
    "sent by somebody else": [event(Enqueued, origin=replace(ORIGIN, send_id="s2", owner="8"))],
    "sent anew after its end": [event(Finished, run_id="r2"), event(Enqueued, origin=replace(ORIGIN, send_id="s2"))],
    "given up": [event(Overdue)],
    "ended by hand": [event(Failed, by_hand=True)],
    "disowned": [event(Disowned)],
    "raised": [event(Touched, above=1)],
    "updated": [event(Updated, data={"b": 1}, message="hm")],
    "made by hand": [event(Created, creation="c1", origin=Origin(data={"b": 2}))],
    "lost with its store": [FORGET],
    "lost and sent again": [FORGET, event(Enqueued, origin=replace(ORIGIN, send_id="s2"))],
    "lost and made again": [FORGET, event(Enqueued, origin=ORIGIN)],
}
"""What comes between a message and the run that it begins, in the order of the events."""


@pytest.fixture(params=PLACES)
def store(request, opened):
    found = opened(request.getfixturevalue(request.param))
    write(found, event(Overdue))  # from now on it guesses the time, as that of a worker does that is warm
    return found


def write(store, what, **known):
    return store.update("a", lambda job, now: apply(job, what, now=now), **known)[1]


def happen(store, happenings):
    for what in happenings:
        if what is RENEW:
            store.renew({"a": "s1"}, 3600)
        elif what is FORGET:
            forget(store)
        elif isinstance(what, Overdue):
            store.update("a", lambda job, now, what=what: apply(replace(job, lease_until=now), what, now=now))
        else:
            write(store, what)


def forget(store):
    store.remove(store.get_many(["a"]).jobs.values())
    assert not store.get_many(["a"]).jobs


def send(store):
    return with_record(to_header(ORIGIN), write(store, event(Enqueued, origin=ORIGIN)))


def begin(store, known=None):
    return write(store, event(Started, run_id="r1", origin=ORIGIN, began=1), known=known)


def record(store):
    """The record without its times, of which it says which it has."""
    job = store.get_many(["a"]).jobs["a"]
    found = {field.name: getattr(job, field.name) for field in fields(Job) if field.name != "version"}
    return {name: value is not None if name.endswith(("_at", "_until")) else value for name, value in found.items()}


def as_if_read(store, *happenings):
    """What is on record if the run reads what has happened, in a store that has forgotten the job again afterwards."""
    forget(store)
    send(store)
    for what in happenings:
        happen(store, what)
    begin(store)
    found = record(store)
    forget(store)
    return found


@pytest.fixture
def writes(store, monkeypatch):
    """What happens before each of the next conditional writes; reads are not made at all."""
    planned, made = [], []

    def replaced(*given):
        made.append(given)
        if planned and (what := planned.pop(0)):
            with monkeypatch.context() as amid:
                amid.setattr(store, "_replace", bare)
                happen(store, what)
        return bare(*given)

    bare = store._replace
    monkeypatch.setattr(store, "_replace", replaced)
    return planned, made


def known_from(header):
    return job_in(header, "a", "c")


@pytest.mark.parametrize("since", SINCE)
def test_a_run_begins_as_if_it_had_read_the_record(store, writes, since):
    expected = as_if_read(store, SINCE[since])
    known = known_from(send(store))
    happen(store, SINCE[since])
    kept = store.get_many(["a"]).jobs.get("a")
    is_untouched = kept is not None and kept.version == known.version
    writes[1].clear()
    begin(store, known)
    assert record(store) == expected
    refused = expected["run_id"] != "r1"
    assert len(writes[1]) == (1 if is_untouched or refused else 2)


@pytest.mark.parametrize("amid", SINCE)
def test_what_happens_between_two_writes_of_a_start_is_seen(store, writes, amid):
    expected = as_if_read(store, SINCE["updated"], SINCE[amid])
    known = known_from(send(store))
    happen(store, SINCE["updated"])
    writes[0][:] = [[], SINCE[amid]]
    begin(store, known)
    assert record(store) == expected
