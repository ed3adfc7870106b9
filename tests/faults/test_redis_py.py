"""Releases of redis-py differ in how long they wait; idle sockets must outlive them all."""

from __future__ import annotations

import asyncio

import pytest
import redis as redis_py

from tests.faults.world import LAYERS, layer_config, make_layer

pytestmark = [pytest.mark.redis, pytest.mark.slow]


async def heard_after(seconds, config):
    """What a member that has heard nothing for so long hears then."""
    layer = make_layer(config)
    channel = await layer.new_channel()
    await layer.group_add("g", channel)
    listening = asyncio.ensure_future(layer.receive(channel))
    await asyncio.sleep(seconds)
    if listening.done():
        return listening.exception()
    await layer.group_send("g", {"type": "heard"})
    return await asyncio.wait_for(listening, 5)


@pytest.mark.fault("D8")
@pytest.mark.parametrize("seconds", [6.5, pytest.param(60, marks=pytest.mark.soak)])
async def test_an_idle_member_of_a_documented_layer_hears_the_first_message(seconds, redis_server):
    documented = [layer_config(kind, redis_server.url) for kind in LAYERS]
    bare = {"BACKEND": documented[1]["BACKEND"], "CONFIG": {"hosts": [redis_server.url]}}
    *heard, without = await asyncio.gather(*(heard_after(seconds, config) for config in (*documented, bare)))
    assert heard == [{"type": "heard"}] * 2
    gives_up = int(redis_py.__version__.partition(".")[0]) >= 8
    assert isinstance(without, redis_py.TimeoutError) == gives_up, "system check W003 is about this"
