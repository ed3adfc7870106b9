"""How much each caller uses: scripts are stopped, and nothing that a page does comes near."""

from __future__ import annotations

import uuid

import pytest
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.db import SessionStore

from immortus_channels.access import quotas
from immortus_channels.access.limits import limits
from immortus_channels.access.quotas import TooManyRequests
from tests.pages import forget_quotas, logged_in


class Clock:
    """Stands for `time`."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(quotas, "time", clock)
    forget_quotas()
    yield clock
    forget_quotas()


def wait_after(ask, *what):
    """The seconds that an account is told to wait; 0 where it may go on."""
    try:
        ask(*what)
    except TooManyRequests as refused:
        return refused.wait
    return 0


def unknown_ids(count):
    return [uuid.uuid4().hex for _ in range(count)]


# Whose account


def test_an_account_is_a_users_else_a_sessions_else_an_address(db):
    session = SessionStore()
    session["basket"] = [1]
    session.save()
    assert quotas.key_of(logged_in("alice"), session, lambda: "8.8.8.8") == f"user {logged_in('alice').pk}"
    assert quotas.key_of(AnonymousUser(), session, lambda: "8.8.8.8") == f"session {session.session_key}"
    assert quotas.key_of(AnonymousUser(), SessionStore(), lambda: "8.8.8.8") == "address 8.8.8.8"


def test_nobodys_account_is_never_full():
    assert not any(wait_after(quotas.ask, None) for _ in range(10_000))
    assert not quotas.deny(None, unknown_ids(10_000))


def test_a_visitor_who_cannot_be_told_apart_has_no_account():
    assert quotas.key_of(AnonymousUser(), None, lambda: None) is None


# Requests


def test_forty_tabs_that_poll_twice_a_second_are_never_stopped(clock):
    for _ in range(4 * 60):
        assert not any(wait_after(quotas.ask, "user 1") for _ in range(40))
        clock.now += 0.5


def test_a_restart_after_which_everybody_polls_at_once_stops_nobody(clock):
    assert not any(wait_after(quotas.ask, "user 1") for _ in range(1000))


def test_a_script_is_stopped_and_told_how_long(clock):
    waits = [wait_after(quotas.ask, "user 1") for _ in range(limits().requests_at_once + 10)]
    assert waits[-1] >= 1
    assert waits[limits().requests_at_once - 1] == 0
    assert wait_after(quotas.ask, "user 2") == 0, "others go on"
    clock.now += waits[-1]
    assert wait_after(quotas.ask, "user 1") == 0


def test_ten_ids_are_paid_for_as_one_request(settings):
    settings.IMMORTUS_LIMITS = {"requests_at_once": 10, "requests_per_second": 1}
    for _ in range(9):
        assert wait_after(quotas.ask, "user 1") == 0
    assert wait_after(quotas.ask_for, "user 1", 1) == 0, "the first is the request itself"
    assert wait_after(quotas.ask_for, "user 1", 11) == 0
    assert wait_after(quotas.ask_for, "user 1", 11) == 1
    assert wait_after(quotas.ask, "user 1") == 1


def test_four_tabs_that_poll_for_a_hundred_jobs_each_are_never_stopped(clock):
    for _ in range(4 * 60):
        for _tab in range(4):
            assert wait_after(quotas.ask, "user 1") == wait_after(quotas.ask_for, "user 1", 100) == 0
        clock.now += 0.5


def test_asking_for_a_hundred_ids_at_once_is_stopped_ten_times_sooner(clock):
    served = 0
    while not wait_after(quotas.ask, "user 1") and not wait_after(quotas.ask_for, "user 1", 100):
        served += 1
    assert served == limits().requests_at_once * 10 // 109


def test_a_full_account_serves_a_request_that_costs_more_than_it_can_hold(settings, clock):
    settings.IMMORTUS_LIMITS = {"requests_at_once": 3, "requests_per_second": 1}
    assert wait_after(quotas.ask_for, "user 1", 100) == 0
    assert wait_after(quotas.ask_for, "user 1", 100) == 3
    clock.now += 3
    assert wait_after(quotas.ask_for, "user 1", 100) == 0


# Refusals


def test_a_list_of_a_hundred_jobs_that_are_gone_is_no_attack(clock, caplog):
    gone = unknown_ids(100)
    for _ in range(60):
        assert not quotas.deny("user 1", gone)
        clock.now += 0.5
    assert not caplog.records


def test_whoever_tries_very_many_ids_waits_and_is_logged_once_a_minute(clock, caplog):
    for _ in range(limits().denials + 10):
        quotas.deny("user 1", unknown_ids(1))
    assert quotas.is_suspended("user 1")
    assert 0 < wait_after(quotas.ask, "user 1") <= 60
    assert not quotas.is_suspended("user 2")
    (record,) = caplog.records
    assert record.getMessage().startswith("User 1 asked for more than 500 jobs in a minute")
    clock.now += 60
    quotas.deny("user 1", unknown_ids(1))
    assert not quotas.is_suspended("user 1")


def test_the_log_has_neither_ids_nor_the_key_of_a_session(caplog):
    ids = unknown_ids(limits().denials + 1)
    quotas.deny("session verysecret", ids)
    assert "An anonymous session asked" in caplog.text
    assert not any(part in caplog.text for part in ("verysecret", *ids))


# Sockets


def test_one_user_has_so_many_sockets_and_others_have_theirs():
    most = limits().sockets_per_user
    assert all(quotas.enter("user 1") for _ in range(most))
    assert not quotas.enter("user 1")
    assert quotas.enter("user 2")
    assert all(quotas.enter("address 8.8.8.8") for _ in range(2 * most)), "many people may come from there"
    quotas.leave("user 1")
    assert quotas.enter("user 1")
    for key in ["user 1"] * most + ["user 2"] + ["address 8.8.8.8"] * 2 * most:
        quotas.leave(key)
    assert not quotas._sockets


def test_one_address_does_not_take_all_seats(settings):
    settings.IMMORTUS_LIMITS = {"sockets_per_address": 3}
    assert [quotas.enter("address 8.8.8.8") for _ in range(4)] == [True, True, True, False]
    assert quotas.enter("user 1")
    assert all(quotas.enter(None) for _ in range(5)), "a proxy's visitors are many"
    for key in ["address 8.8.8.8"] * 3 + ["user 1"] + [None] * 5:
        quotas.leave(key)
    assert not quotas._sockets


def test_one_process_has_so_many_sockets(settings):
    settings.IMMORTUS_LIMITS = {"sockets": 2}
    assert [quotas.enter(None), quotas.enter("user 1"), quotas.enter("user 2")] == [True, True, False]
    quotas.leave(None)
    quotas.leave("user 1")
    assert not quotas._sockets


@pytest.mark.parametrize("visitors", [[None], ["session a", "session b"], ["address 8.8.8.8", None, "session a"]])
def test_visitors_in_any_number_leave_seats_to_people_who_are_logged_in(settings, visitors):
    settings.IMMORTUS_LIMITS = {"sockets": 100, "sockets_per_user": 2}
    seated = [visitors[n % len(visitors)] for n in range(500)]
    seated = [visitor for visitor in seated if quotas.enter(visitor)]
    assert len(seated) == 80
    users = [f"user {n}" for n in range(30)]
    users = [user for user in users if quotas.enter(user)]
    assert len(users) == 20
    assert not quotas.enter(None)
    quotas.leave("user 0")
    assert not quotas.enter(None), "it is kept for the next user"
    assert quotas.enter("user 31")
    for key in [*seated, *users[1:], "user 31"]:
        quotas.leave(key)
    assert not quotas._sockets


def test_people_who_are_logged_in_may_take_every_seat(settings):
    settings.IMMORTUS_LIMITS = {"sockets": 10}
    assert all(quotas.enter(f"user {n}") for n in range(10))
    for n in range(10):
        quotas.leave(f"user {n}")
    assert not quotas._sockets


def test_a_process_with_one_seat_has_it_for_whoever_comes_first(settings):
    settings.IMMORTUS_LIMITS = {"sockets": 1}
    assert [quotas.enter(None), quotas.enter("user 1")] == [True, False]
    quotas.leave(None)
