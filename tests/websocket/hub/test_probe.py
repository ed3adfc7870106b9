"""A layer that has gone deaf without an error is found out, and heard again; until then the re-check feeds pages."""

# ruff: noqa: F811 - pytest's way of naming what a test needs

from __future__ import annotations

import asyncio
import time

import pytest
import redis

from immortus_channels import metrics
from immortus_channels.push.layer import group_name, shared_layer
from immortus_channels.websocket.hub.probe import Probe
from immortus_channels.websocket.hub.recheck import Recheck
from tests.hubs import LAYERS, hub, joined, layer, memory, send_elsewhere  # noqa: F401
from tests.pages import Page, Process, until
from tests.pipes import Pipe

pytestmark = pytest.mark.usefixtures("memory")


@pytest.fixture
def _hasty(monkeypatch):
    monkeypatch.setattr(Probe, "INTERVAL", 0.1)
    monkeypatch.setattr(Probe, "TIMEOUT", 1.0)


@pytest.fixture
async def pipe(settings, redis_server):
    """The pubsub layer through a pipe."""
    async with Pipe(redis_server.port) as pipe:
        backend, options = LAYERS["pubsub"]
        hosts = {"hosts": [{"address": f"redis://127.0.0.1:{pipe.port}/0", **options}]}
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, "CONFIG": hosts}}
        yield pipe


@pytest.fixture
def deaf(settings):
    settings.CHANNEL_LAYERS = {
        "default": {"BACKEND": "immortus_channels.testing.FaultyChannelLayer", "CONFIG": {"drop": 1}}
    }


async def watched(hub):
    job, page = Process(), Page()
    job.enqueued()
    await hub.watch(page, job.job_id)
    await joined(hub, job)
    return job, page


async def is_pushed(page, job):
    """Whether the change of a job arrives by a push, and not by the re-check."""
    healed, told = metrics.PUSHES_HEALED.read(), len(page.frames)
    await asyncio.to_thread(send_elsewhere, job)
    await until(lambda: len(page.frames) > told)
    return metrics.PUSHES_HEALED.read() == healed


async def silenced(pipe, hub, job):
    """Let the pipe go silent, and wait until that is found out: the job's group is not joined any more, or again."""
    before, joined_at = metrics.PROBE_TIMEOUTS.read(), hub.subscription.joined[job.job_id]
    pipe.silence()
    await until(lambda: hub.subscription.joined.get(job.job_id) != joined_at)
    assert metrics.PROBE_TIMEOUTS.read() > before


@pytest.mark.fault("D3")
@pytest.mark.usefixtures("_hasty")
async def test_a_silent_subscription_is_replaced_and_pushes_come_again(pipe, hub):
    job, page = await watched(hub)
    await silenced(pipe, hub, job)
    job.started(push=False)
    await until(lambda: len(page.frames) == 2)  # deaf, so it is re-checked at the short interval
    await joined(hub, job)
    assert await is_pushed(page, job.reported(1, push=False))


@pytest.mark.fault("D3", twin=True)
async def test_without_the_probe_a_silent_subscription_starves_until_the_recheck(pipe, hub, settings, monkeypatch):
    monkeypatch.setattr(Probe, "INTERVAL", 600)
    job, page = await watched(hub)
    pipe.silence()
    await asyncio.to_thread(send_elsewhere, job.started(push=False))
    with pytest.raises(TimeoutError):
        await until(lambda: len(page.frames) == 2, within=4 * Recheck.SHORT)
    assert hub.subscription.joined.get(job.job_id), "nothing looks wrong"
    settings.IMMORTUS_RECHECK_INTERVAL = 0.5
    hub.recheck._all_due_at = 0
    await until(lambda: len(page.frames) == 2)
    assert metrics.PUSHES_HEALED.read() == 1


@pytest.mark.usefixtures("_hasty")
async def test_other_consumers_of_the_process_hear_again_too(pipe, hub):
    layer = shared_layer()
    channel = await layer.new_channel()
    await layer.group_add("somebody.else", channel)
    hearing = asyncio.create_task(layer.receive(channel))
    job, _ = await watched(hub)
    await silenced(pipe, hub, job)
    while not hearing.done():  # channels_redis waits a second after an error
        await layer.group_send("somebody.else", {"type": "hello"})
        await asyncio.wait({hearing}, timeout=0.1)
    assert hearing.result()["type"] == "hello"


@pytest.mark.usefixtures("_hasty")
async def test_groups_that_went_with_the_data_of_redis_are_joined_again(layer, hub, redis_server):
    job, page = await watched(hub)
    joined_at = hub.subscription.joined.get(job.job_id)
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    if type(layer).__name__ == "RedisChannelLayer":
        await until(lambda: (hub.subscription.joined.get(job.job_id) or joined_at) > joined_at)
    await joined(hub, job)
    assert await is_pushed(page, job.started(push=False))


@pytest.mark.usefixtures("_hasty")
async def test_a_layer_that_works_is_left_alone(layer, hub, monkeypatch):
    job, _ = await watched(hub)
    joined_at, before = hub.subscription.joined.get(job.job_id), metrics.PROBE_TIMEOUTS.read()
    hears, heard = Probe.hears, []
    monkeypatch.setattr(Probe, "hears", lambda self, message: hears(self, message) and (heard.append(message) or True))
    await until(lambda: len(heard) >= 5)
    assert hub.subscription.joined.get(job.job_id) == joined_at
    assert metrics.PROBE_TIMEOUTS.read() == before


@pytest.mark.usefixtures("_hasty")
async def test_deafness_is_told_once_and_so_is_its_end(pipe, hub, caplog):
    job, _ = await watched(hub)
    await silenced(pipe, hub, job)
    await joined(hub, job)
    ours = [record for record in caplog.records if record.name == "immortus_channels"]
    assert [record.message.split(" (")[0] for record in ours] == [
        "Listening to the channel layer fails",
        "Listening to the channel layer works again.",
    ]


@pytest.mark.usefixtures("_hasty")
async def test_a_layer_that_delivers_nothing_is_asked_repeatedly_and_logged_once(deaf, hub, caplog):
    before = metrics.PROBE_TIMEOUTS.read()
    job, page = Process(), Page()
    job.enqueued()
    await hub.watch(page, job.job_id)
    await until(lambda: metrics.PROBE_TIMEOUTS.read() >= before + 2)
    job.started(push=False)
    await until(lambda: len(page.frames) == 2)
    assert len([record for record in caplog.records if record.name == "immortus_channels"]) == 1


async def test_where_no_layer_is_shared_nothing_is_probed(hub, monkeypatch):
    asked = []
    monkeypatch.setattr(Probe, "run", lambda self, layer, channel: asked.append(layer))
    job, page = Process(), Page()
    job.enqueued()
    await hub.watch(page, job.job_id)
    await asyncio.sleep(0.1)
    assert asked == []


async def test_a_stranger_cannot_answer_for_the_probe():
    probe = Probe()
    assert not probe.hears({"type": "immortus.probe", "group": "immortus.probe.guessed"})
    assert not probe.hears({"type": "immortus.job", "group": probe.group})
    assert not probe.hears("immortus.probe")
    assert probe.hears({"type": "immortus.probe", "group": probe.group})


async def test_the_probe_of_another_process_is_no_push(layer, hub):
    job, page = await watched(hub)
    before = time.monotonic()
    await layer.group_send(group_name(job.job_id), {"type": "immortus.probe", "group": "another"})
    await asyncio.sleep(0.2)
    assert len(page.frames) == 1, before
