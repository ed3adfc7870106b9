"""Calls into a channel layer: one of this process waits there at most, and none is cancelled for being late."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import time

import pytest

from immortus_channels.jobs.job import Job, State
from immortus_channels.push.broadcaster import Broadcaster
from immortus_channels.push.calls import Bulkhead, LayerCalls
from immortus_channels.push.layer import group_name
from immortus_channels.websocket.hub.leaving import Leaving
from immortus_channels.websocket.hub.probe import Probe
from immortus_channels.websocket.hub.subscription import Subscription
from tests.pages import until

JOB = Job(job_id="a", job_class="shop.paint", version=7, event="job_started", state=State.RUNNING)


class Shared:
    """A layer whose calls wait for one connection, which ends for all when one that waits is cancelled."""

    def __init__(self) -> None:
        self.is_connected = True
        self.has_ended = False
        self.waiting = self.most = 0
        self.taken: list[str] = []

    async def new_channel(self):
        await self._connection("new_channel")
        return "channel"

    async def group_add(self, group, channel):
        await self._connection(f"add {group}")

    async def group_discard(self, group, channel):
        await self._connection(f"discard {group}")

    async def group_send(self, group, message):
        await self._connection(f"send {group}")

    async def receive(self, channel):
        await asyncio.Event().wait()

    async def _connection(self, call: str) -> None:
        if self.has_ended:
            raise asyncio.CancelledError
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        try:
            while not self.is_connected:  # noqa: ASYNC110 - set from any thread
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            self.has_ended = True
            raise
        finally:
            self.waiting -= 1
        self.taken.append(call)


@pytest.fixture
def shared():
    return Shared()


@pytest.fixture
def _hasty(monkeypatch):
    monkeypatch.setattr(Subscription, "TIMEOUT", 0.05)
    monkeypatch.setattr(Leaving, "TIMEOUT", 0.05)
    monkeypatch.setattr(Probe, "INTERVAL", 0.1)
    monkeypatch.setattr(Probe, "TIMEOUT", 0.1)
    monkeypatch.setattr(Broadcaster, "TIMEOUT", 0.1)
    monkeypatch.setattr(Bulkhead, "LATE", 0.03)


@pytest.mark.usefixtures("_hasty")
async def test_a_call_whose_time_is_up_goes_on_in_the_layer(shared):
    calls = LayerCalls(shared)
    shared.is_connected = False
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await calls.group_add("a", "channel")
    assert calls.is_stuck
    assert shared.waiting == 1
    shared.is_connected = True
    await until(lambda: shared.taken == ["add a"])
    await until(lambda: not calls.is_stuck)
    assert not shared.has_ended


async def test_the_next_call_waits_until_the_one_that_is_late_has_ended(shared):
    calls = LayerCalls(shared)
    shared.is_connected = False
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.05):
            await calls.group_add("late", "channel")
    others = [asyncio.ensure_future(LayerCalls(shared).group_add(str(number), "channel")) for number in range(3)]
    await asyncio.sleep(0.05)
    assert shared.waiting == 1
    others[0].cancel()
    shared.is_connected = True
    await asyncio.wait(others)
    assert shared.most == 1
    assert shared.taken == ["add late", "add 1", "add 2"]


async def test_a_call_that_fails_makes_way_and_raises_to_its_caller_alone(shared, monkeypatch):
    async def refused(group, channel):
        raise ConnectionError

    calls = LayerCalls(shared)
    monkeypatch.setattr(shared, "group_add", refused)
    with pytest.raises(ConnectionError):
        await calls.group_add("a", "channel")
    await calls.group_discard("a", "channel")
    assert shared.taken == ["discard a"]


@pytest.mark.usefixtures("_hasty")
async def test_what_fails_after_its_caller_has_left_is_nobody_s_business(shared, monkeypatch, caplog):
    failing = asyncio.Event()

    async def late(group, channel):
        await failing.wait()
        raise ConnectionError

    monkeypatch.setattr(shared, "group_add", late)
    calls = LayerCalls(shared)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.02):
            await calls.group_add("a", "channel")
    failing.set()
    await until(lambda: not calls.is_stuck)
    assert caplog.records == []


def test_an_event_loop_that_was_closed_has_nobody_inside_any_more(monkeypatch):
    """Its task ignored that it was cancelled, as a layer's may."""

    async def stubborn(group, channel):
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(10)

    async def give_up():
        async with asyncio.timeout(0.02):
            await LayerCalls(layer).group_add("a", "channel")

    layer, loop = Shared(), asyncio.new_event_loop()
    layer.group_add = stubborn
    with pytest.raises(TimeoutError):
        loop.run_until_complete(give_up())
    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False
    monkeypatch.setattr(Bulkhead, "LATE", 0.0)
    assert LayerCalls(layer).is_stuck
    loop.close()
    assert not LayerCalls(layer).is_stuck
    asyncio.run(LayerCalls(layer).send_in_this_task("a", {}))
    assert layer.taken == ["send a"]


