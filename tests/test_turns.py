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
from immortus_channels.turns import turn


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
