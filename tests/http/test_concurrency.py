"""Turns: so many requests are answered at a time, and all others after them."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth.models import User
from django.db import connection

from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.http import concurrency
from immortus_channels.http.concurrency import Turn, aside, turn
from tests.site import eventually


@pytest.fixture(autouse=True)
def _connections_may_be_asked(django_db_blocker):
    """A request asks the connection that an earlier test has left open whether it is usable."""
    with django_db_blocker.unblock():
        yield


@pytest.fixture(autouse=True)
def _two(settings):
    settings.IMMORTUS_LIMITS = {"requests_in_parallel": 2}


def taken():
    """How many requests are being answered."""
    place = concurrency._places.get("all")
    return place.held if place else 0


def test_no_more_are_answered_at_a_time_than_allowed_and_all_are_answered():
    lock, here, most = threading.Lock(), 0, 0

    def answer(number):
        nonlocal here, most
        with turn():
            with lock:
                here += 1
                most = max(most, here)
            time.sleep(0.005)
            with lock:
                here -= 1
        return number

    with ThreadPoolExecutor(20) as threads:
        assert list(threads.map(answer, range(60))) == list(range(60))
    assert most == 2


def test_whoever_waits_too_long_is_told_so(monkeypatch):
    monkeypatch.setattr(concurrency, "PATIENCE", 0.05)
    with turn(), turn(), pytest.raises(StoreUnavailable, match="answering 2 requests, and none has ended"):
        turn().__enter__()
    with turn(), turn():
        """There is room again."""


def test_an_answer_that_fails_gives_its_turn_back():
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), turn():
            raise ZeroDivisionError
    with turn(), turn():
        """Both are free."""


@pytest.mark.django_db(transaction=True)
def test_a_connection_of_the_turn_is_closed_with_it(monkeypatch):
    closed = []
    monkeypatch.setattr(connection, "close_if_unusable_or_obsolete", lambda: closed.append(taken()))
    with turn():
        connection.ensure_connection()
        assert closed == []
    assert closed == [1], "before another may begin"


def test_a_connection_that_cannot_be_closed_gives_the_turn_back(monkeypatch):
    def broken():
        raise OSError

    monkeypatch.setattr(concurrency, "_close_connections", broken)
    for _ in range(3):
        with pytest.raises(OSError), turn():  # noqa: PT011 - the one above
            """Answered."""
    assert taken() == 0


@pytest.mark.django_db
def test_the_connection_of_a_test_stays_open():
    with turn():
        User.objects.create_user("ada")
    assert User.objects.get().username == "ada"


def test_a_turn_that_is_left_aside_is_somebody_else_s_meanwhile():
    with turn(), turn():
        with aside():
            assert taken() == 1
            with turn():
                """There was room."""
        assert taken() == 2
    assert taken() == 0


def test_where_nobody_has_a_turn_there_is_none_to_leave():
    with aside():
        assert taken() == 0
    assert taken() == 0


def both_begin(threads, others):
    for _ in range(2):
        threads.submit(others)
    eventually(lambda: taken() == 2, within=5)


def test_a_request_that_finds_no_room_after_aside_gives_nothing_back_twice(monkeypatch):
    monkeypatch.setattr(concurrency, "PATIENCE", 0.05)
    done = threading.Event()

    def others():
        with turn():
            done.wait(5)

    with ThreadPoolExecutor(2) as threads:
        with pytest.raises(StoreUnavailable), turn(), aside():
            both_begin(threads, others)
        assert taken() == 2
        done.set()
    assert taken() == 0


def take_all(others, account):
    for other in others:
        other.take()
        other.charge(account)


def test_whoever_comes_back_waits_for_their_account_as_before(settings, monkeypatch):
    settings.IMMORTUS_LIMITS = {"requests_in_parallel": 4}
    monkeypatch.setattr(concurrency, "PATIENCE", 0.05)
    others = [Turn(), Turn()]
    with turn() as mine:
        mine.charge("user 1")
        with pytest.raises(StoreUnavailable), mine.aside():
            take_all(others, "user 1")
    for other in others:
        other.give_back()
    assert concurrency._places == {}


def test_an_error_aside_is_raised_with_the_turn_taken_again():
    with turn():
        with pytest.raises(ZeroDivisionError), aside():
            raise ZeroDivisionError
        assert taken() == 1


# Whose turn it is


@pytest.fixture
def sixteen(settings, monkeypatch):
    settings.IMMORTUS_LIMITS = {}
    monkeypatch.setattr(concurrency, "PATIENCE", 0.05)


@pytest.fixture
def hold():
    """Take a turn and hold it on an account until the test ends."""
    held = []

    def take(account):
        mine = Turn()
        held.append(mine)
        mine.take()
        mine.charge(account)
        return mine

    yield take
    for mine in held:
        mine.give_back()
    assert concurrency._places == {}


@pytest.mark.parametrize("account", ["user 1", "session abc", "address 8.8.8.8"])
def test_one_account_holds_half_of_the_turns_and_others_have_theirs(sixteen, hold, account):
    for _ in range(8):
        hold(account)
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match="answering 8 requests"):
            hold(account)
    assert taken() == 8, "who waits for their own account holds no turn"
    for other in ("user 2", "session def", "address 9.9.9.9", None, None, "user 2"):
        hold(other)


def test_visitors_leave_some_turns_to_people_who_are_logged_in(sixteen, hold):
    for number in range(13):
        hold(None if number % 2 else f"address 8.8.8.{number}")
    for account in (None, "session abc", "address 9.9.9.9"):
        with pytest.raises(StoreUnavailable, match="13 requests"):
            hold(account)
    for user in ("user 1", "user 1", "user 2"):
        hold(user)
    assert taken() == 16


def test_a_waiting_request_goes_on_as_soon_as_one_of_its_account_has_ended(sixteen, hold, monkeypatch):
    monkeypatch.setattr(concurrency, "PATIENCE", 5)
    first = [hold("user 1") for _ in range(8)]
    with ThreadPoolExecutor(4) as threads:
        waiting = [threads.submit(hold, "user 1") for _ in range(4)]
        time.sleep(0.05)
        assert not any(one.done() for one in waiting)
        for mine in first[:4]:
            mine.give_back()
        for one in waiting:
            one.result(timeout=2)
    assert taken() == 8


def test_where_one_request_is_answered_at_a_time_everybody_has_a_turn(settings, hold):
    settings.IMMORTUS_LIMITS = {"requests_in_parallel": 1}
    for account in ("user 1", None, "session abc"):
        hold(account).give_back()


def test_nobody_starves_and_no_turn_is_lost_among_many_of_many_accounts(settings):
    settings.IMMORTUS_LIMITS = {"requests_in_parallel": 4}
    lock, held, most = threading.Lock(), dict.fromkeys(("user 1", "user 2", "session a", None), 0), {}

    def answer(number):
        account = [*held][number % 4]
        with turn() as mine:
            mine.charge(account)
            with lock:
                held[account] += 1
                most[account] = max(most.get(account, 0), held[account])
            time.sleep(0.002)
            with lock:
                held[account] -= 1

    with ThreadPoolExecutor(40) as threads:
        list(threads.map(answer, range(400)))
    assert concurrency._places == {}
    assert most["user 1"] <= 2
    assert most["user 2"] <= 2
    assert most["session a"] <= 2
    assert most[None] <= 3
