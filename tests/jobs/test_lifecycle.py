"""What an event means for a job: the outcome table of the protocol, and what no order of events may break."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from itertools import permutations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from immortus_channels.jobs.events import (
    Cancelled,
    CancelRequested,
    Claimed,
    Created,
    Disowned,
    Enqueued,
    Event,
    Failed,
    Finished,
    Origin,
    Overdue,
    Planned,
    Refreshed,
    Report,
    Reported,
    Requeued,
    Retrying,
    Started,
    Touched,
    Updated,
)
from immortus_channels.jobs.job import LARGEST, Job, State
from immortus_channels.jobs.lifecycle import SECOND, Leases, apply, due_at, is_lost_next
from tests.examples import examples

ENQUEUED, RUNNING, RETRYING = State.ENQUEUED, State.RUNNING, State.RETRYING
FINISHED, FAILED, CANCELLED, LOST = State.FINISHED, State.FAILED, State.CANCELLED, State.LOST
T0 = 1_795_369_005_000_000
LEASES = Leases()
DAY = 86_400 * SECOND


def about(kind: type[Event], run_id: str = "", **fields) -> Event:
    """A fact about the one job of these tests."""
    return kind(job_id="a", job_class="shop.tasks.resize", run_id=run_id, **fields)


def sent(send_id: str = "s1", **fields) -> Enqueued:
    return about(Enqueued, origin=Origin(send_id=send_id, owner="7", **fields))


def sent_without_header(send_id: str = "s1", at: int = T0, owner: str | None = "7", **fields) -> Enqueued:
    """A sending by a queue whose messages have no room for an origin; each process tells what it knows."""
    knows = {"queue": "huey", "cancel": "never", "handler": "h", "params": {"path": "cat.jpg"}, **fields}
    return about(Enqueued, origin=Origin(send_id=send_id, owner=owner, **knows), sent_at=at)


def started(run_id: str = "r1") -> Event:
    return about(Started, run_id)


def told(run_id: str = "r1", **fields) -> Event:
    return about(Reported, run_id, report=Report(**fields))


def after(*events: Event, job: Job | None = None, at: int = T0, every: int = SECOND) -> Job:
    """The job after these events, one a second."""
    for number, event in enumerate(events):
        job = apply(job, event, now=at + number * every, leases=LEASES)
    assert job is not None
    return job


def outcome(job: Job) -> tuple[State, str | None]:
    return job.state, job.error and job.error.code


# The outcome table


@pytest.mark.parametrize(
    ("last", "state", "code"),
    [
        (about(Finished, "r1"), FINISHED, None),
        (about(Failed, "r1", code="not_an_image", message="No."), FAILED, "not_an_image"),
        (about(Failed, "r1"), FAILED, "error"),
        (about(Failed, "r1", code="time_limit"), FAILED, "time_limit"),
        (about(Failed, "r1", code="worker_lost"), FAILED, "worker_lost"),
        (about(Failed, code="rejected"), FAILED, "rejected"),
        (about(Retrying, "r1"), RETRYING, None),
        (about(Requeued, "r1"), ENQUEUED, None),
        (about(Cancelled, "r1"), CANCELLED, "cancelled"),
        (about(Cancelled), CANCELLED, "cancelled"),
    ],
)
def test_what_happened_to_the_task_decides_state_and_code(last, state, code):
    job = after(sent(), started(), last)
    assert outcome(job) == (state, code)
    assert (job.finished_at is not None) is job.is_over is state.is_over
    assert job.lease_until is None or not job.is_over


@pytest.mark.parametrize("code", ["unknown_task", "not_sent"])
def test_a_job_that_never_ran_can_fail(code):
    assert outcome(after(sent(), about(Failed, code=code))) == (FAILED, code)


def test_a_job_that_was_not_started_in_time_is_cancelled():
    assert outcome(after(sent(), about(Cancelled, code="expired", unstarted=True))) == (CANCELLED, "expired")


@pytest.mark.parametrize(
    "nobody_runs",
    [
        lambda send_id: about(Failed, code="unknown_task", unstarted=True, origin=Origin(send_id=send_id)),
        lambda send_id: about(Cancelled, code="expired", unstarted=True, origin=Origin(send_id=send_id)),
    ],
)
def test_a_message_of_another_sending_that_nobody_runs_ends_no_live_job(nobody_runs):
    waiting, running = after(sent()), after(sent(), started())
    retrying = after(sent(), started(), about(Retrying, "r1"))
    for job in (waiting, running, retrying):
        assert apply(job, nobody_runs("s2"), now=T0 + 9 * SECOND, leases=LEASES) is job
    assert apply(running, nobody_runs("s1"), now=T0 + 9 * SECOND, leases=LEASES) is running, "it was delivered again"
    for job in (waiting, retrying, after(about(Planned, origin=Origin(owner="7")))):
        assert after(nobody_runs("s1"), job=job).is_over


def test_a_count_never_goes_beyond_what_browsers_can_hold():
    job = after(started(), *[about(Updated, advance=LARGEST)] * 3)
    assert job.current == LARGEST


@pytest.mark.parametrize("code", ["expired", "cancelled"])
def test_an_expired_or_revoked_second_message_leaves_the_first_run_alone(code):
    """Celery's Redis broker delivers again what takes longer than its visibility timeout."""
    found = about(Cancelled, code=code, unstarted=True)
    running = after(sent(), started())
    assert apply(running, found, now=T0 + 2 * SECOND) is running
    silent = after(about(Overdue), job=running, at=T0 + DAY)
    assert silent.stalled
    assert outcome(after(found, job=silent, at=T0 + DAY)) == (CANCELLED, code)


def test_only_a_planned_job_is_cancelled_with_what_comes_before_it():
    """That it was sent proves that what came before it went well, whatever its worker says that was killed later."""
    planned = after(about(Planned))
    assert outcome(after(about(Cancelled, code="upstream"), job=planned)) == (CANCELLED, "upstream")
    for going_on in (after(about(Planned), sent()), after(about(Planned), sent(), started())):
        assert apply(going_on, about(Cancelled, code="upstream"), now=T0 + 9 * SECOND) is going_on


@pytest.mark.parametrize("told", ["before its run says so", "after it"])
def test_a_job_that_gave_way_to_others_is_cancelled_when_one_of_them_fails(told):
    gave_way = about(Requeued, run_id="r1")
    failed = about(Cancelled, code="upstream", after_run="r1")
    events = (failed, gave_way) if told == "before its run says so" else (gave_way, failed)
    assert outcome(after(sent(), started("r1"), *events)) == (CANCELLED, "upstream")
    others = after(sent(), started("r1"), gave_way, started("r2"))
    assert apply(others, failed, now=T0 + 9 * SECOND) is others, "they went well, or it would not run"


