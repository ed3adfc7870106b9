"""Reading threads: few, claimed from the store, and never waited for too long."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import CancelledError

import pytest
from django.db import OperationalError

from immortus_channels.stores import get_store
from immortus_channels.websocket.hub import threads
from immortus_channels.websocket.hub.threads import Readers
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


async def test_where_no_thread_can_start_the_next_call_tries_again(monkeypatch):
    monkeypatch.setattr(Readers, "TIMEOUT", 0.05)
    start, refusals = threading.Thread.start, iter([True] * 6)

    def try_to(thread):
        if next(refusals, False):
            raise RuntimeError
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", try_to)
    readers = Readers()
    for _ in range(6):
        with pytest.raises(TimeoutError):
            await readers.run(int, 3)
    assert await readers.run(int, 3) == 3
    readers.close(wait=2)


async def test_a_connection_that_cannot_be_closed_ends_no_thread(monkeypatch):
    closings = iter([False, True, True])  # after the first call, and before the second

    def close():
        if next(closings, False):
            raise OperationalError

    monkeypatch.setattr(threads, "close_old_connections", close)
    readers = Readers(threads=1)
    for _ in range(2):
        with pytest.raises(OperationalError):
            await readers.run(int, 3)
    assert await readers.run(int, 3) == 3
    readers.close(wait=2)


@pytest.mark.parametrize("error", [SystemExit(), KeyboardInterrupt(), asyncio.CancelledError(), CancelledError()])
async def test_what_would_end_the_server_or_a_task_is_an_error_like_any_other(error):
    def end():
        raise error

    readers = Readers()
    with pytest.raises(RuntimeError, match=type(error).__name__):
        await readers.run(end)
    readers.close(wait=2)
