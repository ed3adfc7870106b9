"""Turns: so many requests are answered at a time, and all others after them."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth.models import User
from django.db import connection

from immortus_channels import turns
from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.turns import aside, turn
from tests.site import eventually


@pytest.fixture(autouse=True)
def _two(settings):
    settings.IMMORTUS_LIMITS = {"requests_in_parallel": 2}


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
    monkeypatch.setattr(turns, "PATIENCE", 0.05)
    with turn(), turn(), pytest.raises(StoreUnavailable, match="2 requests are being answered, and none has ended"):
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
    monkeypatch.setattr(connection, "close_if_unusable_or_obsolete", lambda: closed.append(turns._taken))
    with turn():
        connection.ensure_connection()
        assert closed == []
    assert closed == [1], "before another may begin"


def test_a_connection_that_cannot_be_closed_gives_the_turn_back(monkeypatch):
    def broken():
        raise OSError

    monkeypatch.setattr(turns, "_close_connections", broken)
    for _ in range(3):
        with pytest.raises(OSError), turn():  # noqa: PT011 - the one above
            """Answered."""
    assert turns._taken == 0


@pytest.mark.django_db
def test_the_connection_of_a_test_stays_open():
    with turn():
        User.objects.create_user("ada")
    assert User.objects.get().username == "ada"


def test_a_turn_that_is_left_aside_is_somebody_else_s_meanwhile():
    with turn(), turn():
        with aside():
            assert turns._taken == 1
            with turn():
                """There was room."""
        assert turns._taken == 2
    assert turns._taken == 0


def test_where_nobody_has_a_turn_there_is_none_to_leave():
    with aside():
        assert turns._taken == 0
    assert turns._taken == 0


def both_begin(threads, others):
    for _ in range(2):
        threads.submit(others)
    eventually(lambda: turns._taken == 2, within=5)


def test_whoever_finds_no_room_any_more_after_it_is_told_so_and_gives_nothing_back_twice(monkeypatch):
    monkeypatch.setattr(turns, "PATIENCE", 0.05)
    done = threading.Event()

    def others():
        with turn():
            done.wait(5)

    with ThreadPoolExecutor(2) as threads:
        with pytest.raises(StoreUnavailable), turn(), aside():
            both_begin(threads, others)
        assert turns._taken == 2
        done.set()
    assert turns._taken == 0


def test_an_error_aside_is_raised_with_the_turn_taken_again():
    with turn():
        with pytest.raises(ZeroDivisionError), aside():
            raise ZeroDivisionError
        assert turns._taken == 1