def test_a_job_cancelled_with_what_came_before_it_runs_if_it_is_sent_later():
    cancelled = after(about(Planned, origin=Origin(owner="7")), about(Cancelled, code="upstream"))
    again = after(sent(), job=cancelled, at=T0 + DAY)
    assert (again.state, again.attempt, again.owner, again.error) == (ENQUEUED, 2, "7", None)
    assert outcome(after(sent(), started(), job=cancelled, at=T0 + DAY)) == (RUNNING, None)


def test_a_job_goes_from_enqueued_to_running_to_finished():
    waiting = after(sent())
    assert outcome(waiting) == (ENQUEUED, None)
    assert (waiting.enqueued_at, waiting.event, waiting.owner) == (T0, "job_enqueued", "7")
    running = after(started(), job=waiting, at=T0 + 5)
    assert (running.state, running.started_at, running.event) == (RUNNING, T0 + 5, "job_started")
    finished = after(about(Finished, "r1"), job=running, at=T0 + 9)
    assert (finished.state, finished.finished_at, finished.event) == (FINISHED, T0 + 9, "job_finished")
    assert finished.attempt == 1


def test_the_end_of_a_run_carries_everything_the_run_has_said():
    report = Report(step=1, current=3, total=10, message="Filtering", meta={"miles": 2}, result={"url": "/x"})
    job = after(sent(), started(), about(Failed, "r1", report=report))
    assert (job.current, job.total, job.message, job.meta, job.result) == (
        3,
        10,
        "Filtering",
        {"miles": 2},
        {"url": "/x"},
    )


@pytest.mark.case(43)
def test_a_job_that_returned_although_it_was_asked_to_stop_is_finished():
    assert outcome(after(sent(), started(), about(CancelRequested), about(Finished, "r1"))) == (FINISHED, None)


# Out of order, late and twice


@pytest.mark.case(6)
def test_started_before_enqueued_is_running_with_the_senders_knowledge():
    job = after(started(), sent())
    assert job.state is RUNNING
    assert job.attempt == 1


def test_an_event_that_comes_first_makes_the_record():
    job = after(about(Finished, "r1", origin=Origin(send_id="s1", owner="7")))
    assert (job.state, job.owner, job.staff_only, job.attempt) == (FINISHED, "7", False, 1)


ENDS = [about(kind, "r1", report=Report(current=3, total=4)) for kind in (Finished, Failed, Retrying, Requeued)]
ONLY_QUEUE = Origin(staff_only=True, queue="huey", cancel="never", handler="h")


def timeless(job: Job) -> Job:
    """The job without what depends on when it was told."""
    return job.but(**dict.fromkeys(("enqueued_at", "started_at", "finished_at", "lease_until")), version=0)


@pytest.mark.parametrize("end", ENDS, ids=lambda event: type(event).__name__)
@pytest.mark.parametrize("order", [*permutations(range(3))])
@pytest.mark.parametrize("knows", [None, ONLY_QUEUE], ids=["nothing", "its queue"])
@pytest.mark.parametrize("sender", [{}, {"owner": None}, {"owner": None, "staff_only": True}], ids=str)
def test_a_sending_and_its_run_end_in_one_record_in_any_order(end, order, knows, sender):
    told_of = [sent_without_header(**sender), replace(started(), origin=knows), replace(end, origin=knows)]
    job = after(*[told_of[number] for number in order])
    assert timeless(job) == timeless(after(*told_of))
    assert (job.send_id, job.owner, job.staff_only) == ("s1", sender.get("owner", "7"), "staff_only" in sender)
    assert job.enqueued_at is not None
    for duplicate in told_of:
        assert apply(job, duplicate, now=T0 + 9 * SECOND, leases=LEASES) is job


@pytest.mark.parametrize("end", ENDS[:2], ids=lambda event: type(event).__name__)
def test_a_sending_a_minute_after_the_start_is_a_new_life(end):
    over = after(started(), end)
    late, again = (sent_without_header("s2", at=T0 + seconds * SECOND) for seconds in (59, 60))
    assert outcome(after(late, job=over, at=T0 + 99 * SECOND)) == outcome(over)
    new = after(again, job=over, at=T0 + 99 * SECOND)
    assert (new.state, new.attempt, new.owner, new.send_id) == (ENQUEUED, 2, "7", "s2")


def test_a_sending_of_a_job_whose_own_sending_is_known_is_never_a_late_one():
    over = after(sent_without_header(), started(), about(Finished, "r1"))
    new = after(sent_without_header("s2", owner="8"), job=over, at=T0 + 9 * SECOND)
    assert (new.state, new.attempt, new.owner, new.send_id) == (ENQUEUED, 2, "8", "s2")


def test_a_late_sending_says_when_it_was_and_adds_to_a_record_by_hand():
    made = about(Created, creation="c1", origin=Origin(handler="mine", data={"a": 1}))
    late = after(made, started(), about(Finished, "r1"), sent_without_header())
    assert timeless(late) == timeless(after(made, sent_without_header(), started(), about(Finished, "r1")))
    assert (late.owner, late.handler, late.data, late.enqueued_at) == ("7", "mine", {"a": 1}, T0)
    assert after(started(), sent_without_header(at=T0 - SECOND)).enqueued_at == T0 - SECOND
    assert after(started(), sent_without_header(at=T0 + SECOND)).enqueued_at == T0, "clocks differ"


def test_without_the_time_of_its_sending_a_finished_job_was_sent_again():
    """The message carries the origin, so the run would have told of the sending."""
    assert after(started(), about(Finished, "r1"), sent()).attempt == 2


def test_an_origin_that_knows_only_its_queue_wipes_nothing():
    job = after(sent_without_header(owner=None, staff_only=True))
    for knows in (ONLY_QUEUE, Origin(queue="huey"), Origin()):
        run = after(about(Started, "r1", origin=knows), job=job)
        assert Origin.of(run) == Origin.of(job)


def test_making_by_hand_what_nobody_sent_names_its_owner_and_wipes_nothing():
    job = after(sent_without_header(owner=None, staff_only=True), created(owner="7"))
    assert (job.owner, job.staff_only, job.send_id, job.queue, job.cancel) == ("7", False, "s1", "huey", "never")


def test_a_record_without_a_known_owner_is_for_staff_until_one_is_named():
    job = after(started())
    assert job.staff_only
    known = after(sent(), job=job)
    assert (known.owner, known.staff_only) == ("7", False)


@pytest.mark.parametrize("kind", [CancelRequested, Overdue, Refreshed, Touched, Updated])
def test_what_proves_no_job_makes_no_record(kind):
    assert apply(None, about(kind), now=T0) is None


@pytest.mark.parametrize(
    "again", [sent(), started(), about(Failed, "r1"), about(Finished, "r1")], ids=lambda event: type(event).__name__
)
def test_a_fact_that_is_told_twice_changes_nothing_the_second_time(again):
    job = after(sent(), started(), about(Failed, "r1", code="first"))
    assert apply(job, again, now=T0 + DAY) is job


