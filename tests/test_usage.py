"""How much each caller uses: scripts are stopped, and nothing that a page does comes near."""

from __future__ import annotations

import uuid

import pytest
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.db import SessionStore

from immortus_channels import usage
from immortus_channels.limits import limits
from tests.pages import logged_in


class Clock:
    """Stands for `time`."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(usage, "time", clock)
    usage.reset()
    yield clock
    usage.reset()


def unknown_ids(count):
    return [uuid.uuid4().hex for _ in range(count)]


# Whose account


def test_an_account_is_a_users_else_a_sessions_else_an_address(db):
    session = SessionStore()
    session["basket"] = [1]
    session.save()
    assert usage.key_of(logged_in("alice"), session, "8.8.8.8") == f"user {logged_in('alice').pk}"
    assert usage.key_of(AnonymousUser(), session, "8.8.8.8") == f"session {session.session_key}"
    assert usage.key_of(AnonymousUser(), SessionStore(), "8.8.8.8") == "address 8.8.8.8"


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.1.2.3", "192.168.0.1", "::1", "fd00::1", "", None, "unix", "testserver"]
)
def test_people_behind_a_proxy_do_not_stand_in_for_each_other(address):
    assert usage.key_of(AnonymousUser(), None, address) is None


def test_whoever_has_one_address_of_ipv6_has_many():
    keys = {usage.key_of(AnonymousUser(), None, f"2606:4700:1:2::{n:x}") for n in range(1, 9)}
    assert len(keys) == 1
    assert usage.key_of(AnonymousUser(), None, "2606:4700:1:3::1") not in keys


def test_an_address_is_the_same_through_a_listener_for_both_families():
    assert usage.key_of(AnonymousUser(), None, "::ffff:8.8.8.8") == "address 8.8.8.8"
    assert usage.key_of(AnonymousUser(), None, "::ffff:10.0.0.1") is None


def test_nobodys_account_is_never_full():
    assert not any(usage.ask(None) for _ in range(10_000))
    assert not usage.deny(None, unknown_ids(10_000))


# Requests


def test_forty_tabs_that_poll_twice_a_second_are_never_stopped(clock):
    for _ in range(4 * 60):
        assert not any(usage.ask("user 1") for _ in range(40))
        clock.now += 0.5


def test_a_restart_after_which_everybody_polls_at_once_stops_nobody(clock):
    assert not any(usage.ask("user 1") for _ in range(1000))


def test_a_script_is_stopped_and_told_how_long(clock):
    waits = [usage.ask("user 1") for _ in range(limits().requests_at_once + 10)]
    assert waits[-1] >= 1
    assert waits[limits().requests_at_once - 1] == 0
    assert usage.ask("user 2") == 0, "others go on"
    clock.now += waits[-1]
    assert usage.ask("user 1") == 0


# Refusals


def test_a_list_of_a_hundred_jobs_that_are_gone_is_no_attack(clock, caplog):
    gone = unknown_ids(100)
    for _ in range(60):
        assert not usage.deny("user 1", gone)
        clock.now += 0.5
    assert not caplog.records


def test_whoever_tries_very_many_ids_waits_and_is_logged_once_a_minute(clock, caplog):
    for _ in range(limits().denials + 10):
        usage.deny("user 1", unknown_ids(1))
    assert usage.is_suspended("user 1")
    assert 0 < usage.ask("user 1") <= 60
    assert not usage.is_suspended("user 2")
    (record,) = caplog.records
    assert record.getMessage().startswith("User 1 asked for more than 500 jobs in a minute")
    clock.now += 60
    usage.deny("user 1", unknown_ids(1))
    assert not usage.is_suspended("user 1")


def test_the_log_has_neither_ids_nor_the_key_of_a_session(caplog):
    ids = unknown_ids(limits().denials + 1)
    usage.deny("session verysecret", ids)
    assert "An anonymous session asked" in caplog.text
    assert not any(part in caplog.text for part in ("verysecret", *ids))


# Sockets


def test_one_user_has_so_many_sockets_and_others_have_theirs():
    most = limits().sockets_per_user
    assert all(usage.enter("user 1") for _ in range(most))
    assert not usage.enter("user 1")
    assert usage.enter("user 2")
    assert all(usage.enter("address 8.8.8.8") for _ in range(2 * most)), "many people may come from there"
    usage.leave("user 1")
    assert usage.enter("user 1")
    for key in ["user 1"] * most + ["user 2"] + ["address 8.8.8.8"] * 2 * most:
        usage.leave(key)
    assert not usage._sockets


def test_one_address_does_not_take_all_seats(settings):
    settings.IMMORTUS_LIMITS = {"sockets_per_address": 3}
    assert [usage.enter("address 8.8.8.8") for _ in range(4)] == [True, True, True, False]
    assert usage.enter("user 1")
    assert all(usage.enter(None) for _ in range(5)), "a proxy's visitors are many"
    for key in ["address 8.8.8.8"] * 3 + ["user 1"] + [None] * 5:
        usage.leave(key)
    assert not usage._sockets


def test_one_process_has_so_many_sockets(settings):
    settings.IMMORTUS_LIMITS = {"sockets": 2}
    assert [usage.enter(None), usage.enter("user 1"), usage.enter("user 2")] == [True, True, False]
    usage.leave(None)
    usage.leave("user 1")
    assert not usage._sockets
