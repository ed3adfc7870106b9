"""Hanging up: what waits on a dead line fails, and the layer connects anew; others are left alone."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from django.utils.module_loading import import_string

from immortus_channels.push.calls import LayerCalls
from immortus_channels.push.connections import hang_up
from tests.hubs import LAYERS
from tests.pages import until
from tests.pipes import Pipe


@pytest.fixture(params=LAYERS)
async def far(request, redis_server):
    """A layer behind a pipe, without the time limits that the documents recommend."""
    async with Pipe(redis_server.port) as pipe:
        host = {"address": f"redis://127.0.0.1:{pipe.port}/0", "socket_timeout": None}
        yield import_string(LAYERS[request.param][0])(hosts=[host]), pipe


@pytest.mark.redis
async def test_a_call_that_waits_on_a_dead_line_is_freed_and_the_next_one_works(far, monkeypatch):
    monkeypatch.setattr(LayerCalls, "PATIENCE", 1.0)
    layer, pipe = far
    calls = LayerCalls(layer)
    channel = await calls.new_channel()
    await calls.group_add("a", channel)
    await calls.group_send("a", {"type": "heard"})
    pipe.silence()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.1):
            await calls.group_send("a", {"type": "lost"})
    await asyncio.sleep(0.5)
    assert calls.is_stuck, "no answer will ever come"
    await until(lambda: not calls.is_stuck)
    async with asyncio.timeout(5):
        await calls.group_send("a", {"type": "heard"})
    await layer.flush()


async def test_a_layer_of_another_kind_is_left_alone():
    class Other:
        """Has none of the attributes."""

    await hang_up(Other())