def test_of_two_ends_the_first_counts():
    assert outcome(after(sent(), started(), about(Finished, "r1"), about(Failed, "r1"))) == (FINISHED, None)
    assert outcome(after(sent(), started(), about(Failed, "r1"), about(Failed, code="worker_lost"))) == (
        FAILED,
        "error",
    )


@pytest.mark.case(9)
@pytest.mark.parametrize("run_id", ["r1", ""])
@pytest.mark.parametrize("kind", [Reported, Retrying, Requeued, Cancelled, Finished])
def test_nothing_late_moves_a_job_that_is_over(kind, run_id):
    job = after(sent(), started(), about(Failed, "r1"))
    assert apply(job, about(kind, run_id, report=Report(current=9)), now=T0 + DAY) is job


def test_progress_that_overtook_older_progress_stays():
    job = after(sent(), started(), told(step=1, current=5, total=10), told(step=1, current=3, total=10))
    assert job.current == 5


def test_late_progress_of_an_old_step_does_not_change_a_new_one():
    job = after(
        started(), told(step=1, current=9, total=10), told(step=2, current=1, total=4), told(step=1, current=10)
    )
    assert (job.current, job.total) == (1, 4)


@pytest.mark.parametrize("kind", [Cancelled, Failed])
def test_an_end_that_may_be_any_tasks_makes_no_record(kind):
    assert apply(None, about(kind, unstarted=True), now=T0) is None
    assert after(about(kind, unstarted=True, origin=ONLY_QUEUE)).staff_only
    assert after(sent(), about(kind, unstarted=True)).is_over


# Whose job it is


@pytest.mark.parametrize("first", [started(), told(), sent(), about(Created, creation="c1")])
def test_a_record_names_the_first_queue_that_speaks_of_it(first):
    assert after(replace(first, queue="huey")).queue == "huey"
    assert after(first, about(Reported, "r1", queue="huey")).queue == "huey"


OF_HUEY = {
    "waits": (sent_without_header(),),
    "runs": (started(),),
    "is over": (sent_without_header(), started(), about(Finished, "r1")),
}


@pytest.mark.parametrize("events", OF_HUEY.values(), ids=OF_HUEY)
@pytest.mark.parametrize("run_id", ["r1", "r2", ""])
@pytest.mark.parametrize("kind", [Enqueued, Started, Reported, Finished, Failed, Cancelled, Retrying, Requeued])
def test_what_another_queue_says_of_a_job_is_refused(events, run_id, kind):
    job = after(*(replace(event, queue="huey") for event in events))
    word = about(kind, run_id, queue="rq", origin=Origin(send_id="s2", owner="8", queue="rq"))
    assert apply(job, word, now=T0 + DAY, leases=LEASES) is job


def test_a_new_life_of_an_id_is_its_queues():
    new = after(replace(sent(), queue="huey"), started(), about(Finished, "r1"), sent("s2"))
    assert (new.attempt, new.queue) == (2, "huey")


def test_callers_and_readers_speak_of_the_jobs_of_any_queue():
    job = after(sent_without_header(), about(Updated, current=3), about(CancelRequested))
    assert (job.current, job.state, job.queue) == (3, CANCELLED, "huey")


# Runs and attempts


@pytest.mark.case(4)
def test_a_retry_is_the_next_attempt_and_begins_anew():
    job = after(sent(), started(), told(step=1, current=5, total=10, message="x"), about(Retrying, "r1", eta=T0 + DAY))
    assert (job.state, job.attempt, job.current, job.lease_until) == (RETRYING, 1, 5, T0 + DAY + LEASES.waiting)
    again = after(started("r2"), job=job, at=T0 + DAY)
    assert (again.state, again.attempt, again.current, again.total, again.message) == (RUNNING, 2, 0, None, "")


@pytest.mark.case(41)
def test_the_time_of_a_retry_is_counted_from_its_own_start():
    job = after(sent(), started(), about(Retrying, "r1", eta=T0 + DAY))
    again = after(started("r2"), job=job, at=T0 + DAY)
    assert (again.started_at, again.finished_at, again.document["percentage"]) == (T0 + DAY, None, None)
    done = after(about(Finished, "r2"), job=again, at=T0 + DAY + 5)
    assert (done.started_at, done.finished_at) == (T0 + DAY, T0 + DAY + 5)


def test_the_next_attempt_may_start_before_the_retry_is_told():
    job = after(sent(), started("r1"), started("r2"), about(Retrying, "r1"))
    assert (job.state, job.attempt) == (RUNNING, 2)


def test_a_redelivered_job_is_the_next_attempt():
    job = after(sent(), started("r1"), started("r2"))
    assert (job.state, job.attempt, job.lease_holder) == (RUNNING, 2, "r2")


@pytest.mark.parametrize("kind", [Started, Reported, Finished, Failed, Retrying, Requeued])
def test_of_two_runs_that_overlap_the_older_is_refused(kind):
    job = after(sent(), started("r1"), started("r2"))
    assert apply(job, about(kind, "r1", report=Report(current=5)), now=T0 + DAY) is job


def test_a_run_whose_start_was_lost_begins_with_whatever_is_heard_of_it():
    job = after(sent(), told("r1", current=4))
    assert (job.state, job.current, job.attempt, job.lease_holder) == (RUNNING, 4, 1, "r1")


def test_sending_a_job_again_that_is_over_starts_a_new_life():
    old = after(sent(), started(), told(step=1, current=5, total=9, meta={"miles": 1}), about(Failed, "r1"))
    new = after(sent("s2"), job=old, at=T0 + DAY)
    assert outcome(new) == (ENQUEUED, None)
    assert (new.attempt, new.current, new.total, new.meta, new.finished_at) == (2, 0, None, {}, None)
    assert new.version > old.version
    for late in (sent("s1"), started("r1"), about(Finished, "r1")):
        assert apply(new, late, now=T0 + DAY) is new


def sent_by(owner: str | None, send_id: str = "s2", kind: type[Event] = Enqueued, run_id: str = "", **fields) -> Event:
    """A sending, or whatever is told of its run, by somebody and of another task."""
    origin = Origin(send_id=send_id, owner=owner, **fields)
    return kind(job_id="a", job_class="shop.tasks.sort", run_id=run_id, origin=origin)


OVER = {
    "finished": (sent(), started(), about(Finished, "r1")),
    "failed": (sent(), started(), about(Failed, "r1")),
    "cancelled": (sent(), about(CancelRequested)),
    "unknown to its sender": (started(), about(Finished, "r1")),
    "run by hand": (about(Created, origin=Origin(owner="7")), started(), about(Finished, "r1")),
}


