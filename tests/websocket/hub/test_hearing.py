"""What is known of hearing: `ok` is said of what was heard, and deafness for good is told with its cure."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from immortus_channels.websocket.hub.hearing import Hearing
from immortus_channels.websocket.hub.probe import Deaf

RESTART = "restart this process"


async def test_before_the_first_message_nothing_was_heard():
    hearing = Hearing()
    assert not hearing.has_heard()
    hearing.heard(push=False)
    assert hearing.has_heard()
    assert not hearing.is_failing


def test_a_thread_waits_a_moment_for_the_first_message():
    hearing = Hearing()
    threading.Timer(0.1, hearing.heard, kwargs={"push": False}).start()
    began = time.monotonic()
    assert hearing.has_heard()
    assert time.monotonic() - began < Hearing.FIRST / 2


async def test_a_change_that_should_have_been_heard_fails_it_until_a_push_is():
    hearing = Hearing()
    hearing.heard(push=False)
    hearing.missed()
    assert hearing.is_failing
    hearing.heard(push=False)
    assert hearing.is_failing, "what this process sends itself says nothing of the others"
    hearing.heard(push=True)
    assert not hearing.is_failing


@pytest.mark.fault("L2")
async def test_a_layer_that_never_hears_again_is_told_once_with_what_to_do(caplog):
    hearing = Hearing()
    for _ in range(20):
        hearing.failed(Deaf("nothing arrived"))
    assert caplog.text.count(RESTART) == 1
    hearing.heard(push=False)
    for _ in range(Hearing.FOR_GOOD):
        hearing.failed(Deaf("nothing arrived"))
        await asyncio.sleep(0)


@pytest.mark.parametrize("error", [ConnectionError("refused"), TimeoutError("not even sent")])
def test_a_layer_that_is_away_is_not_told_to_be_deaf_for_good(caplog, error):
    hearing = Hearing()
    for _ in range(20):
        hearing.failed(error)
    assert RESTART not in caplog.text
    hearing.heard(push=False)
    assert "works again" in caplog.text
