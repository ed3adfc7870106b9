"""Taking away access: every hub asks again at once, and nothing else comes of it."""

# ruff: noqa: F811 - pytest's way of naming what a test needs

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from dataclasses import dataclass

import pytest
from celery.result import AsyncResult
from django.contrib.auth.models import AnonymousUser, User
from django.db import transaction

from immortus_channels import revoke_access
from immortus_channels.api.job import JobHandle
from immortus_channels.push import receivers, revocations
from immortus_channels.push.layer import hubs_group_name
from immortus_channels.push.messages import EVERYBODY, Revocation
from immortus_channels.push.revocations import Announcer
from tests.hubs import layer  # noqa: F401
from tests.toys import eventually


class Ear:
    """Stands where a hub stands."""

    def __init__(self):
        self.heard = []

    def receive(self, push):
        """Is told of no job here."""

    def reconsider(self, told):
        self.heard.append(told)


@dataclass
class Order:
    """One of the project's own things, by mistake."""

    id: object


@pytest.fixture
def ear():
    ear = Ear()
    receivers.add(ear)
    yield ear
    receivers.remove(ear)


# What it is about


@pytest.mark.django_db(transaction=True)
def test_a_user_or_a_job_is_named(ear):
    alice = User.objects.create(username="alice")
    ear.heard.clear()
    revoke_access(alice)
    revoke_access("a/b c")
    revoke_access(type("Result", (), {"id": "of-a-queue"})())
    revoke_access(type("Job", (), {"job_id": "of-a-job", "id": 7})())
    number = uuid.UUID(int=7)
    for subject in (42, number, AsyncResult(number), JobHandle(number)):
        revoke_access(subject)
    jobs = ("a/b c", "of-a-queue", "of-a-job", "42", *[str(number)] * 3)
    assert ear.heard == [Revocation(user=str(alice.pk)), *(Revocation(job_id=job_id) for job_id in jobs)]


@pytest.mark.parametrize(
    "subject",
    [None, True, b"a", "", AnonymousUser(), User(username="unsaved"), object(), Order(7), Order(uuid.UUID(int=7))],
)
def test_what_is_neither_is_refused_with_what_to_give(subject):
    with pytest.raises(TypeError, match="give request"):
        revoke_access(subject)


# The message


@pytest.mark.parametrize("told", [Revocation(user="17"), Revocation(job_id="a/b é"), Revocation(user=EVERYBODY)])
def test_a_message_says_whom_or_what_it_is_about_and_nothing_else(told):
    message = told.to_message()
    assert message.pop("type") == "immortus.access"
    assert len(message) == 1
    assert Revocation.from_message(told.to_message()) == told


@pytest.mark.parametrize(
    "message",
    [
        None,
        {},
        {"type": "immortus.access"},
        {"type": "immortus.job", "user": "1"},
        {"type": "websocket.disconnect", "user": "1"},
        {"type": "immortus.access", "user": 1},
        {"type": "immortus.access", "user": "1" * 256},
        {"type": "immortus.access", "job_id": ""},
        {"type": "immortus.access", "job_id": ["a"]},
        {"type": "immortus.access", "job_id": "\ud800"},
    ],
)
def test_a_message_that_lies_is_ignored(message):
    assert Revocation.from_message(message) is None


def test_the_group_cannot_be_computed_without_the_secret_key(settings):
    name = hubs_group_name()
    assert len(name) < 100
    settings.SECRET_KEY = "another key"
    assert hubs_group_name() != name


# When it is told


@pytest.mark.django_db(transaction=True)
def test_inside_a_transaction_it_waits_for_the_commit(ear):
    with transaction.atomic():
        revoke_access("a")
        assert ear.heard == []
    assert ear.heard == [Revocation(job_id="a")]
    with transaction.atomic():
        revoke_access("b")
        transaction.set_rollback(True)
    assert ear.heard == [Revocation(job_id="a")]


async def test_on_an_event_loop_it_is_told_at_once(ear):
    revoke_access("a")
    assert ear.heard == [Revocation(job_id="a")]


@pytest.mark.django_db(transaction=True)
def test_a_receiver_or_a_layer_that_fails_is_logged_and_harms_nobody(ear, monkeypatch, caplog):
    monkeypatch.setattr(ear, "reconsider", lambda told: 1 / 0)
    revoke_access("a")
    assert "ZeroDivisionError" in caplog.text


# Through the layer


@pytest.fixture
def announcer(monkeypatch):
    announcer = Announcer()
    monkeypatch.setattr(revocations, "_announcer", announcer)
    yield announcer
    announcer.drain()