@pytest.mark.parametrize("events", OVER.values(), ids=OVER)
@pytest.mark.parametrize("first", [Enqueued, Started, Reported, Failed])
def test_a_job_sent_again_after_its_end_belongs_to_its_new_sender_and_task(events, first):
    """Whatever of the new life is heard of first."""
    old = replace(after(*events), meta={"miles": 1}, data={"a": 1}, params={"b": 2}, result=3, claims={"on_ready": "x"})
    new = after(sent_by("8", kind=first, run_id="" if first is Enqueued else "r2"), job=old, at=T0 + DAY)
    assert (new.owner, new.staff_only, new.job_class, new.attempt) == ("8", False, "shop.tasks.sort", old.attempt + 1)
    assert (new.meta, new.data, new.params, new.result, new.claims, new.enqueued_at) == ({}, {}, {}, None, {}, T0 + DAY)
    assert not new.cancel_requested
    late = sent_by("8")
    assert apply(new, late, now=T0 + DAY + SECOND) is new, "its own sending, which was overtaken"


def test_no_sender_revives_a_planned_job_cancelled_before_its_turn():
    cancelled = after(about(Planned, origin=Origin(owner="7")), about(CancelRequested))
    for event in (sent_by("8"), sent_by("8", kind=Started, run_id="r2")):
        assert apply(cancelled, event, now=T0 + DAY) is cancelled


@pytest.mark.parametrize("before", [(sent(),), (sent(), started()), (sent(), started(), about(Retrying, "r1"))])
@pytest.mark.parametrize("owner", ["8", None])
def test_a_job_that_is_not_over_stays_its_owners_whoever_sends_it(before, owner):
    job = after(*before)
    assert apply(job, sent_by(owner), now=T0 + 9 * SECOND) is job
    run = after(sent_by(owner, kind=Started, run_id="r2"), job=job)
    assert (run.owner, run.job_class, run.attempt) == ("7", "shop.tasks.resize", job.attempt + bool(job.run_id))


def test_a_silent_job_goes_to_another_sender_only_once_nobody_waits_for_it():
    job = after(sent(), started())
    soon, late = job.lease_until + LEASES.stalled - 1, job.lease_until + LEASES.stalled
    assert apply(job, sent_by("8"), now=soon) is job
    assert after(sent_by("7"), job=job, at=soon).attempt == 2
    assert after(sent_by("8"), job=job, at=late).owner == "8"
    stalled = after(about(Overdue), job=job, at=job.lease_until)
    assert apply(stalled, sent_by("8"), now=stalled.lease_until - 1) is stalled
    assert after(sent_by("8"), job=stalled, at=stalled.lease_until).owner == "8"


def test_sending_a_job_again_that_is_not_over_changes_nothing():
    job = after(sent(), started())
    assert apply(job, sent("s2"), now=T0 + 2 * SECOND) is job
    confirmed = replace(after(sent()), lease_until=T0 + DAY)
    assert apply(confirmed, sent("s2"), now=T0 + SECOND) is confirmed


def test_sending_a_job_again_after_too_long_a_silence_starts_a_new_life():
    """Its worker died, and nobody was looking who would have had it called lost."""
    job = after(sent(), started())
    again = after(sent("s2"), job=job, at=T0 + DAY)
    assert (again.state, again.attempt, again.send_id) == (ENQUEUED, 2, "s2")
    assert apply(again, told("r1", step=1, current=1), now=T0 + DAY + SECOND) is again


def test_sending_a_job_again_that_could_not_be_sent_takes_over_its_lease():
    """The broker was away, the caller tries again; the queue is long, and the first sending was never confirmed."""
    again = after(sent("s1"), sent("s2"), every=50 * SECOND)
    assert (again.send_id, again.lease_holder, again.attempt) == ("s2", "s2", 1)
    assert again.lease_until == T0 + 110 * SECOND
    assert apply(again, sent("s1"), now=T0 + 51 * SECOND) is again


# Cancelling


def test_a_waiting_job_is_cancelled_on_the_spot_and_its_start_is_refused():
    job = after(sent(), about(CancelRequested))
    assert outcome(job) == (CANCELLED, "cancelled")
    assert job.cancel_requested
    assert apply(job, started(), now=T0 + DAY) is job


def test_a_running_job_is_asked_and_keeps_running():
    job = after(sent(), started(), about(CancelRequested))
    assert (job.state, job.cancel_requested, job.event) == (RUNNING, True, "cancel_requested")
    assert apply(job, about(CancelRequested), now=T0 + DAY) is job


@pytest.mark.parametrize("kind", [Retrying, Requeued])
def test_a_job_that_was_asked_to_stop_is_not_run_again(kind):
    assert outcome(after(sent(), started(), about(CancelRequested), about(kind, "r1"))) == (CANCELLED, "cancelled")


def test_a_run_that_stopped_as_if_it_was_asked_to_is_cancelled_if_it_was():
    stopped = about(Failed, "r1", code="why", stopped=True)
    assert outcome(after(sent(), started(), about(CancelRequested), stopped)) == (CANCELLED, "cancelled")
    assert outcome(after(sent(), started(), stopped)) == (FAILED, "why")
    failed = about(Failed, "r1", code="why")
    assert outcome(after(sent(), started(), about(CancelRequested), failed)) == (FAILED, "why")


def test_a_job_only_its_strategy_keeps_running_is_cancelled_on_the_spot():
    kept = about(Finished, "r1", completed=False)
    assert outcome(after(sent(), started(), kept, about(CancelRequested))) == (CANCELLED, "cancelled")
    asked = after(sent(), started(), about(CancelRequested), kept)
    assert (asked.state, asked.cancel_requested) == (RUNNING, True)
    assert outcome(after(about(CancelRequested), job=asked)) == (CANCELLED, "cancelled")


def test_a_cancelled_job_that_runs_all_the_same_is_shown_as_it_is():
    job = after(sent(), about(CancelRequested), told("r1", current=3))
    assert (job.state, job.current, job.attempt) == (RUNNING, 3, 2)


def test_a_job_that_is_over_cannot_be_cancelled():
    job = after(sent(), started(), about(Finished, "r1"))
    assert apply(job, about(CancelRequested), now=T0 + DAY) is job


# Silence


@pytest.mark.case(7)
def test_a_message_that_was_never_sent_fails():
    assert outcome(after(sent(), about(Overdue), every=LEASES.sending)) == (FAILED, "not_sent")


def confirmed(send_id: str = "s1", **fields) -> Enqueued:
    return replace(sent_without_header(send_id, **fields), is_confirmed=True)


def test_a_confirmed_sending_lets_the_job_wait_for_its_run_for_a_day():
    due = T0 + 9 * SECOND
    for before in ((), (sent_without_header(eta=due),)):
        job = after(*before, confirmed(eta=due))
        assert (job.state, job.attempt, job.lease_until, job.lease_holder) == (ENQUEUED, 1, due + LEASES.waiting, "s1")
        assert outcome(after(about(Overdue), job=job, at=job.lease_until)) == (LOST, "lost")
    assert after(confirmed()).lease_until == T0 + LEASES.waiting


