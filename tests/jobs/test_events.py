"""What every event says of its kind, so that a new one cannot forget anything."""

from __future__ import annotations

import dataclasses

import pytest

from immortus_channels.jobs import events
from immortus_channels.jobs.events import (
    Cancelled,
    Created,
    Enqueued,
    Event,
    Failed,
    Finished,
    Planned,
    Reported,
    Requeued,
    Retrying,
    Started,
    Traits,
)
from immortus_channels.jobs.job import Job, State
from immortus_channels.jobs.lifecycle import SECOND, apply
from immortus_channels.tracking.strategies import HOOKS

T0 = 1_795_369_005_000_000
BASES = {Event, events.Unsuccessful}
EVENTS = sorted(
    {kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, Event)} - BASES,
    key=lambda kind: kind.__name__,
)


def of(kind: type[Event]) -> Event:
    """An event of the one job of these tests, with nothing but what it must have."""
    must = {"hook": "on_ready", "claim": "k"} if kind is events.Claimed else {}
    return kind(job_id="a", job_class="task", **must)


def those(trait: str) -> set[type[Event]]:
    return {kind for kind in EVENTS if getattr(kind.traits, trait)}


@pytest.mark.parametrize("kind", EVENTS)
def test_an_event_says_its_own_traits(kind):
    assert isinstance(vars(kind).get("traits"), Traits), f"{kind.__name__} inherits them, or has none"
    assert kind.traits.hook in {None, "", *HOOKS}


def test_no_trait_can_be_forgotten():
    assert all(field.default is dataclasses.MISSING for field in dataclasses.fields(Traits))


@pytest.mark.parametrize("kind", EVENTS)
@pytest.mark.parametrize("job", [Job(job_id="a", version=T0), Job(job_id="a", version=T0, state=State.RUNNING)])
def test_the_lifecycle_knows_what_an_event_means(kind, job):
    assert apply(job, of(kind), now=T0 + SECOND) is not None


@pytest.mark.parametrize("kind", EVENTS)
def test_an_event_makes_a_record_if_it_proves_the_job(kind):
    assert (apply(None, of(kind), now=T0) is not None) is kind.traits.proves_job


def test_an_event_the_lifecycle_does_not_know_is_an_error():
    class Unheard(Event):
        traits = Reported.traits

    with pytest.raises(TypeError, match="does not know what Unheard means"):
        apply(None, of(Unheard), now=T0)


def test_which_events_prove_and_end_what():
    ends = {Finished, Failed, Retrying, Requeued, Cancelled}
    assert those("proves_job") == {*ends, Planned, Enqueued, Created, Started, Reported}
    assert those("proves_run") == ends - {Cancelled} | {Reported}
    assert those("ends_run") == ends


def test_which_hooks_are_called_while_the_store_is_silent():
    assert {kind: kind.traits.hook for kind in those("hook")} == {
        Planned: "job_enqueued",
        Enqueued: "job_enqueued",
        Started: "job_started",
        Finished: "job_finished",
        Failed: "job_failed",
        Retrying: "job_retrying",
        Cancelled: "job_cancelled",
    }
    assert [kind for kind in EVENTS if kind.traits.hook is None] == [Created]


def test_an_event_that_ends_a_job_badly_shows_the_error():
    failed = Failed(job_id="a", code="bad_row", message="Row 7.")
    assert (failed.error.code, failed.error.message) == ("bad_row", "Row 7.")
    assert of(Cancelled).error.code == "cancelled"
