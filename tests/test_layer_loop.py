"""The event loop from which threads send: it runs all the time, and gives up what takes too long."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from immortus_channels import layer_loop
from immortus_channels.layer_loop import Late, LayerLoop


@pytest.fixture
def loop():
    loop = LayerLoop()
    yield loop
    loop.close()


async def answer(value):
    return value


async def refuse():
    raise ConnectionError


def test_a_thread_gets_what_a_coroutine_returns_or_raises(loop):
    assert loop.run(answer(7), 1) == 7
    with pytest.raises(ConnectionError):
        loop.run(refuse(), 1)


def test_what_was_begun_goes_on_between_two_calls(loop):
    """A layer answers its broker's heartbeats in a task of its own."""
    beats: list[float] = []
    tasks = []

    async def beat():
        while True:
            beats.append(time.monotonic())
            await asyncio.sleep(0.01)

    async def begin():
        tasks.append(asyncio.ensure_future(beat()))

    loop.run(begin(), 1)
    before = len(beats)
    time.sleep(0.2)
    assert len(beats) > before + 5


def test_a_loop_that_something_blocks_is_not_waited_for(loop):
    async def block():
        time.sleep(0.3)  # noqa: ASYNC251 - as a layer may that calls its driver without await

    began = time.monotonic()
    with pytest.raises(TimeoutError):
        loop.run(block(), 0.05)
    assert time.monotonic() - began < 0.25


def test_closing_cancels_what_runs_and_ends_the_thread():
    loop, cancelled = LayerLoop(), threading.Event()

    async def endless():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with pytest.raises(TimeoutError):
        loop.run(endless(), 0.02)
    loop.close()
    assert cancelled.is_set()
    assert not loop._thread.is_alive()
    loop.close()


def test_where_no_thread_can_be_started_nothing_stays_open(monkeypatch):
    def refused(self):
        msg = "can't start new thread"
        raise RuntimeError(msg)

    monkeypatch.setattr(threading.Thread, "start", refused)
    with pytest.raises(RuntimeError):
        LayerLoop()


def test_where_threads_are_greenlets_the_loop_runs_during_a_call_only(monkeypatch):
    monkeypatch.setattr(layer_loop, "is_green", lambda: True)
    loop = LayerLoop()
    assert loop.run(answer(7), 1) == 7
    assert not loop._loop.is_running()
    with pytest.raises(Late):
        loop.run(asyncio.sleep(10), 0.02)
    loop.close()
    assert loop._loop.is_closed()