def test_a_job_that_was_told_not_sent_waits_again_once_it_is_confirmed():
    """Its message waited for a transaction of more than a minute."""
    given_up = after(sent_without_header(), about(Overdue), every=LEASES.sending)
    job = after(confirmed(), job=given_up, at=T0 + 90 * SECOND)
    assert (outcome(job), job.attempt, job.finished_at) == ((ENQUEUED, None), 2, None)
    assert (job.enqueued_at, job.lease_until) == (T0, T0 + 90 * SECOND + LEASES.waiting)
    assert apply(job, sent_without_header(), now=T0 + 99 * SECOND) is job
    run = after(started(), job=job, at=T0 + 99 * SECOND)
    assert (run.state, run.attempt, run.owner) == (RUNNING, 2, "7")


CONFIRMED_IN_VAIN = {
    "it runs": (sent_without_header(), started()),
    "it has run": (sent_without_header(), started(), about(Failed, "r1", code="not_sent")),
    "it was put back": (sent_without_header(), started(), about(Requeued, "r1")),
    "it was cancelled": (sent_without_header(), about(CancelRequested)),
    "it was ended by hand": (sent_without_header(), about(Failed, code="not_sent", by_hand=True)),
    "it failed otherwise": (sent_without_header(), about(Failed, code="unknown_task")),
    "it was sent again": (sent_without_header(), sent_without_header("s2")),
    "it has a new life": (sent_without_header(), about(Failed, code="not_sent"), sent_without_header("s2")),
}


@pytest.mark.parametrize("events", CONFIRMED_IN_VAIN.values(), ids=CONFIRMED_IN_VAIN)
def test_a_confirmed_sending_changes_no_job_that_has_gone_on_meanwhile(events):
    job = after(*events, every=1)
    assert apply(job, confirmed(), now=T0 + 90 * SECOND, leases=LEASES) is job


def test_a_retry_not_known_to_be_sent_is_lost_a_minute_after_it_was_due():
    job = after(sent(), started(), about(Retrying, "r1", is_sent=False, eta=T0 + 30 * SECOND))
    assert (job.state, job.lease_until) == (RETRYING, T0 + 90 * SECOND)
    lost = after(about(Overdue), job=job, at=job.lease_until)
    assert outcome(lost) == (LOST, "lost")
    assert after(started("r2"), job=lost, at=T0 + DAY).state is RUNNING


def test_a_retry_that_was_sent_may_wait_for_a_day():
    job = after(sent(), started(), about(Retrying, "r1", eta=T0 + 30 * SECOND))
    assert job.lease_until == T0 + 30 * SECOND + DAY


def test_when_a_run_began_by_its_host_is_kept_for_this_run_alone():
    job = after(sent(), about(Started, "r1", began=5), told(step=1, current=2))
    assert (job.began_at, job.started_at) == (5, T0 + SECOND)
    assert Job.from_record(job.to_record()) == job
    assert after(about(Retrying, "r1"), told("r2"), job=job, at=T0 + 60 * SECOND).began_at is None


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([sent()], False),  # nobody knows yet that it was sent: it has failed then
        ([sent(), started()], False),  # it stalls first
        ([sent(), started(), about(Retrying, "r1")], True),
        ([sent(), started(), about(Requeued, "r1")], True),
        ([sent(), started(), about(Finished, "r1")], False),
        ([sent(), started(), about(Finished, "r1", completed=False)], False),  # its strategy alone ends it
    ],
)
def test_a_job_is_lost_next_if_the_end_of_its_lease_would_be_its_last_word(events, expected):
    job = after(*events)
    assert is_lost_next(job, LEASES) is expected
    if expected:
        assert after(about(Overdue), job=job, at=job.lease_until).state is LOST


def test_a_job_that_waits_is_due_when_its_lease_says():
    later = T0 + DAY
    assert due_at(after(sent()), LEASES) == T0
    assert due_at(after(confirmed(eta=later)), LEASES) == later
    assert due_at(after(sent(), started(), about(Retrying, "r1", eta=later)), LEASES) == later


def test_who_has_stalled_is_lost_next():
    job = after(sent(), started())
    stalled = after(about(Overdue), job=job, at=job.lease_until)
    assert is_lost_next(stalled, LEASES)
    assert not is_lost_next(after(about(Overdue), job=stalled, at=stalled.lease_until), LEASES)


def test_a_silent_run_is_stalled_then_lost():
    job = after(sent(), started())
    stalled = after(about(Overdue), job=job, at=job.lease_until)
    assert (stalled.state, stalled.stalled, stalled.event) == (RUNNING, True, "stalled")
    assert apply(stalled, about(Overdue), now=stalled.lease_until - 1) is stalled
    lost = after(about(Overdue), job=stalled, at=stalled.lease_until)
    assert outcome(lost) == (LOST, "lost")


def test_a_run_that_is_heard_of_is_stalled_no_more():
    job = after(sent(), started())
    stalled = after(about(Overdue), job=job, at=job.lease_until)
    heard = after(told(), job=stalled, at=stalled.lease_until)
    assert not heard.stalled
    assert heard.lease_until == stalled.lease_until + LEASES.running


def test_a_lost_job_is_revived_by_its_own_run_and_by_no_older_one():
    job = after(sent(), started("r1"), started("r2"))
    stalled = after(about(Overdue), job=job, at=job.lease_until)
    lost = after(about(Overdue), job=stalled, at=stalled.lease_until)
    assert apply(lost, told("r1"), now=T0 + DAY) is lost
    alive = after(told("r2", current=1), job=lost, at=T0 + DAY)
    assert outcome(alive) == (RUNNING, None)
    assert (alive.attempt, alive.finished_at, alive.lease_until) == (2, None, T0 + DAY + LEASES.running)
    assert outcome(after(about(Finished, "r2"), job=lost, at=T0 + DAY)) == (FINISHED, None)


@pytest.mark.case(53)
def test_a_job_whose_message_left_the_queue_is_lost_a_day_after_it_was_due():
    waiting = replace(after(sent()), lease_until=T0 + DAY)
    assert apply(waiting, about(Overdue), now=T0 + DAY - 1) is waiting
    assert outcome(after(about(Overdue), job=waiting, at=T0 + DAY)) == (LOST, "lost")


@pytest.mark.case(53)
@pytest.mark.parametrize("kind", [Retrying, Requeued])
def test_a_job_that_waits_a_day_past_its_time_is_lost(kind):
    job = after(sent(), started(), about(kind, "r1"))
    assert apply(job, about(Overdue), now=job.lease_until - 1) is job
    assert outcome(after(about(Overdue), job=job, at=job.lease_until)) == (LOST, "lost")


@pytest.mark.parametrize("kind", [Retrying, Requeued])
def test_a_job_that_is_to_run_again_may_wait_a_day_after_it_is_due(kind):
    job = after(sent(), started(), about(kind, "r1", eta=T0 + 2 * DAY))
    assert job.lease_until == T0 + 3 * DAY


def test_a_job_without_a_lease_is_never_overdue():
    for job in (after(about(Created)), after(started(), about(Finished, "r1", completed=False))):
        assert apply(job, about(Overdue), now=T0 + 1000 * DAY) is job


