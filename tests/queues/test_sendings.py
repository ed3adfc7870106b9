"""A job is told before its message goes out, and confirmed once its queue has that."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from django.db import transaction

from immortus_channels.api.repository import JobRepository
from immortus_channels.jobs.events import Enqueued, Finished, Origin
from immortus_channels.jobs.job import Job, State
from immortus_channels.jobs.lifecycle import apply
from immortus_channels.jobs.owner import starting_as
from immortus_channels.queues import classes, sendings
from immortus_channels.queues.hooks import Outcome
from immortus_channels.queues.messages import from_header, is_second, job_in, owner_header
from immortus_channels.queues.tracked import TaskOptions
from immortus_channels.stores import get_store
from tests.toys import FlakyStore, eventually

HOUR = 3_600_000_000


def resize(width, height=50):
    """Has arguments."""


@pytest.fixture
def send(port, options, job_id):
    def send(**about):
        return port.sent(job_id, "resize", options, **about)

    return send


def lease_of(job: Job) -> float:
    """The seconds until the job's lease ends."""
    return (job.lease_until - get_store().get_many([]).now) / 1_000_000


# Telling


def test_a_sending_makes_the_record_with_all_that_the_sender_knows(send, record):
    eta = time.time_ns() // 1000 + HOUR
    with starting_as(lambda: "7"):
        send(args=(3,), function=resize, eta=eta)
    job = record()
    assert (job.state, job.owner, job.queue, job.job_class) == (State.ENQUEUED, "7", "toy", "resize")
    assert job.params == {"width": 3, "height": 50}


def test_of_many_sendings_the_last_one_waits_for_all(port, options, record):
    sendings = [port.prepare(job_id, "resize", options) for job_id in ("one", "two")]
    for sending in sendings:
        sending.tell(waits=sending is sendings[-1])
    assert [record(job_id).state for job_id in ("one", "two")] == [State.ENQUEUED] * 2


async def test_a_sending_that_does_not_wait_holds_up_nobody(port, options, record, settings):
    settings.IMMORTUS_INLINE = False
    settings.IMMORTUS_STORE = {"BACKEND": f"{FlakyStore.__module__}.{FlakyStore.__qualname__}"}
    get_store().open.clear()
    began = time.monotonic()
    port.prepare("one", "resize", options).tell(waits=False)
    await (await port.aprepare("two", "resize", options)).atell(waits=False)
    assert time.monotonic() - began < 0.3
    get_store().open.set()
    assert eventually(lambda: record("one") and record("two"))


def test_a_sending_that_is_only_prepared_is_not_on_record(port, options, job_id, record):
    sending = port.prepare(job_id, "resize", options)
    assert record() is None
    assert from_header(sending.header).queue == "toy"
    assert classes.class_of(job_id) == "resize"


def test_a_task_that_is_not_known_here_gives_its_message_a_header(port, job_id):
    with starting_as(lambda: "7"):
        sending = port.prepare(job_id, "elsewhere", None, args=(1,))
    origin = from_header(sending.header)
    assert (origin.owner, origin.cancel, origin.params) == ("7", "ask", None)


def test_the_header_tells_the_worker_which_record_was_made(send, job_id, record):
    header = json.loads(json.dumps(send().header))
    assert job_in(header, job_id, "resize") == record().with_unknown_lease


def test_a_message_without_room_has_no_header(toy_queue, send, record):
    toy_queue.carries_headers = False
    assert send().header is None
    assert record().state is State.ENQUEUED


def test_a_sending_on_an_event_loop_is_told_as_well(port, options, job_id, record):
    sending = asyncio.run(port.asent(job_id, "resize", options))
    assert record().send_id == from_header(sending.header).send_id


def test_a_job_that_waits_is_sent_again_by_a_second_message(send, record):
    with starting_as(lambda: "7"):
        send()
    first = record()
    with starting_as(lambda: "8"):
        second = send()
    assert is_second(second.header)
    assert from_header(second.header).send_id == first.send_id
    assert from_header(second.header).owner == "7"
    assert record() == first


def test_an_id_that_comes_again_after_its_end_is_a_new_life(port, send, job_id, record):
    with starting_as(lambda: "7"):
        send()
    port.ended(Finished, job_id, "resize", run_id="r")
    with starting_as(lambda: "8"):
        header = send().header
    assert (record().state, record().owner) == (State.ENQUEUED, "8")
    assert not is_second(header)


def test_a_message_that_goes_out_again_is_not_told_again(send, record):
    header = send().header
    before = record()
    again = send(header=header)
    again.confirm()
    assert again.header == header
    assert record() == before


def test_the_header_of_another_job_counts_as_none(port, options, send, record):
    other = port.sent("another", "resize", options).header
    assert from_header(send(header=other).header).send_id == record().send_id != from_header(other).send_id


def test_the_id_of_another_queue_s_job_is_left_to_it(port, toy_queue, send, record):
    send()
    before = record()
    toy_queue.name = "other"
    sending = send()
    assert sending.header is None
    sending.confirm()
    assert record() == before


def test_the_id_of_another_user_s_job_by_hand_is_left_to_them(send, job_id, record, caplog):
    with starting_as(lambda: "7"):
        JobRepository().create(id=job_id)
    before = record()
    with starting_as(lambda: "8"):
        sending = send()
    sending.confirm()
    assert record() == before
    assert from_header(sending.header).owner == "8", "by which the worker knows that the job is not its"
    assert "was made by hand for another user" in caplog.text


