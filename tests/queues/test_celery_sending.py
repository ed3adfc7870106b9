"""What a sender tells of the tasks that wait for the one it sends."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from celery import Celery, _state, chain, chord, signals

from immortus_channels import queues, tracked
from immortus_channels.events import Enqueued, Planned
from immortus_channels.owners import starting_as
from immortus_channels.queues.celery.origins import HEADER, mark_of
from immortus_channels.queues.celery.sending import Sending

app = Celery("tests.sending", broker="memory://", backend="cache+memory://", set_as_current=False)


@app.task(shared=False)
def resize(*_):
    """Untracked."""


@app.task(shared=False)
@tracked
def gather(*_):
    """Tracked."""


@pytest.fixture
def sent(settings, monkeypatch):
    """The events that sending tells, the headers of each message, and how often it was asked who sends."""
    settings.IMMORTUS_STORE = {"BACKEND": "memory"}
    monkeypatch.setattr(_state._tls, "current_app", app)
    told = SimpleNamespace(events=[], headers=[], asked=0)
    tracker = SimpleNamespace(publish=lambda event, **_: told.events.append(event))
    sending = Sending(tracker, lambda name: mark_of(app.tasks.get(name)))

    def before(sender, body, headers, **_):
        sending.before(sender, body=body, headers=headers)
        told.headers.append(headers)

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
    assert [queues.class_of(one.id) for one in (result.parent.parent, result.parent, result)] == [
        resize.name,
        resize.name,
        gather.name,
    ]


def test_an_untracked_task_is_sent_as_it_is_and_nobody_looks_who_sends_it(sent):
    chain(resize.si(), resize.si()).apply_async()
    assert (sent.events, sent.asked) == ([], 0)
    assert HEADER not in sent.headers[0]


def test_the_body_of_a_chord_is_planned_once_and_not_by_each_task_of_its_header(sent):
    for _ in range(2):
        sent.events.clear()
        result = chord([resize.si() for _ in range(5)], gather.s()).apply_async()
        assert [(type(event), event.job_id) for event in sent.events] == [(Planned, result.id)]


def test_a_tracked_header_is_told_task_by_task(sent):
    chord([gather.si(), gather.si()], gather.s()).apply_async()
    assert [type(event) for event in sent.events] == [Planned, Enqueued, Enqueued]