def test_a_planned_job_whose_turn_never_comes_is_lost_like_any_that_waits():
    job = after(about(Planned))
    assert outcome(after(about(Overdue), job=job, at=job.lease_until)) == (LOST, "lost")


def test_a_planned_job_may_wait_a_day_after_the_first_of_its_chain_is_due():
    job = after(about(Planned, origin=Origin(eta=T0 + 2 * DAY)))
    assert apply(job, about(Overdue), now=T0 + 3 * DAY - 1) is job
    assert outcome(after(about(Overdue), job=job, at=T0 + 3 * DAY + 1)) == (LOST, "lost")


def test_its_own_sending_does_not_bring_a_cancelled_planned_job_back():
    job = after(about(Planned, origin=Origin(owner="7")), about(CancelRequested))
    assert apply(job, sent(), now=T0 + 99) is job
    assert apply(job, started(), now=T0 + 99) is job


def test_true_is_not_one():
    job = after(sent(), started(), about(Updated, meta={"flag": 1}))
    assert after(about(Updated, meta={"flag": True}), job=job).meta["flag"] is True


def test_a_message_can_be_cleared_and_an_unsaid_one_stays():
    job = after(sent(), started(), told(message="Filtering"))
    assert after(told(), job=job).message == "Filtering"
    assert after(told(message=""), job=job).message == ""


# By hand


def created(creation: str = "c1", **fields) -> Event:
    return about(Created, creation=creation, origin=Origin(**fields))


def test_a_job_made_by_hand_waits_for_whoever_runs_it():
    job = after(created(owner="7", handler="h", data={"a": 1}))
    assert (job.state, job.owner, job.handler, job.data, job.enqueued_at) == (ENQUEUED, "7", "h", {"a": 1}, T0)
    assert (job.lease_until, job.staff_only) == (None, False)


@pytest.mark.parametrize("before", [(sent(),), (sent(), started()), (sent(), started(), about(Finished, "r1"))])
def test_making_a_job_that_is_known_adds_to_it_and_resets_nothing(before):
    known = after(*before)
    job = after(created(handler="h", data={"a": 1}), job=known, at=T0 + DAY)
    same = ("state", "owner", "attempt", "run_id", "lease_until", "enqueued_at", "finished_at", "send_id")
    assert [getattr(job, name) for name in same] == [getattr(known, name) for name in same]
    assert (job.handler, job.data, job.event) == ("h", {"a": 1}, "meta")


def test_what_the_job_wrote_meanwhile_wins_over_what_it_was_made_with():
    job = after(sent(), started(), about(Updated, data={"nice": "yes"}), created(data={"nice": "unknown", "id": 5}))
    assert job.data == {"nice": "yes", "id": 5}


BY_HAND = [about(Failed, code="no_credit", by_hand=True), about(Finished, by_hand=True)]


def begun(run_id, send_id="s1"):
    return about(Started, run_id, origin=Origin(send_id=send_id, owner="7"))


ANEW = [sent("s0"), begun("r0", "s0"), about(Finished, "r0"), sent()]


@pytest.mark.parametrize("end", BY_HAND)
@pytest.mark.parametrize("first", [[sent()], [about(Planned)], [about(Planned), sent()], ANEW])
def test_a_job_that_was_ended_by_hand_while_it_waited_is_not_run(end, first):
    ended = after(*first, end)
    assert ended.is_over
    assert after(begun("r1"), begun("r2"), job=ended) is ended


@pytest.mark.parametrize("end", BY_HAND)
def test_another_sending_of_a_job_that_was_ended_by_hand_runs(end):
    for again in ([sent("s2"), begun("r1", "s2")], [begun("r1", "s2")]):
        job = after(sent(), end, *again)
        assert (job.state, job.run_id, job.ended_by_hand) == (RUNNING, "r1", False)


@pytest.mark.parametrize("end", BY_HAND)
def test_a_job_that_ran_before_it_was_ended_by_hand_runs_when_redelivered(end):
    job = after(sent(), begun("r1"), end, begun("r2"))
    assert (job.state, job.run_id, job.attempt) == (RUNNING, "r2", 2)


@pytest.mark.parametrize("end", [about(Failed, code="unknown_task", unstarted=True), about(Failed)])
def test_a_job_that_failed_otherwise_while_it_waited_runs_when_delivered(end):
    assert after(sent(), end, begun("r1")).state is RUNNING


@pytest.mark.parametrize("end", BY_HAND)
def test_a_job_without_a_queue_may_be_run_after_it_was_ended_by_hand(end):
    assert after(about(Created, creation="c1"), end, started()).state is RUNNING


def by_hand(*events):
    """The events as callers tell them who know no task."""
    return [replace(event, job_class="") for event in events]


SENT_UNDER_IT = {
    "told": [sent_by("8"), sent_by("8", kind=Started, run_id="r2")],
    "its sending was lost": [sent_by("8", kind=Started, run_id="r2")],
    "planned first": [about(Planned, origin=Origin(owner="8")), sent_by("8", kind=Started, run_id="r2")],
}


@pytest.mark.parametrize("messages", SENT_UNDER_IT.values(), ids=SENT_UNDER_IT)
@pytest.mark.parametrize("going", [[], [about(Updated, advance=1)]])
@pytest.mark.parametrize("end", BY_HAND)
def test_what_is_sent_under_the_id_of_an_ended_job_by_hand_is_its_senders(end, going, messages):
    ended = after(*by_hand(created(owner="7", handler="h", data={"a": 1}), *going, end))
    messages = [replace(each, origin=replace(each.origin, params={"n": 1})) for each in messages]
    job = after(*messages, job=ended, at=T0 + DAY)
    assert (job.state, job.run_id, job.attempt, job.owner) == (RUNNING, "r2", 2, "8")
    assert (job.params, job.data, job.handler, job.job_class, job.creation) == (
        {"n": 1}, {}, "", "shop.tasks.sort", "",
    )  # fmt: skip


ASKED_TO_STOP = about(CancelRequested)


def test_a_job_by_hand_that_was_cancelled_before_its_sending_is_not_run():
    cancelled = after(*by_hand(created(owner="7"), ASKED_TO_STOP))
    for owner in ("7", None):
        told = [sent_by(owner), sent_by(owner, kind=Started, run_id="r2")]
        assert outcome(after(*told, job=cancelled)) == (CANCELLED, "cancelled")
        assert after(told[1], job=cancelled) is cancelled
        again = after(*told, sent_by(owner, "s3"), sent_by(owner, "s3", Started, "r3"), job=cancelled)
        assert (again.state, again.run_id, again.attempt) == (RUNNING, "r3", 2)


@pytest.mark.parametrize("messages", SENT_UNDER_IT.values(), ids=SENT_UNDER_IT)
def test_a_cancelled_job_by_hand_does_not_stop_what_another_user_sends(messages):
    job = after(*messages, job=after(*by_hand(created(owner="7"), ASKED_TO_STOP)))
    assert (job.state, job.owner, job.attempt) == (RUNNING, "8", 2)


