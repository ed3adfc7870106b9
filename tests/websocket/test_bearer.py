"""Tokens on a socket: found by their text, kept while something is watched by them."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser

from immortus_channels import access_token
from immortus_channels.access.tokens import TokenExpired
from immortus_channels.websocket.bearer import Bearer, Bearers
from tests.tokens import expired_token


class Socket:
    """Takes down what it is told."""

    def __init__(self):
        self.said = []

    def tell(self, job_id, frame):
        self.said.append(job_id)

    withdraw = tell

    def notify(self, frame):
        self.said.append(frame)

    def ended(self, job_id):
        self.said.append(job_id)

    def denied(self, job_id):
        self.said.append(job_id)

    def dismiss(self, bearer, is_expired):
        self.said.append(bearer)


def bearers_of(socket):
    return Bearers(lambda token: Bearer(token, socket, socket.notify, socket.dismiss))


TOKEN = access_token(["a", "b"], AnonymousUser(), life=3600)


async def test_one_token_is_one_watcher_for_all_its_jobs_and_none_for_others():
    bearers = bearers_of(Socket())
    found = bearers.find(TOKEN, "a")
    assert found is bearers.find(TOKEN, "b")
    assert bearers.find(TOKEN, "c") is None
    assert bearers.find(TOKEN + "x", "a") is None
    bearers.keep(())


async def test_an_expired_token_is_told_from_a_bad_one():
    bearers = bearers_of(Socket())
    with pytest.raises(TokenExpired):
        bearers.find(expired_token("a", AnonymousUser()), "a")


async def test_a_token_that_nothing_is_watched_by_is_forgotten():
    bearers = bearers_of(Socket())
    kept, other = bearers.find(TOKEN, "a"), bearers.find(access_token("c", AnonymousUser()), "c")
    bearers.keep([kept])
    assert list(bearers._known.values()) == [kept]
    assert all(timer.cancelled() for timer in other._timers)
    bearers.keep(())


async def test_its_user_is_read_only_when_asked(db):
    found = bearers_of(Socket()).find(TOKEN, "a")
    assert found.user is None
    assert found.still_logged_in()
    assert not found.user.is_authenticated
    found.forget()