# Whose


@pytest.mark.parametrize(("trait", "about"), [("counts_ids", {}), ("", {"is_scheduled": True})])
def test_a_job_of_nobody_is_for_staff_where_its_id_can_be_guessed(toy_queue, send, record, trait, about):
    if trait:
        setattr(toy_queue, trait, True)
    send(**about)
    assert (record().owner, record().staff_only) == (None, True)


def test_what_a_user_sends_by_a_schedule_is_that_user_s(send, record):
    with starting_as(lambda: "7"):
        send(is_scheduled=True)
    assert (record().owner, record().staff_only) == ("7", False)


def test_a_job_of_nobody_is_open_to_those_who_know_its_id(send, record):
    send()
    assert not record().staff_only


def for_user(user_id=None):
    """Is for a user."""


@pytest.fixture
def send_for(port, job_id):
    """Send a task whose argument tells the owner, and which records no arguments."""

    def send(**about):
        return port.sent(job_id, "for_user", TaskOptions(owner="user_id"), args=(7,), function=for_user, **about)

    return send


def test_what_a_schedule_sends_is_the_user_s_whom_its_argument_names(toy_queue, send_for, record):
    toy_queue.counts_ids = True
    send_for(is_scheduled=True)
    assert (record().owner, record().staff_only, record().params) == ("7", False, {})


def test_what_follows_a_job_of_nobody_is_nobody_s_whatever_it_is_given(send_for, record):
    send_for(planned=owner_header(Origin()))
    assert record().owner is None


def test_a_planned_job_is_its_planner_s(send, record):
    with starting_as(lambda: "8"):
        send(planned=owner_header(Origin(owner="7")))
    assert record().owner == "7"


# Told after its run


def test_a_sending_without_a_header_may_be_told_after_its_run(toy_queue, port, options, send, job_id, record):
    toy_queue.carries_headers = False
    port.begin(job_id, "resize", options).end()
    with starting_as(lambda: "7"):
        send()
    assert (record().state, record().attempt, record().owner) == (State.FINISHED, 1, "7")


async def test_a_job_sent_by_a_run_that_overtook_its_own_sending_has_its_owner(toy_queue, port, options, record):
    toy_queue.carries_headers = False
    parent = await port.abegin("parent", "resize", options)
    origin, sent_at = Origin(send_id="s", owner="7", queue="toy"), time.time_ns() // 1000
    by_another_process = Enqueued(job_id="parent", job_class="resize", queue="toy", origin=origin, sent_at=sent_at)
    get_store().update("parent", lambda job, now: apply(job, by_another_process, now=now))
    await port.asent("child", "resize", options)
    parent.end()
    assert record("child").owner == "7"


# Confirming


def test_a_job_that_nobody_confirms_counts_as_not_sent_after_a_minute(send, record):
    send()
    assert lease_of(record()) == pytest.approx(60, abs=5)


def test_a_confirmed_job_may_wait_for_a_day(send, record):
    send().confirm()
    assert lease_of(record()) == pytest.approx(86_400, abs=5)


def test_a_confirmed_job_may_wait_for_a_day_after_it_is_due(send, record):
    send(eta=time.time_ns() // 1000 + HOUR).confirm()
    assert lease_of(record()) == pytest.approx(86_400 + 3600, abs=5)


def test_a_sending_is_confirmed_by_its_message_too(port, send, job_id, record):
    port.resume(job_id, "resize", send().header).confirm()
    assert lease_of(record()) == pytest.approx(86_400, abs=5)


@pytest.mark.django_db(transaction=True)
def test_a_sending_inside_of_a_transaction_is_confirmed_when_it_commits(send, record):
    with transaction.atomic():
        send().confirm(using="default")
        assert lease_of(record()) < 100
    assert lease_of(record()) > 80_000


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_whole", [True, False], ids=["transaction", "savepoint"])
def test_a_sending_that_is_rolled_back_is_not_confirmed(send, record, is_whole):
    with transaction.atomic():
        with transaction.atomic():
            send().confirm(using="default")
            transaction.set_rollback(not is_whole)
        transaction.set_rollback(is_whole)
    assert lease_of(record()) < 100


@pytest.mark.django_db(transaction=True)
def test_a_sending_outside_of_transactions_is_confirmed_at_once(send, record):
    send().confirm(using="default")
    assert lease_of(record()) > 80_000


def test_a_job_that_counted_as_not_sent_waits_again_once_confirmed(send, record, port, job_id, monkeypatch):
    sending = send()
    get_store().renew({job_id: record().lease_holder}, -1)
    port.tracker.recheck([job_id])
    assert record().error.code == "not_sent"
    later = time.monotonic() + 55
    monkeypatch.setattr(sendings.time, "monotonic", lambda: later)
    sending.confirm()
    assert record().state is State.ENQUEUED


# Hook


def test_a_hook_tells_before_the_method_and_confirms_after_it(port, options, job_id, record):
    hook = port.sending(job_id, "resize", options)
    next(hook)
    assert lease_of(record()) < 100
    with pytest.raises(StopIteration):
        hook.send(Outcome())
    assert lease_of(record()) > 80_000


def test_a_method_that_raises_confirms_nothing(port, options, job_id, record):
    hook = port.sending(job_id, "resize", options)
    next(hook)
    with pytest.raises(StopIteration):
        hook.send(Outcome(error=OSError()))
    assert lease_of(record()) < 100