NOT_OVER = {
    "made": [],
    "goes on by hand": [about(Updated, advance=1)],
    "in a block": [about(Started, "r0", origin=Origin(owner="7"))],
    "sent by its user": [sent(), begun("r1")],
}


@pytest.mark.parametrize("going", NOT_OVER.values(), ids=NOT_OVER)
def test_a_job_made_by_hand_takes_no_part_in_what_another_user_sends(going):
    job = after(*by_hand(created(owner="7", data={"a": 1})), *going)
    run = {"kind": Started, "run_id": "r2"}
    told = [sent_by("8"), replace(sent_by("8"), is_confirmed=True), sent_by("8", **run), sent_by("8", **run)]
    told += [sent_by("8", kind=kind, run_id="r2") for kind in (Reported, Retrying, Requeued, Finished, Failed)]
    told += [about(Planned, origin=Origin(owner="8")), replace(sent_by("8", kind=Cancelled), unstarted=True)]
    for event in told:
        assert apply(job, event, now=T0 + 5 * SECOND, leases=LEASES) is job


@pytest.mark.parametrize("sender", ["7", None])
@pytest.mark.parametrize("maker", ["7", None])
def test_a_job_made_by_hand_is_run_by_its_user_s_sending_and_by_nobody_s(maker, sender):
    job = after(created(owner=maker), sent_by(sender), sent_by(sender, kind=Started, run_id="r1"))
    assert (job.state, job.run_id, job.attempt, job.owner) == (RUNNING, "r1", 1, maker or sender)


def test_a_job_by_hand_whose_user_was_deleted_meanwhile_goes_on():
    job = after(created(owner="7"), sent(), begun("r1"), about(Disowned))
    over = after(about(Finished, "r1", origin=Origin(send_id="s1", owner="7")), job=job)
    assert (over.state, over.owner) == (FINISHED, "")


def test_a_second_making_is_refused_and_the_record_tells_whose_was_first():
    job = after(created("c1"))
    assert apply(job, created("c2", data={"a": 1}), now=T0 + 5, leases=LEASES) is job
    assert job.creation == "c1"


def test_a_job_that_is_made_before_it_is_sent_is_one_job():
    job = after(
        created(owner="7", handler="h", data={"a": 1}), about(Enqueued, origin=Origin(send_id="s1", handler="g"))
    )
    assert (job.attempt, job.owner, job.handler, job.data, job.send_id) == (1, "7", "h", {"a": 1}, "s1")
    assert job.lease_until is not None


def test_a_new_life_may_be_made_by_hand_again():
    job = after(created("c1"), sent(), started(), about(Finished, "r1"), sent("s2"), created("c2", data={"a": 2}))
    assert (job.attempt, job.creation, job.data) == (2, "c2", {"a": 2})


def test_a_new_life_belongs_to_whoever_began_it():
    again = about(Enqueued, origin=Origin(send_id="s2", owner="8"))
    assert after(sent(), started(), about(Finished, "r1"), again).owner == "8"


# The page's hooks


def claimed(hook: str = "on_ready", claim: str = "k1") -> Event:
    return about(Claimed, hook=hook, claim=claim)


def test_the_first_claim_of_a_hook_has_it_and_no_other():
    job = after(sent(), started(), about(Finished, "r1"), claimed())
    assert job.claims == {"on_ready": "k1"}
    assert apply(job, claimed(claim="k2"), now=T0 + DAY, leases=LEASES) is job


@pytest.mark.parametrize(
    ("end", "hook"),
    [
        ((), "on_ready"),
        ((), "on_failed"),
        ((about(Finished, "r1"),), "on_failed"),
        ((about(Failed, "r1"),), "on_ready"),
        ((about(Cancelled, "r1"),), "on_ready"),
    ],
)
def test_a_hook_is_claimed_only_when_the_job_has_ended_in_its_way(end, hook):
    job = after(sent(), started(), *end)
    assert apply(job, claimed(hook), now=T0 + DAY, leases=LEASES) is job


def test_nobody_claims_a_job_that_is_not_on_record():
    assert apply(None, claimed(), now=T0, leases=LEASES) is None


def test_a_lost_job_that_comes_back_has_its_good_end_still_to_be_told():
    lost = after(sent(), started(), about(Overdue), about(Overdue), every=DAY)
    job = after(claimed("on_failed"), about(Finished, "r1"), claimed(), job=lost, at=T0 + 9 * DAY)
    assert job.claims == {"on_failed": "k1", "on_ready": "k1"}


def test_a_claim_says_nothing_new_to_browsers():
    job = after(sent(), started(), about(Finished, "r1"))
    after_it = after(claimed(), job=job, at=T0 + DAY)
    assert after_it.version > job.version
    assert after_it.document | {"version": 0} == job.document | {"version": 0}


def test_what_was_claimed_in_an_earlier_life_may_be_claimed_again():
    assert after(sent(), started(), about(Finished, "r1"), claimed(), sent("s2")).claims == {}


# From outside


def test_a_job_runs_on_until_its_strategy_says_that_it_is_completed():
    job = after(sent(), started(), about(Finished, "r1", completed=False))
    assert (job.state, job.lease_until) == (RUNNING, None)
    assert outcome(after(about(Refreshed, completed=True), job=job)) == (FINISHED, None)


def test_what_is_set_from_outside_is_progress_too():
    job = after(sent(), started(), about(Updated, total=10), about(Updated, advance=2), about(Updated, advance=1))
    assert (job.current, job.total) == (3, 10)
    assert after(about(Updated, current=1), job=job).current == 3
    assert after(about(Updated, advance=-2), job=job).current == 3


def test_a_touch_makes_a_job_newer_and_nothing_else():
    job = after(sent())
    touched = after(about(Touched), job=job, at=0)
    assert touched.version > job.version
    assert touched.document | {"version": 0} == job.document | {"version": 0}


def test_a_touch_lifts_a_job_above_what_browsers_hold_even_on_a_late_clock():
    job = after(sent(), at=T0)
    assert after(about(Touched, above=T0 + 90), job=job, at=T0 - 90).version > T0 + 90
    assert after(about(Touched, above=2**53 - 1), job=job, at=T0 - 90).version < T0 + DAY, "nobody's word goes so far"


def test_versions_follow_the_stores_clock_and_rise_when_it_stands_still():
    job = after(sent(), at=T0)
    assert job.version == T0
    assert T0 < after(started(), job=job, at=T0 - DAY).version < T0 + 20_000


def test_what_a_failover_lost_and_what_follows_it_never_share_a_version():
    kept = after(sent(), at=T0)
    lost = after(started("r1"), about(Finished, "r1"), job=kept, at=T0 - DAY)
    follows = after(started("r2"), about(Failed, "r2"), job=kept, at=T0 - DAY)
    assert lost.version != follows.version


# Whatever comes, in whatever order


