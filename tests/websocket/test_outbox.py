"""What is sent on one socket: of each job the newest frame, notices first, and one reason to close."""

from __future__ import annotations

import asyncio
import json

import pytest

from immortus_channels.access.limits import Limits
from immortus_channels.websocket.outbox import Outbox, departures
from tests.pages import until


class Server:
    """Takes down what is sent."""

    def __init__(self):
        self.sent = []

    async def send(self, message):
        self.sent.append(message)

    @property
    def texts(self):
        return [message["text"] for message in self.sent if message["type"] == "websocket.send"]


@pytest.fixture
def server():
    return Server()


async def started(outbox, server):
    task = outbox.start(server.send)
    await until(lambda: server.sent)
    return task


async def ended(outbox, task):
    outbox.stop()
    task.cancel()
    await asyncio.wait({task})
    outbox.release()


async def test_the_newest_frame_of_a_job_takes_the_place_of_an_unsent_one(server):
    outbox = Outbox(Limits())
    outbox.tell("a", "old")
    outbox.tell("b", "other")
    outbox.tell("a", "new")
    outbox.notify("first")
    task = await started(outbox, server)
    await until(lambda: len(server.texts) == 4)
    assert json.loads(server.texts[0])["type"] == "hello"
    assert server.texts[1:] == ["first", "new", "other"]
    await ended(outbox, task)


async def test_a_withdrawn_frame_is_not_sent(server):
    outbox = Outbox(Limits())
    outbox.tell("a", "frame")
    assert outbox.withdraw("a")
    assert not outbox.withdraw("a")
    task = await started(outbox, server)
    outbox.tell("b", "other")
    await until(lambda: len(server.texts) == 2)
    assert server.texts[1:] == ["other"]
    await ended(outbox, task)


async def test_the_first_reason_to_close_counts_and_ends_the_sending(server):
    outbox = Outbox(Limits())
    task = await started(outbox, server)
    outbox.leave(4001, 1.5)
    outbox.close(4429)
    await asyncio.wait_for(task, 1)
    await outbox.say_goodbye(server.send)
    assert json.loads(server.texts[-1]) == {"type": "bye", "code": 4001, "after_ms": 1500}
    assert server.sent[-1] == {"type": "websocket.close", "code": 4001}
    outbox.stop()
    outbox.release()


async def test_nothing_is_said_to_a_client_that_has_gone(server):
    outbox = Outbox(Limits())
    outbox.has_gone = True
    outbox.close(4001)
    await outbox.say_goodbye(server.send)
    assert server.sent == []


def test_a_runtime_error_means_that_the_client_has_gone_only_once_it_has():
    assert RuntimeError in departures(has_gone=True)
    assert RuntimeError not in departures()
