"""Access tokens: what they say is what was signed, for one purpose, for a while, and never more than their user may."""

from __future__ import annotations

import base64
import json
import time
import uuid

import pytest
from django.contrib.auth.models import AnonymousUser, Group, User
from django.core import signing
from hypothesis import given
from hypothesis import strategies as st

from immortus_channels import access_token
from immortus_channels.access import tokens
from immortus_channels.access.tokens import MAX_LENGTH, PREFIX, read
from tests.pages import Process, logged_in

OLD_KEY, NEW_KEY = "an old key, long enough to be accepted by all", "a new key, long enough to be accepted by all"


@pytest.fixture
def alice(db):
    return User.objects.create(username="alice", password="x")


def test_a_token_says_which_jobs_as_whom_and_until_when():
    before = time.time() - 0.001
    token = read(access_token(["a/b", "c"], logged_in("alice")))
    assert (token.jobs, token.user_key) == ({"a/b", "c"}, str(logged_in("alice").pk))
    assert before + 900 <= token.expires <= time.time() + 900.001
    assert before + 12 * 3600 <= token.ends <= time.time() + 12 * 3600 + 0.001
    assert not token.is_expired()


@pytest.mark.parametrize("job", ["a", Process("a"), type("Job", (), {"job_id": "a"})(), ["a"], ("a",), {"a"}])
def test_a_job_is_whatever_render_immortus_takes_or_several_of_these(job):
    assert read(access_token(job, AnonymousUser())).jobs == {"a"}


def test_ids_that_are_no_text_are_in_it_as_text():
    number = uuid.UUID(int=5)
    assert read(access_token([42, number], AnonymousUser())).jobs == {"42", str(number)}


@pytest.mark.parametrize("user", [None, 17, "alice", User(username="unsaved")])
def test_what_is_no_user_is_refused(user):
    with pytest.raises(TypeError, match="give request"):
        access_token("a", user)


def test_what_is_no_job_is_refused():
    with pytest.raises(TypeError):
        access_token(object(), AnonymousUser())


def test_more_jobs_than_fit_are_refused_with_what_to_do():
    with pytest.raises(ValueError, match="name fewer"):
        access_token([str(n) * 40 for n in range(100, 200)], AnonymousUser())


def test_a_token_fits_into_the_header_as_it_is():
    text = access_token(["a/b é", "c"], logged_in("alice"))
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/=")


def test_a_token_lives_as_long_as_asked_or_set_but_never_beyond_its_age(settings):
    def life(**options):
        return round(read(access_token("a", AnonymousUser(), **options)).expires - time.time())

    assert life(life=60) == 60
    settings.IMMORTUS_LIMITS = {"token_life": 30, "token_age": 100}
    assert (life(), life(life=1000)) == (30, 100)


def test_a_refreshed_token_ends_no_later_than_the_first_one_may(settings):
    settings.IMMORTUS_LIMITS = {"token_life": 30, "token_age": 40}
    token = read(access_token(["a", "b"], AnonymousUser()))
    fresh = token.successor(frozenset({"b", "c"}), AnonymousUser())
    assert (fresh.jobs, fresh.ends) == ({"b"}, token.ends)
    settings.IMMORTUS_LIMITS = {"token_life": 300, "token_age": 400}
    assert token.successor(frozenset("b"), AnonymousUser()).expires == token.ends


def test_a_token_ends(monkeypatch):
    token = read(access_token("a", AnonymousUser()))
    at = token.expires
    monkeypatch.setattr(tokens.time, "time", lambda: at + 10)
    assert token.is_expired()
    assert not token.is_expired(grace=25)


# Whose it is


def test_its_user_is_read_anew_with_each_use(alice):
    token = read(access_token("a", alice))
    assert token.user() == alice
    User.objects.update(first_name="Alice")
    assert token.user().first_name == "Alice"


def end_by_disabling(alice):
    User.objects.update(is_active=False)


def end_by_deleting(alice):
    alice.delete()


def end_by_another_password(alice):
    alice.password = "y"
    alice.save()