runs = st.sampled_from(["", "r1", "r2", "r3"])
origins = st.none() | st.builds(
    Origin, send_id=st.sampled_from(["", "s1", "s2"]), owner=st.sampled_from([None, "7", "8"]), handler=st.just("h")
)
counts = st.none() | st.integers(-2, 20) | st.floats(0, 20)
reports = st.none() | st.builds(
    Report,
    step=st.integers(0, 3),
    current=st.integers(0, 20),
    total=st.none() | st.integers(0, 20),
    percentage=st.none() | st.floats(0, 100),
    message=st.sampled_from(["", "x"]),
    meta=st.dictionaries(st.sampled_from(["miles", "percentage"]), st.integers(0, 9), max_size=1),
)
queues = st.sampled_from(["", "huey", "rq"])
of_job = {"job_id": st.just("a"), "run_id": runs, "queue": queues, "origin": origins, "report": reports}
etas = st.none() | st.integers(T0, T0 + DAY)
events = st.one_of(
    *(st.builds(kind, **of_job) for kind in (Started, Reported, Requeued, Failed, Cancelled)),
    st.builds(Finished, completed=st.booleans(), **of_job),
    st.builds(Retrying, eta=etas, **of_job),
    st.builds(Planned, job_id=st.just("a"), origin=origins),
    st.builds(
        Enqueued, sent_at=st.none() | st.just(T0), is_confirmed=st.booleans(), **{**of_job, "run_id": st.just("")}
    ),
    st.builds(Created, job_id=st.just("a"), origin=origins, creation=st.sampled_from(["c1", "c2"])),
    st.builds(
        Claimed, job_id=st.just("a"), hook=st.sampled_from(["on_ready", "on_failed"]), claim=st.sampled_from(["k", "l"])
    ),
    *(st.builds(kind, job_id=st.just("a")) for kind in (CancelRequested, Overdue, Touched)),
    st.builds(Refreshed, job_id=st.just("a"), completed=st.none() | st.booleans()),
    st.builds(Updated, job_id=st.just("a"), current=counts, advance=counts, total=st.none() | st.integers(0, 9)),
)
waits = st.sampled_from([-SECOND, 0, 1, SECOND, 20 * SECOND, 50 * SECOND, 2 * DAY])
histories = st.lists(st.tuples(events, waits), min_size=1, max_size=12)


def changes(history: list[tuple[Event, int]]) -> list[tuple[Job, Job]]:
    """Each change of a job in the course of its history: the job before and after."""
    found: list[tuple[Job, Job]] = []
    job, now = None, T0
    for event, wait in history:
        now += wait
        later = apply(job, event, now=now, leases=LEASES)
        if job is not None and later is not None and later is not job:
            found.append((job, later))
        job = later
    return found


@pytest.mark.case(9)
@given(histories)
@examples(400)
def test_a_job_that_is_over_stays_so_within_its_attempt_unless_it_was_lost(history):
    for before, later in changes(history):
        if before.is_over and before.state is not LOST and before.attempt == later.attempt:
            assert later.state is before.state
            assert later.error == before.error
            assert later.finished_at == before.finished_at


@given(histories)
@examples(400)
def test_every_change_raises_the_version_and_no_attempt_comes_back(history):
    for before, later in changes(history):
        assert later.version > before.version
        assert later.attempt - before.attempt in (0, 1)


@given(histories)
@examples(400)
def test_current_never_moves_back_within_an_attempt_and_step(history):
    for before, later in changes(history):
        if (before.attempt, before.step) == (later.attempt, later.step):
            assert later.current >= before.current


@given(histories)
@examples(400)
def test_a_job_stays_its_queues(history):
    for before, later in changes(history):
        assert before.queue in ("", later.queue)


@given(histories)
@examples(400)
def test_what_a_job_is_and_what_it_says_of_itself_agree(history):
    for _, job in changes(history):
        assert job.is_over is (job.finished_at is not None)
        assert (job.error is not None) is (job.state in (FAILED, CANCELLED, LOST))
        assert not (job.is_over and (job.lease_until is not None or job.stalled or job.lease_holder))
        assert Job.from_record(job.to_record()) == job
        assert Job.from_record(job.to_record()).text == job.text


@st.composite
def lives(draw):
    """One sending, and what its runs tell, in order: attempts that end for now, and one that may end for good."""
    sender = draw(st.sampled_from([{}, {"owner": None}, {"owner": None, "staff_only": True}]))
    told_of = []
    for number in range(draw(st.integers(1, 3))):
        run_id = f"r{number}"
        told_of.append(about(Started, run_id, report=draw(reports)))
        told_of += [about(Reported, run_id, report=report) for report in draw(st.lists(reports, max_size=2))]
        told_of.append(about(draw(st.sampled_from([Retrying, Requeued])), run_id, report=draw(reports)))
    if draw(st.booleans()):
        told_of[-1] = about(draw(st.sampled_from([Finished, Failed, Cancelled])), run_id, report=draw(reports))
    if draw(st.booleans()):
        del told_of[0]  # a lost start costs nothing
    return sent_without_header(**sender), told_of


@given(lives(), st.data())
@examples(400)
def test_a_sending_is_told_at_any_time_of_its_runs_with_the_same_outcome(life, data):
    sending, told_of = life
    place = data.draw(st.integers(0, len(told_of)))
    knows = data.draw(st.sampled_from(["nothing", "its queue", "the record"]))
    times = [T0 + (number + 1) * SECOND for number in range(len(told_of))]

    def lived(place: int) -> Job:
        job, known = None, None
        steps = [*zip(times, told_of, strict=True)]
        steps.insert(place, (T0 + place * SECOND + 1, sending))
        for now, event in steps:
            if event is not sending:
                event = replace(event, origin=ONLY_QUEUE if knows == "its queue" else known)  # noqa: PLW2901
            job = apply(job, event, now=now, leases=LEASES)
            if event is not sending and knows == "the record" and data.draw(st.booleans()):
                known = Origin.of(job)
        return job

    usual, late = lived(0), lived(place)
    assert late.but(version=0, enqueued_at=0) == usual.but(version=0, enqueued_at=0)
    assert late.enqueued_at <= late.started_at


@pytest.mark.parametrize("queue", ["", "huey"])
def test_the_start_of_a_new_life_applied_twice_is_as_good_as_once(queue):
    over = after(about(Started), about(Planned, origin=Origin(send_id="s1")), about(Failed))
    start = about(Started, "r1", origin=Origin(send_id="s2"), queue=queue)
    once = after(start, job=over, at=T0)
    assert once.queue == queue
    assert after(start, job=once, at=T0) is once


@given(histories, st.data())
@examples(200)
def test_an_event_applied_twice_is_as_good_as_once(history, data):
    job = reduce(lambda job, step: apply(job, step[0], now=T0, leases=LEASES), history, None)
    event = data.draw(events)
    assume(not isinstance(event, Touched | Updated))
    once = apply(job, event, now=T0, leases=LEASES)
    assert apply(once, event, now=T0, leases=LEASES) is once