@pytest.mark.fault("L1")
@pytest.mark.usefixtures("_hasty")
async def test_a_process_makes_one_call_at_a_time_to_a_lost_layer_and_recovers(shared, monkeypatch):
    monkeypatch.setattr("immortus_channels.push.layer.get_channel_layer", lambda alias: shared)
    hub = Subscription(lambda push: None, lambda revocation: None)
    running = asyncio.create_task(hub.run())
    hub.join("before")
    await until(lambda: hub.joined or "send" in str(shared.taken))
    shared.most, shared.is_connected = 0, False
    broadcasters = [Broadcaster() for _ in range(3)]
    ends = [asyncio.create_task(asyncio.to_thread(keep_sending, one, 1.5)) for one in broadcasters]
    for number in range(20):
        hub.join(f"{number}")
        await asyncio.sleep(0.05)
    await asyncio.wait(ends)
    assert shared.most == 1
    assert not shared.has_ended
    shared.taken.clear()
    shared.is_connected = True
    joined = {f"add {group_name(str(number))}" for number in range(20)}
    await until(lambda: joined <= set(shared.taken), within=10)
    await asyncio.to_thread(keep_sending, broadcasters[0], 0.1)
    assert f"send {group_name('a')}" in shared.taken
    running.cancel()
    await asyncio.wait({running})
    for broadcaster in broadcasters:
        await asyncio.to_thread(broadcaster.close)


def keep_sending(broadcaster, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        broadcaster.send_to_group(group_name("a"), {"type": "x"})
        time.sleep(0.01)


@pytest.mark.fault("L1")
def test_while_a_call_waits_sends_count_as_failed_at_once(shared, monkeypatch):
    monkeypatch.setattr("immortus_channels.push.layer.get_channel_layer", lambda alias: shared)
    one, other = Broadcaster(), Broadcaster()
    shared.is_connected = False
    assert not one.send_to_group("a", {})
    began = time.monotonic()
    for broadcaster in (one, other) * 5:
        assert not broadcaster.send_to_group("a", {})
    assert time.monotonic() - began < Broadcaster.TIMEOUT / 2
    assert shared.most == 1
    shared.is_connected = True
    deadline = time.monotonic() + 5
    while not other.send_to_group("a", {}) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert one.send_to_group("a", {})
    assert not shared.has_ended
    one.close()
    other.close()


def test_calls_of_many_threads_take_turns(shared, monkeypatch):
    monkeypatch.setattr("immortus_channels.push.layer.get_channel_layer", lambda alias: shared)

    def send():
        broadcaster = Broadcaster()
        for _ in range(50):
            assert broadcaster.send_to_group("a", {})
        broadcaster.close()

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(shared.taken) == 200
    assert shared.most == 1


class Gap:
    """A lock that does something once when it has been given back."""

    def __init__(self, lock, then):
        self._lock, self._then = lock, [then]

    def __enter__(self):
        self._lock.acquire()

    def __exit__(self, *_):
        self._lock.release()
        if self._then:
            self._then.pop()()


async def test_who_waits_is_woken_although_another_came_when_the_one_inside_left():
    bulkhead, over, asked = Bulkhead(), asyncio.Event(), []

    async def ask():
        asked.append(threading.current_thread())

    def come_between():
        thread = threading.Thread(target=asyncio.run, args=[bulkhead.pass_through(ask)])
        thread.start()
        thread.join(5)

    inside = asyncio.create_task(bulkhead.pass_through(over.wait))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(bulkhead.pass_through(ask))
    await asyncio.sleep(0)
    bulkhead._lock = Gap(bulkhead._lock, come_between)
    over.set()
    async with asyncio.timeout(2):
        await asyncio.gather(inside, waiting)
    assert len(set(asked)) == 2


def test_one_whose_loop_was_closed_lets_nobody_else_out_when_it_goes():
    bulkhead, loop = Bulkhead(), asyncio.new_event_loop()

    async def endless():
        await asyncio.Event().wait()

    async def outlast():
        nonlocal first
        first._log_destroy_pending = False
        first = None
        gc.collect()
        assert bulkhead.inside is asyncio.current_task()

    first = loop.create_task(bulkhead.pass_through(endless))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    asyncio.run(bulkhead.pass_through(outlast))
    assert bulkhead.inside is None


async def test_who_stops_waiting_for_a_turn_is_not_asked_for(shared):
    calls = LayerCalls(shared)
    shared.is_connected = False
    ahead = asyncio.create_task(calls.group_add("ahead", "channel"))
    await until(lambda: shared.waiting)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.02):
            await calls.group_add("gone", "channel")
    shared.is_connected = True
    await ahead
    await calls.group_add("behind", "channel")
    assert shared.taken == ["add ahead", "add behind"]


async def test_a_line_that_is_dead_without_a_word_is_hung_up_when_patience_ends(shared, monkeypatch):
    monkeypatch.setattr(LayerCalls, "PATIENCE", 0.05)
    hung_up = []

    async def hang_up(self):
        hung_up.append(self)

    monkeypatch.setattr(LayerCalls, "hang_up", hang_up)
    calls = LayerCalls(shared)
    shared.is_connected = False
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.02):
            await calls.group_add("a", "channel")
    assert not hung_up
    await until(lambda: hung_up, within=1)
    shared.is_connected = True
    await until(lambda: not calls.is_stuck)
