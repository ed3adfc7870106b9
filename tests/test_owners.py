from __future__ import annotations

import asyncio
import threading

import pytest
from django.contrib.auth.models import AnonymousUser, User

from immortus_channels.owners import current_owner, started_by, starting_as


def test_outside_every_request_a_job_belongs_to_nobody():
    assert current_owner() is None


def test_started_by_names_the_owner_by_primary_key_as_text():
    with started_by(User(pk=7)):
        assert current_owner() == "7"
    assert current_owner() is None


@pytest.mark.parametrize("nobody", [None, AnonymousUser(), User()])
def test_started_by_nobody_means_nobody_also_inside_somebody(nobody):
    with started_by(User(pk=7)), started_by(nobody):
        assert current_owner() is None


@pytest.mark.parametrize("key", [7, "7", b""])
def test_a_primary_key_alone_is_refused_rather_than_taken_for_nobody(key):
    with pytest.raises(TypeError, match="give the user itself"), started_by(key):
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