def heard_by(layer, what, count=1):
    """What arrives in the group while `what` is done."""

    async def listen():
        channel = await layer.new_channel()
        await layer.group_add(hubs_group_name(), channel)
        await asyncio.sleep(0.2)
        await asyncio.to_thread(what)
        return [await asyncio.wait_for(layer.receive(channel), 5) for _ in range(count)]

    return asyncio.run(listen())


@pytest.mark.redis
@pytest.mark.django_db(transaction=True)
def test_other_processes_are_told_through_the_layer(layer, announcer):
    (message,) = heard_by(layer, lambda: revoke_access("a"))
    assert Revocation.from_message(message) == Revocation(job_id="a")


class Slow:
    """A layer that notes what it is told, each after a while."""

    def __init__(self):
        self.told = []
        self.failures = 0
        self.open = threading.Event()

    async def group_send(self, group, message):
        self.open.wait(5)
        if self.failures:
            self.failures -= 1
            raise ConnectionError
        self.told.append(message)


@pytest.fixture
def slow(monkeypatch):
    slow = Slow()
    monkeypatch.setattr("immortus_channels.push.layer.get_channel_layer", lambda alias: slow)
    return slow


@pytest.mark.django_db(transaction=True)
def test_whoever_logs_out_waits_for_no_layer(slow, announcer):
    began = time.monotonic()
    for _ in range(3):
        revoke_access("a")
    assert time.monotonic() - began < 0.2
    slow.open.set()
    assert eventually(lambda: slow.told)
    announcer.drain()
    assert len(slow.told) <= 2, "the same is told once"


@pytest.mark.django_db(transaction=True)
def test_a_layer_that_fails_for_a_moment_is_told_again(slow, announcer):
    slow.failures = 2
    slow.open.set()
    revoke_access("a")
    assert eventually(lambda: slow.told)


@pytest.mark.django_db(transaction=True)
def test_a_layer_that_is_away_for_longer_is_told_when_it_comes_back(slow, announcer, monkeypatch):
    monkeypatch.setattr(Announcer, "PAUSES", (0.01,))
    slow.failures = 50
    slow.open.set()
    revoke_access("a")
    revoke_access("b")
    assert eventually(lambda: len(slow.told) == 2)


@pytest.mark.django_db(transaction=True)
def test_what_cannot_be_told_for_very_long_is_forgotten(slow, announcer, monkeypatch):
    monkeypatch.setattr(Announcer, "PAUSES", (0.01,))
    monkeypatch.setattr(Announcer, "LIFE", 0.1)
    monkeypatch.setattr(Announcer, "IDLE", 0.1)
    slow.failures = 1_000_000
    slow.open.set()
    revoke_access("a")
    assert eventually(lambda: not announcer._threads)
    assert not announcer._pending


@pytest.mark.django_db(transaction=True)
def test_what_is_revoked_again_while_it_is_told_is_told_again(slow, announcer):
    announcer.put(Revocation(user="1"))
    assert eventually(lambda: announcer._threads)
    time.sleep(0.1)
    announcer.put(Revocation(user="1"))
    slow.open.set()
    assert eventually(lambda: len(slow.told) == 2)


@pytest.mark.django_db(transaction=True)
def test_of_very_many_users_everybody_is_asked_in_one_message(slow, announcer, monkeypatch):
    monkeypatch.setattr(Announcer, "PENDING", 5)
    for number in range(20):
        announcer.put(Revocation(user=str(number)))
    slow.open.set()
    announcer.drain()
    assert {"type": "immortus.access", "user": EVERYBODY} in slow.told
    assert len(slow.told) <= 7


@pytest.mark.django_db(transaction=True)
def test_what_is_left_is_sent_when_the_process_ends(slow, announcer):
    slow.open.set()
    announcer.put(Revocation(user="1"))
    announcer.drain()
    assert len(slow.told) == 1
    announcer.put(Revocation(user="2"))
    announcer.drain()
    assert len(slow.told) == 2


@pytest.mark.django_db(transaction=True)
def test_a_layer_that_cancels_a_send_is_told_again(slow, announcer, monkeypatch):
    sends = iter([asyncio.CancelledError()])
    real = slow.group_send

    async def group_send(group, message):
        if (error := next(sends, None)) is not None:
            raise error
        await real(group, message)

    monkeypatch.setattr(slow, "group_send", group_send)
    slow.open.set()
    revoke_access("a")
    assert eventually(lambda: slow.told)


@pytest.mark.django_db(transaction=True)
def test_a_revocation_is_heard_here_even_if_the_layer_s_settings_are_bad(ear, monkeypatch, caplog):
    def broken():
        raise ImportError

    monkeypatch.setattr(revocations, "has_shared_layer", broken)
    revoke_access("a")
    assert ear.heard == [Revocation(job_id="a")]
