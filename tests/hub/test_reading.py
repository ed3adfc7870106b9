"""Reading threads: few, claimed from the store, and never waited for too long."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from immortus_channels.hub.reading import Readers
from immortus_channels.stores import get_store
from tests.hubs import memory  # noqa: F401

pytestmark = pytest.mark.usefixtures("memory")


async def test_reading_threads_are_claimed_and_given_back(monkeypatch):
    claimed, released = set(), set()
    store = get_store()
    monkeypatch.setattr(store, "claim_thread", lambda: claimed.add(threading.get_ident()))
    monkeypatch.setattr(store, "release_thread", lambda: released.add(threading.get_ident()))
    readers = Readers()
    used = await asyncio.gather(*(readers.run(lambda: (time.sleep(0.05), threading.get_ident())[1]) for _ in range(8)))
    readers.close(wait=2)
    assert set(used) <= claimed == released
    assert len(claimed) == Readers.THREADS


async def test_a_read_that_hangs_is_given_up(monkeypatch):
    monkeypatch.setattr(Readers, "TIMEOUT", 0.05)
    readers, go_on = Readers(), threading.Event()
    with pytest.raises(TimeoutError):
        await readers.run(go_on.wait, 5)
    go_on.set()
    readers.close(wait=2)


async def test_an_error_is_raised_where_it_was_asked_for():
    readers = Readers()
    with pytest.raises(ZeroDivisionError):
        await readers.run(lambda: 1 / 0)
    assert await readers.run(lambda: 1) == 1
    readers.close(wait=2)


async def test_what_was_given_up_before_it_began_is_never_done(monkeypatch):
    monkeypatch.setattr(Readers, "TIMEOUT", 0.05)
    readers, go_on, done = Readers(threads=1), threading.Event(), []
    calls = [readers.run(go_on.wait, 5), readers.run(done.append, 1)]
    assert [type(answer) for answer in await asyncio.gather(*calls, return_exceptions=True)] == [TimeoutError] * 2
    go_on.set()
    readers.close(wait=2)
    assert not done
