"""One deadline that moves: it rings when the last one set has come, and the loop's timers stay few."""

from __future__ import annotations

import asyncio

import pytest

from immortus_channels.websocket.deadline import Alarm


class Clock(asyncio.SelectorEventLoop):
    """A loop whose time stands still until a test moves it, and whose timers are counted."""

    def __init__(self):
        self.now, self.timers = 0.0, []
        super().__init__()

    def time(self):
        return self.now

    def call_at(self, when, callback, *args, context=None):
        self.timers.append(when)
        return super().call_at(when, callback, *args, context=context)

    def pass_to(self, now):
        self.now = now
        for _ in range(3):
            self.call_soon(self.stop)
            self.run_forever()


@pytest.fixture
def clock():
    loop = Clock()
    yield loop
    loop.close()


@pytest.fixture
def rung():
    return []


@pytest.fixture
def alarm(clock, rung):
    async def make():
        return Alarm(lambda: rung.append(clock.now))

    return clock.run_until_complete(make())


def test_it_rings_once_when_its_time_has_come(clock, alarm, rung):
    alarm.set(2)
    clock.pass_to(1.9)
    assert rung == []
    clock.pass_to(2)
    clock.pass_to(30)
    assert rung == [2]


def test_a_time_that_moves_on_rings_at_the_last_one_set(clock, alarm, rung):
    for at in range(2, 12):
        alarm.set(at)
    for now in range(20):
        clock.pass_to(now)
    assert rung == [11]


def test_moving_the_time_on_takes_no_timer(clock, alarm):
    for at in range(10, 1010):
        alarm.set(at)
    assert clock.timers == [10]


def test_an_earlier_time_rings_earlier_and_not_again(clock, alarm, rung):
    alarm.set(10)
    alarm.set(3)
    clock.pass_to(3)
    clock.pass_to(10)
    assert rung == [3]


def test_it_can_be_set_again_after_it_rang(clock, alarm, rung):
    alarm.set(1)
    clock.pass_to(1)
    alarm.set(2)
    clock.pass_to(2)
    assert rung == [1, 2]


def test_a_stopped_alarm_is_silent_and_leaves_no_timer(clock, alarm, rung):
    alarm.set(1)
    alarm.stop()
    alarm.stop()
    clock.pass_to(5)
    assert rung == []
    alarm.set(6)
    clock.pass_to(6)
    assert rung == [6]
