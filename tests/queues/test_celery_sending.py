"""What a sender tells of the tasks that wait for the one it sends."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from celery import Celery, _state, beat, chain, chord, signals
from celery.schedules import schedule

from immortus_channels import tracked
from immortus_channels.jobs.events import Enqueued, Planned
from immortus_channels.jobs.job import Job
from immortus_channels.jobs.owner import starter_here, starting_as
from immortus_channels.queues import classes
from immortus_channels.queues.celery import CeleryQueue
from immortus_channels.queues.celery.lives import keep_headers
from immortus_channels.queues.celery.marks import HEADER, STANDS_FOR, options_of
from immortus_channels.queues.celery.publish_signals import Sending
from immortus_channels.queues.messages import from_header, is_second
from immortus_channels.queues.port import Port
from immortus_channels.writer import WAIT

app = Celery("tests.sending", broker="memory://", backend="cache+memory://", set_as_current=False)


@app.task(shared=False)
def resize(*_):
    """Untracked."""


@app.task(shared=False)
@tracked
def gather(*_):
    """Tracked."""


@app.task(shared=False)
@tracked(params=True)
def takes_all(**_):
    """Tracked, with its arguments."""


@app.task(shared=False, bind=True)
@tracked(owner="user_id")
def report(self, user_id):
    """Is for a user."""


@pytest.fixture
def sent(settings, monkeypatch):
    """The events that sending tells, the headers of each message, and how often it was asked who sends."""
    settings.IMMORTUS_STORE = {"BACKEND": "memory"}
    monkeypatch.setattr(_state._tls, "current_app", app)
    told = SimpleNamespace(events=[], waits=[], headers=[], bodies=[], asked=0, answer=None)

    def publish(event, *, wait=WAIT):
        told.events.append(event)
        told.waits.append(wait)
        return told.answer

    tracker = SimpleNamespace(publish=publish)
    sending = Sending(Port(CeleryQueue(), tracker), lambda name: options_of(app.tasks.get(name)))

    def before(sender, body, headers, **_):
        sending.before(sender, body=body, headers=headers)
        told.headers.append(headers)
        told.bodies.append(body)

    def who():
        told.asked += 1
        return "7"

    signals.before_task_publish.connect(before)
    with starting_as(who):
        yield told
    signals.before_task_publish.disconnect(before)


def test_what_waits_for_an_untracked_task_is_planned_and_its_sender_s(sent):
    result = chain(resize.si(), resize.si(), gather.si()).apply_async()
    (event,) = sent.events
    assert (type(event), event.job_id, event.job_class) == (Planned, result.id, gather.name)
    assert event.origin.owner == "7"
    assert [classes.class_of(one.id) for one in (result.parent.parent, result.parent, result)] == [
        resize.name,
        resize.name,
        gather.name,
    ]


def test_the_sender_waits_for_the_last_write_alone(sent):
    chain(resize.si(), gather.si(), gather.si()).apply_async()
    assert sent.waits == [0, WAIT]
    sent.waits.clear()
    chain(gather.si(), gather.si(), gather.si()).apply_async()
    assert [(type(event), wait) for event, wait in zip(sent.events[2:], sent.waits, strict=True)] == [
        (Planned, 0),
        (Planned, 0),
        (Enqueued, WAIT),
    ]


def test_an_untracked_task_is_sent_as_it_is_and_nobody_looks_who_sends_it(sent):
    chain(resize.si(), resize.si()).apply_async()
    assert (sent.events, sent.asked) == ([], 0)
    assert HEADER not in sent.headers[0]


def test_the_body_of_a_chord_is_planned_only_once(sent):
    for _ in range(2):
        sent.events.clear()
        result = chord([resize.si() for _ in range(5)], gather.s()).apply_async()
        assert [(type(event), event.job_id) for event in sent.events] == [(Planned, result.id)]


def test_a_tracked_header_is_told_task_by_task(sent):
    chord([gather.si(), gather.si()], gather.s()).apply_async()
    assert [type(event) for event in sent.events] == [Planned, Enqueued, Enqueued]


@pytest.mark.parametrize("linked", [gather.si(), chain(resize.si(), gather.si()), resize.si().set(link=[gather.si()])])
@pytest.mark.parametrize("how", ["link", "link_error"])
def test_what_is_linked_to_an_untracked_task_is_told_whose_it_will_be(sent, linked, how):
    resize.apply_async(**{how: linked})
    (callback,) = sent.bodies[0][2]["callbacks" if how == "link" else "errbacks"]
    assert {"immortus_owner": {"owner": "7", "staff_only": False}} in list(headers_in(callback))
    assert not sent.events


def test_a_signature_that_is_linked_again_and_again_is_left_as_it_is(sent):
    linked = gather.si()
    before = json.dumps(linked)
    resize.apply_async(link=linked)
    assert json.dumps(linked) == before


def test_an_untracked_link_is_sent_unchanged_and_nobody_asks_who_sends_it(sent):
    resize.apply_async(link=resize.si())
    assert sent.asked == 0
    assert list(headers_in(sent.bodies[0][2]["callbacks"])) == [{}]


def test_a_job_is_its_own_senders_unless_another_was_told(sent):
    gather.apply_async(headers={"immortus_owner": {"owner": "8"}})
    gather.apply_async()
    assert [event.origin.owner for event in sent.events] == ["8", "7"]


# Which life of a job a message belongs to


def test_a_first_sending_may_name_retries(sent):
    gather.apply_async(task_id="a", retries=3)
    (event,) = sent.events
    assert (type(event), event.origin.owner, sent.headers[0][HEADER]["send_id"]) == (
        Enqueued,
        "7",
        event.origin.send_id,
    )


@pytest.mark.parametrize("told", [{"job_id": "a"}, {"job_id": "a", "retries": 1}, {}], ids=str)
def test_what_a_worker_resends_after_it_lost_a_child_is_not_a_new_sending(sent, told):
    """Also what an earlier release has sent, which did not say which job it was about."""
    header = {"send_id": "s1", "owner": "8", **told}
    gather.apply_async(task_id="a", retries=2, headers={HEADER: header})
    assert not sent.events
    assert sent.headers[0][HEADER] == header


def test_an_untracked_task_sent_again_after_a_lost_child_plans_nothing_new(sent):
    """Whose the jobs are that come of it, its first sender has said."""
    chain(resize.si(), gather.si()).apply_async()
    first = sent.bodies[0][2]["chain"]
    sent.events.clear()
    with starting_as(lambda: None):
        app.send_task(resize.name, task_id="a", retries=1, chain=first)
    assert not sent.events
    assert sent.bodies[1][2]["chain"] == first


def test_what_carries_the_headers_of_another_job_becomes_a_job_of_its_own(sent):
    gather.apply_async(task_id="a")
    handed_on = {name: sent.headers[0][name] for name in (HEADER,)} | {STANDS_FOR: "shop.paint", "trace": "1"}
    for job_id, retries in (("b", 0), ("c", 1)):
        gather.apply_async(task_id=job_id, headers=handed_on, retries=retries)
    events, headers = sent.events[1:], sent.headers[1:]
    assert [(event.job_id, event.job_class, event.origin.owner) for event in events] == [
        ("b", gather.name, "7"),
        ("c", gather.name, "7"),
    ]
    assert len({event.origin.send_id for event in sent.events}) == 3
    assert [(each["trace"], each.get(STANDS_FOR)) for each in headers] == [("1", None)] * 2


def test_a_sending_under_a_live_job_s_id_says_whose_job_that_is(sent):
    record = Job(job_id="a", send_id="s1", owner="8", params={"secret": 1}, data={"secret": 2})
    sent.answer = record
    gather.apply_async(task_id="a", countdown=60)
    assert sent.events[0].origin.owner == "7"
    told = from_header(sent.headers[0][HEADER])
    assert (told.owner, told.send_id, told.params, told.data) == ("8", "s1", None, None)
    assert told.eta == sent.events[0].origin.eta


def test_a_second_message_of_a_job_says_so_and_its_retry_does_not(sent):
    sent.answer = Job(job_id="a", send_id="s1")
    gather.apply_async(task_id="a")
    second = sent.headers[0][HEADER]
    assert is_second(second)
    again = {"id": "a", "retries": 1, HEADER: second}
    keep_headers(again)
    assert from_header(again[HEADER]).send_id == "s1"
    assert not is_second(again[HEADER])
    assert is_second(second)


def test_names_of_arguments_are_what_every_store_takes(sent):
    takes_all.delay(**{"a\0": 1, "b\ud800": 2})
    assert sent.events[0].origin.params == {"a\ufffd": 1, "b\ufffd": 2}


def test_arguments_beyond_the_limit_are_recorded_as_types_but_sent_whole(sent, caplog):
    takes_all.delay(rows=["x" * 60_000], more="y" * 50_000, most=("z" * 30_000,) * 2, name="a")
    recorded = sent.events[0].origin.params
    assert recorded == {"rows": "<list>", "more": "y" * 50_000, "most": "<tuple>", "name": "a"}
    assert from_header(sent.headers[0][HEADER]).params == recorded
    assert len(sent.bodies[0][1]["rows"][0]) == 60_000
    [line] = [record.getMessage() for record in caplog.records if record.name == "immortus_channels"]
    assert line.endswith("takes_all exceed 65536 bytes; their types alone are recorded: most, rows")


@pytest.mark.parametrize("told", [None, {}, {"job_id": "a"}])
def test_a_first_message_is_no_second_one(told):
    assert not is_second(told)


def headers_in(canvas):
    """The headers that each signature in it asks for."""
    if isinstance(canvas, dict):
        if "task" in canvas:
            yield canvas["options"].get("headers", {})
        for part in canvas.values():
            yield from headers_in(part)
    elif isinstance(canvas, list | tuple):
        for part in canvas:
            yield from headers_in(part)


def test_the_id_of_another_queue_s_job_is_left_to_it(sent):
    sent.answer = Job(job_id="n1", queue="toy")
    gather.apply_async(task_id="n1")
    (headers,) = sent.headers
    assert HEADER not in headers


def test_what_beat_sends_is_the_user_s_whom_its_argument_names(sent):
    token = starter_here.set(None)
    scheduler = beat.Scheduler(app=app, lazy=True)
    entry = beat.ScheduleEntry(name="daily", task=report.name, schedule=schedule(60), args=(7,), app=app)
    scheduler.apply_async(entry, advance=False)
    starter_here.reset(token)
    (event,) = sent.events
    (headers,) = sent.headers
    assert (event.origin.owner, event.origin.params) == ("7", None)
    assert from_header(headers[HEADER]).owner == "7"


def test_what_a_request_sends_is_its_user_s_whatever_the_argument(sent):
    report.delay(8)
    assert sent.events[0].origin.owner == "7"
