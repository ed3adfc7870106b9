"""Who asks over HTTP: a session, a token of ours, or nobody; another's token is another's affair."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser, User

from immortus_channels import access_token
from immortus_channels.access.tokens import TokenExpired
from immortus_channels.http.authentication import bearer_text, caller_of
from tests.tokens import expired_token

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice():
    return User.objects.create(username="alice", password="x")


def request(rf, user=None, token=None):
    made = rf.get("/", headers={"Authorization": token} if token is not None else {})
    made.user = user or AnonymousUser()
    return made


def test_without_a_token_it_is_whoever_is_logged_in(rf, alice):
    caller = caller_of(request(rf, alice))
    assert caller.user == alice
    assert caller.may_ask_for("anything")


def test_a_token_is_its_user_whatever_the_cookies_say(rf, alice):
    bob = User.objects.create(username="bob")
    caller = caller_of(request(rf, bob, f"Bearer {access_token('a', alice)}"))
    assert (caller.user, caller.account) == (alice, f"user {alice.pk}")
    assert caller.may_ask_for("a")
    assert not caller.may_ask_for("b")


def test_a_token_that_is_no_good_makes_whoever_is_logged_in_nobody(rf, alice):
    caller = caller_of(request(rf, alice, "Bearer immortus.forged"))
    assert not caller.user.is_authenticated
    assert not caller.may_ask_for("a")


def test_a_token_of_somebody_disabled_makes_them_nobody(rf, alice):
    token = access_token("a", alice)
    User.objects.update(is_active=False)
    assert not caller_of(request(rf, None, f"Bearer {token}")).may_ask_for("a")


def test_an_expired_token_is_told_from_a_bad_one(rf, alice):
    shown = request(rf, None, f"Bearer {expired_token('a', alice)}")
    with pytest.raises(TokenExpired):
        caller_of(shown)
    assert caller_of(shown, grace=25).user == alice


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer eyJhbGciOiJIUzI1NiJ9.e30.x", "Token immortus.x", "Basic immortus.x"]
)
def test_what_is_not_ours_is_left_to_the_project(rf, alice, header):
    assert bearer_text(request(rf, alice, header)) is None
    assert caller_of(request(rf, alice, header)).user == alice


@pytest.mark.parametrize("header", ["Bearer immortus.x", "bearer immortus.x", "BEARER   immortus.x "])
def test_the_scheme_is_read_as_the_rfc_says(rf, header):
    assert bearer_text(request(rf, None, header)) == "immortus.x"
