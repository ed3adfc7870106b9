"""Logins: a socket knows its user, and notices when the login ends."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser, Group, User
from django.contrib.sessions.backends.db import SessionStore

from immortus_channels.websocket.login import Login, _warn

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice():
    return User.objects.create(username="alice")


@pytest.fixture
def session(client, alice):
    client.force_login(alice)
    session = client.session
    assert "_auth_user_id" in session, "loaded, as after Channels has looked for the user"
    return session


def test_nobody_in_scope_is_anonymous_and_the_cure_is_logged_once(caplog):
    _warn.cache_clear()
    assert not Login({}).user.is_authenticated
    assert not Login({"user": None}).user.is_authenticated
    assert caplog.text.count("AuthMiddlewareStack") == 1


def test_a_login_that_holds_gives_the_user_as_they_are_now(alice, session):
    login = Login({"user": alice, "session": session})
    User.objects.update(first_name="Alice")
    assert login.read_again().first_name == "Alice"


def test_an_anonymous_visitor_stays_one():
    visitor = AnonymousUser()
    assert Login({"user": visitor, "session": SessionStore()}).read_again() is visitor


@pytest.mark.parametrize("end", ["logout", "password", "disabled", "deleted", "somebody else"])
def test_a_login_that_ended_is_noticed(client, alice, session, end):
    login = Login({"user": alice, "session": session})
    if end == "logout":
        client.logout()
    elif end == "password":
        alice.set_password("new")
        alice.save()
    elif end == "disabled":
        User.objects.update(is_active=False)
    elif end == "deleted":
        User.objects.all().delete()
    else:
        bob = User.objects.create(username="bob")
        session["_auth_user_id"] = str(bob.pk)
        session["_auth_user_hash"] = bob.get_session_auth_hash()
        session.save()
    assert login.read_again() is None


def test_looking_changes_nothing_about_the_session(alice, session, settings):
    before = dict(session.items())
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = (
        [settings.SECRET_KEY],
        "a new key, long enough to be accepted by all",
    )
    login = Login({"user": alice, "session": session})
    assert login.read_again() == alice
    assert dict(SessionStore(session.session_key).items()) == before
    assert SessionStore(session.session_key).exists(session.session_key)


def test_a_user_found_without_a_session_is_read_by_key(alice):
    login = Login({"user": alice})
    assert login.read_again() == alice
    User.objects.update(is_active=False)
    assert login.read_again() is None


class Token:
    """A user of somebody's own making, in no table."""

    pk = 7
    is_authenticated = True
    is_active = True


def test_a_user_in_no_table_stays_as_they_are():
    user = Token()
    assert Login({"user": user}).read_again() is user


def test_a_user_of_another_model_is_never_taken_for_the_one_of_the_session(alice, session, monkeypatch):
    monkeypatch.setattr(Group, "is_authenticated", True, raising=False)
    customer = Group.objects.create(pk=alice.pk, name="customer")
    login = Login({"user": customer, "session": session})
    assert login.read_again() == customer
    Group.objects.all().delete()
    assert login.read_again() is None
