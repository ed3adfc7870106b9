from __future__ import annotations

import asyncio
import threading

import pytest
from django.contrib.auth.models import AnonymousUser, Group, User
from django.utils.functional import SimpleLazyObject

from immortus_channels.jobs.owner import current_owner, named_by, owner_key, started_by, starting_as


class Named(User):
    """A proxy of the users' model."""

    class Meta:
        proxy = True
        app_label = "auth"


class TokenUser:
    """What some middleware makes of a signed token: no row, but the key of one."""

    pk = 17
    is_authenticated = True


@pytest.mark.parametrize(
    ("user", "key"),
    [
        (User(pk=17), "17"),
        (Named(pk=17), "17"),
        (SimpleLazyObject(lambda: User(pk=17)), "17"),
        (TokenUser(), "17"),
        (Group(pk=17), "auth.group:17"),
        (SimpleLazyObject(lambda: Group(pk=17)), "auth.group:17"),
        (AnonymousUser(), None),
        (None, None),
    ],
)
def test_a_key_is_the_primary_key_and_names_any_other_model_than_the_users(user, key):
    assert owner_key(user) == key
    with started_by(user):
        assert current_owner() == key


def test_where_the_users_are_of_another_model_the_keys_are_theirs(settings):
    settings.AUTH_USER_MODEL = "auth.Group"
    assert owner_key(Group(pk=17)) == "17"
    assert owner_key(User(pk=17)) == "auth.user:17"
    settings.AUTH_USER_MODEL = "gone.Nobody"
    assert owner_key(User(pk=17)) == "auth.user:17"


@pytest.mark.parametrize(
    ("key", "named"),
    [
        ("17", (User, "17")),
        ("auth.group:17", (Group, "17")),
        ("auth.group:a:b", (Group, "a:b")),
        ("urn:user:17", (User, "urn:user:17")),
        ("no.such:17", (User, "no.such:17")),
        (":17", (User, ":17")),
    ],
)
def test_a_key_leads_back_to_its_model(key, named):
    assert named_by(key) == named


def test_outside_every_request_a_job_belongs_to_nobody():
    assert current_owner() is None


def test_started_by_names_the_owner_by_primary_key_as_text():
    with started_by(User(pk=7)):
        assert current_owner() == "7"
    assert current_owner() is None


@pytest.mark.parametrize("nobody", [None, AnonymousUser()])
def test_started_by_nobody_means_nobody_also_inside_somebody(nobody):
    with started_by(User(pk=7)), started_by(nobody):
        assert current_owner() is None


@pytest.mark.parametrize("given", [7, "7", b"", User(), User(username="unsaved"), SimpleLazyObject(User)])
def test_what_is_no_saved_user_is_refused_rather_than_taken_for_nobody(given):
    with pytest.raises(TypeError, match="give the saved user itself"), started_by(given):
        pytest.fail("the block was entered")


def test_a_primary_key_of_zero_is_somebody():
    with started_by(User(pk=0)):
        assert current_owner() == "0"


def test_the_starter_is_asked_at_the_moment_of_sending():
    who = []
    with starting_as(lambda: who[-1] if who else None):
        assert current_owner() is None
        who.append("9")
        assert current_owner() == "9"


def test_an_error_inside_the_block_ends_it():
    with pytest.raises(RuntimeError), started_by(User(pk=7)):
        raise RuntimeError
    assert current_owner() is None


async def test_concurrent_requests_do_not_see_each_others_users():
    async def request(pk):
        with started_by(User(pk=pk)):
            await asyncio.sleep(0.01)
            return current_owner()

    assert await asyncio.gather(request(1), request(2)) == ["1", "2"]


def test_another_thread_starts_as_nobody():
    seen = []
    with started_by(User(pk=7)):
        thread = threading.Thread(target=lambda: seen.append(current_owner()))
        thread.start()
        thread.join()
    assert seen == [None]
