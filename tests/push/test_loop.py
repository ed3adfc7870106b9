"""The event loop from which threads send: it runs where they are, and what a call leaves running goes on by itself."""

from __future__ import annotations

import asyncio
import gc
import threading
import time

import pytest

from immortus_channels.push.loop import LayerLoop


@pytest.fixture
def loop():
    loop = LayerLoop()
    yield loop
    loop.close()


async def answer(value):
    return value


async def refuse():
    raise ConnectionError


async def where():
    return threading.current_thread()


class Slow:
    """A call that takes until it is told to end."""

    def __init__(self) -> None:
        self.may_end = threading.Event()
        self.is_cancelled = self.has_ended = False
        self.error: Exception | None = None

    async def call(self):
        try:
            while not self.may_end.is_set():  # noqa: ASYNC110 - set from another thread
                await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            self.is_cancelled = True
            raise
        self.has_ended = True
        if self.error is not None:
            raise self.error


@pytest.fixture
def slow():
    return Slow()


def soon(is_so):
    deadline = time.monotonic() + 5
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.005)
    return is_so()


def test_a_thread_gets_what_a_coroutine_returns_or_raises(loop):
    assert loop.run(answer(7), 1) == 7
    with pytest.raises(ConnectionError):
        loop.run(refuse(), 1)


def test_calls_that_leave_nothing_behind_need_no_thread(loop):
    threads = threading.active_count()
    assert [loop.run(where(), 1) for _ in range(3)] == [threading.current_thread()] * 3
    assert threading.active_count() == threads


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
    assert soon(lambda: len(beats) > 5)
    assert loop.run(where(), 1) is not threading.current_thread()
    with pytest.raises(ConnectionError):
        loop.run(refuse(), 1)
    before = len(beats)
    assert soon(lambda: len(beats) > before + 5)


def test_a_late_call_goes_on_and_the_loop_comes_back_once_it_has_ended(loop, slow):
    with pytest.raises(TimeoutError, match=r"within 0\.02 s"):
        loop.run(slow.call(), 0.02)
    assert loop.run(where(), 1).name == "immortus-layer"
    slow.may_end.set()
    assert soon(lambda: slow.has_ended and not loop._tasks)
    assert loop.run(where(), 1) is threading.current_thread()
    assert not slow.is_cancelled
    assert "immortus-layer" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("is_first", [True, False])
def test_what_fails_when_nobody_waits_any_more_is_nobody_s_business(loop, slow, caplog, is_first):
    slow.error = ConnectionError()
    earlier = Slow()
    for call in [slow] if is_first else [earlier, slow]:
        with pytest.raises(TimeoutError):
            loop.run(call.call(), 0.02)
    slow.may_end.set()
    earlier.may_end.set()
    assert soon(lambda: not loop._tasks)
    loop.run(answer(7), 1)
    gc.collect()
    assert not caplog.records


def test_a_timeout_of_the_layer_s_own_is_told_as_it_is(loop, slow):
    async def give_up():
        msg = "no connection"
        raise TimeoutError(msg)

    for _ in range(2):
        with pytest.raises(TimeoutError, match="no connection"):
            loop.run(give_up(), 1)
        with pytest.raises(TimeoutError, match="no answer"):
            loop.run(slow.call(), 0.02)  # so that there is a thread the second time


def test_a_loop_that_something_blocks_in_its_thread_is_not_waited_for(loop, slow):
    async def block():
        time.sleep(0.3)  # noqa: ASYNC251 - as a layer may that calls its driver without await

    with pytest.raises(TimeoutError):
        loop.run(slow.call(), 0.02)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        loop.run(block(), 0.05)
    assert time.monotonic() - began < 0.25


def test_a_loop_that_is_blocked_is_not_closed_and_the_closer_told_so(slow, monkeypatch):
    monkeypatch.setattr(LayerLoop, "GRACE", 0.05)
    blocked, loop = threading.Event(), LayerLoop()

    async def block():
        blocked.set()
        slow.may_end.wait(5)

    with pytest.raises(TimeoutError):
        loop.run(slow.call(), 0.02)
    with pytest.raises(TimeoutError):
        loop.run(block(), 0.05)
    assert blocked.wait(1)
    with pytest.raises(TimeoutError):
        loop.close()
    slow.may_end.set()
    assert soon(lambda: not loop._thread.is_alive())
    loop.close()
    assert loop._loop.is_closed()


def test_closing_cancels_what_runs_and_ends_the_thread(slow):
    loop = LayerLoop()
    with pytest.raises(TimeoutError):
        loop.run(slow.call(), 0.02)
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "immortus-layer")
    loop.close()
    assert slow.is_cancelled
    assert not thread.is_alive()
    assert loop._loop.is_closed()
    loop.close()


@pytest.mark.parametrize("why", ["no thread can be started", "threads are greenlets"])
def test_without_a_thread_what_is_late_goes_on_during_the_next_call(loop, slow, monkeypatch, why):
    def refused(self):
        raise RuntimeError(why)

    if why == "threads are greenlets":
        monkeypatch.setattr("immortus_channels.push.loop.is_green", lambda: True)
    else:
        monkeypatch.setattr(threading.Thread, "start", refused)
    with pytest.raises(TimeoutError):
        loop.run(slow.call(), 0.02)
    slow.may_end.set()
    time.sleep(0.02)
    assert not slow.has_ended
    assert loop.run(asyncio.sleep(0.02, 7), 1) == 7
    assert slow.has_ended
    assert loop.run(where(), 1) is threading.current_thread()


def test_a_call_that_ends_as_its_time_is_up_disturbs_no_later_one(loop):
    for _ in range(300):
        try:
            loop.run(asyncio.sleep(0.0005), 0.0005)
        except TimeoutError:
            continue
    assert loop.run(asyncio.sleep(0.02, 7), 1) == 7