@pytest.mark.parametrize("end", [end_by_disabling, end_by_deleting, end_by_another_password])
def test_a_user_who_is_no_longer_who_they_were_is_nobody(alice, end):
    token = read(access_token("a", alice))
    end(alice)
    assert token.user() is None


def test_a_token_tells_users_of_two_models_with_the_same_number_apart(alice):
    group = Group.objects.create(pk=alice.pk, name="customers")
    token = read(access_token("a", group))
    assert token.user_key == f"auth.group:{alice.pk}"
    assert token.user() == group
    assert read(access_token("a", alice)).user() == alice
    group.delete()
    assert token.user() is None


def test_a_key_that_no_user_can_have_is_nobody(db):
    text = tokens.Token(user_key="alice", login="", jobs=frozenset("a"), expires=time.time() + 9, ends=time.time() + 9)
    assert text.user() is None


def test_an_anonymous_token_reads_no_user():
    assert not read(access_token("a", AnonymousUser())).user().is_authenticated


# What is none


def test_a_key_that_was_changed_still_counts_while_it_is_named(alice, settings):
    settings.SECRET_KEY = OLD_KEY
    text = access_token("a", alice)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = NEW_KEY, [OLD_KEY]
    assert read(text).user() == alice
    settings.SECRET_KEY_FALLBACKS = []
    assert read(text) is None


def test_every_flipped_bit_is_noticed():
    text = access_token("a", logged_in("alice"))
    for at in range(len(text)):
        for bit in range(7):
            changed = text[:at] + chr(ord(text[at]) ^ 1 << bit) + text[at + 1 :]
            assert read(changed) is None or read(changed) == read(text), "base64 has more than one spelling"


def payload(text):
    return text.removeprefix(PREFIX).rpartition(".")[0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        PREFIX,
        PREFIX + ".",
        PREFIX + "e30.",
        PREFIX + "." * 4000,
        PREFIX + "x" * 10_000,
        PREFIX + base64.urlsafe_b64encode(json.dumps({"alg": "none"}).encode()).decode() + "..",
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.",
        "é" * 100,
        PREFIX + "\udc80.x",
    ],
)
def test_what_was_never_signed_is_none(text):
    assert read(text) is None


def test_what_was_signed_for_another_purpose_is_none():
    told = ["1", "", ["a"], time.time() + 900, time.time() + 900]
    others = [
        signing.Signer(sep=".").sign_object(told),
        signing.Signer(salt="django.contrib.sessions", sep=".").sign_object(told),
        signing.dumps(told, salt=tokens._SALT),
        signing.dumps(told),
    ]
    assert [read(PREFIX + other) for other in others] == [None] * 4


def test_a_payload_without_its_signature_or_with_anothers_is_none():
    mine, theirs = (access_token("a", logged_in(name)) for name in ("alice", "bob"))
    assert read(PREFIX + payload(theirs)) is None
    assert read(PREFIX + payload(theirs) + "." + mine.rpartition(".")[2]) is None


@given(st.text())
def test_no_text_raises(text):
    assert read(text) is None
    assert read(PREFIX + text) is None


def test_a_bad_token_costs_little():
    texts = [PREFIX + "x" * 10_000, PREFIX + "x" * (MAX_LENGTH - len(PREFIX)), access_token("a", AnonymousUser())[:-1]]
    for text in texts:
        began = time.process_time()
        for _ in range(100):
            assert read(text) is None
        assert (time.process_time() - began) / 100 < 0.001


@pytest.mark.parametrize(
    ("life", "error"),
    [(-5, ValueError), (0, ValueError), (float("nan"), ValueError), ("60", TypeError), (True, TypeError)],
)
def test_a_life_that_is_none_is_refused(life, error):
    with pytest.raises(error, match=f"life={life!r}: give seconds above 0"):
        access_token("j", AnonymousUser(), life=life)


@pytest.mark.parametrize("jobs", [[], (), set()])
def test_a_token_for_no_job_is_refused(jobs):
    with pytest.raises(ValueError, match="at least one job"):
        access_token(jobs, AnonymousUser())
