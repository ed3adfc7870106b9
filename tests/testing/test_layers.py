"""A channel layer that misbehaves does so as it was told, and in the same way again with the same seed."""

# ruff: noqa: F811 - pytest's way of naming what a test needs

from __future__ import annotations

import asyncio
import time

import pytest
from channels.layers import get_channel_layer

from immortus_channels.testing import FaultyChannelLayer, LayerFaults
from tests.hubs import LAYERS, layer  # noqa: F401


async def received(layer, count, *, seconds=1.0):
    """What a member of a group gets of `count` messages, until it is quiet for `seconds`."""
    channel = await layer.new_channel()
    await layer.group_add("g", channel)
    await asyncio.sleep(0.1)  # pubsub does not wait for Redis to confirm
    for n in range(count):
        await layer.group_send("g", {"type": "n", "n": n})
    return await arrivals(layer, channel, seconds=seconds)


async def arrivals(layer, channel, *, seconds=1.0):
    got = []
    while True:
        try:
            message = await asyncio.wait_for(layer.receive(channel), seconds)
        except TimeoutError:
            return got
        got.append(message["n"])


async def test_without_faults_it_is_the_layer_it_wraps(layer):
    faulty = FaultyChannelLayer(layer)
    assert await received(faulty, 20, seconds=0.3) == list(range(20))
    assert faulty.extensions == layer.extensions
    assert faulty.counts["received"] == 20
    await faulty.flush()


async def test_it_is_made_by_settings_around_any_layer(settings, redis_server):
    backend, options = LAYERS["pubsub"]
    inner = {"BACKEND": backend, "CONFIG": {"hosts": [{"address": redis_server.url, **options}]}}
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "immortus_channels.testing.FaultyChannelLayer",
            "CONFIG": {"layer": inner, "seed": 3, "drop": 1},
        }
    }
    assert await received(get_channel_layer(), 5, seconds=0.3) == []


async def test_what_is_dropped_depends_on_the_seed_alone():
    first, again, other = [
        await received(FaultyChannelLayer(seed=seed, drop=0.3), 100, seconds=0.1) for seed in (1, 1, 2)
    ]
    assert first == again != other
    assert 50 < len(first) < 90
    assert first == sorted(first)


async def test_duplicates_arrive_as_often_as_asked():
    layer = FaultyChannelLayer(duplicate=2)
    assert sorted(await received(layer, 5, seconds=0.1)) == sorted(list(range(5)) * 3)
    assert layer.counts["duplicated"] == 10


async def test_within_the_window_messages_overtake_each_other_and_none_is_lost():
    first, again = [await received(FaultyChannelLayer(seed=5, reorder=10), 50, seconds=0.3) for _ in range(2)]
    assert first == again != sorted(first)
    assert sorted(first) == list(range(50))
    assert max(n - position for position, n in enumerate(first)) <= 10, "nobody overtakes more than the window"


async def test_delayed_messages_arrive_later_and_out_of_order():
    began = time.monotonic()
    got = await received(FaultyChannelLayer(seed=1, delay=0.4), 30, seconds=0.5)
    assert got != sorted(got)
    assert sorted(got) == list(range(30))
    assert time.monotonic() - began > 0.3


@pytest.mark.parametrize("call", ["group_send", "group_add", "new_channel", "receive"])
async def test_calls_fail_and_stall_as_chosen_until_the_faults_are_taken_away(call):
    layer = FaultyChannelLayer()
    channel = await layer.new_channel()
    make = {
        "group_send": lambda: layer.group_send("g", {"type": "n", "n": 1}),
        "group_add": lambda: layer.group_add("g", channel),
        "new_channel": layer.new_channel,
        "receive": lambda: layer.receive(channel),
    }[call]
    await layer.send(channel, {"type": "n", "n": 1})
    layer.faults = LayerFaults(fail=1, calls=(call,))
    with pytest.raises(ConnectionError, match=rf"{call}\(\) .*seed 0"):
        await make()
    layer.faults = LayerFaults(stall=1, calls=(call,))
    waiting = asyncio.ensure_future(make())
    await asyncio.sleep(0.1)
    assert not waiting.done()
    layer.faults = LayerFaults()
    await asyncio.wait_for(waiting, 1)
    assert layer.counts["failed"] == layer.counts["stalled"] == 1


async def test_calls_that_were_not_chosen_work():
    layer = FaultyChannelLayer(fail=1, calls=("group_add",))
    await layer.send(await layer.new_channel(), {"type": "n"})


async def test_a_reader_that_waits_fails_when_faults_come():
    layer = FaultyChannelLayer()
    channel = await layer.new_channel()
    waiting = asyncio.ensure_future(layer.receive(channel))
    await asyncio.sleep(0.05)
    layer.faults = LayerFaults(fail=1)
    with pytest.raises(ConnectionError):
        await asyncio.wait_for(waiting, 1)
