"""Redis dies, hangs, forgets, refuses and goes back in time: pages stay right, and nobody who works waits for it."""

from __future__ import annotations

import asyncio
import time

import pytest
from redis import Redis

from immortus_channels import metrics
from immortus_channels.jobs.events import Started
from immortus_channels.jobs.job import State
from immortus_channels.push.breaker import Breaker
from immortus_channels.push.broadcaster import Broadcaster
from immortus_channels.push.calls import LayerCalls
from immortus_channels.stores import get_store
from immortus_channels.testing import Faults, FaultyProxy
from immortus_channels.writer.thread import Writer
from tests.faults.world import QUICK, SOON, Told, Viewer, layer_config, make_layer
from tests.pages import Process, until

pytestmark = [pytest.mark.redis, pytest.mark.usefixtures("quick"), pytest.mark.slow]

BRIEF = 1.0
"""Seconds that a send may take while Redis is silent: half a second, and what a busy machine adds."""


async def watching(hub, history):
    """A running job, watched and joined, and its viewer."""
    job, page = Told(history), Viewer(history)
    job.begun()
    await hub.watch(page, job.job_id)
    await until(lambda: hub.subscription.joined.get(job.job_id))
    return job, page


async def is_right_again(hub, job, page, elsewhere, history):
    """Once the fault is over, the end of the job is shown."""
    await elsewhere.apush(job.finished())
    await until(lambda: page.over, within=SOON)
    history.check(within=SOON)


async def is_pushed_again(hub, job, page, elsewhere, history, settings):
    """Once the fault is over, pushes are heard, so that nobody has to look."""
    settings.IMMORTUS_RECHECK_INTERVAL = 60
    await until(lambda: hub.recheck._all_due_at > asyncio.get_running_loop().time() + 10)
    await asyncio.sleep(1.2)  # the pubsub layer subscribes again a second after it has lost its connection
    await until(
        lambda: (
            hub.subscription.joined.get(job.job_id)
            and not hub.recheck._is_doubtful(hub.table.jobs[job.job_id], hub.subscription.joined)
        ),
        within=10,
    )
    healed = metrics.PUSHES_HEALED.read()
    await is_right_again(hub, job, page, elsewhere, history)
    assert metrics.PUSHES_HEALED.read() == healed


# D1


@pytest.mark.fault("D1")
async def test_a_restart_is_healed_at_the_next_look_and_pushed_again_afterwards(
    layer, hub, history, elsewhere, redis, settings
):
    job, page = await watching(hub, history)
    redis.kill()
    took = [await elsewhere.apush(last := job.reported(n)) for n in range(1, 11)]
    await until(lambda: page.shows(last), within=SOON)
    assert max(took) < BRIEF
    assert sum(took) < 3 * BRIEF, "a circuit breaker: not every send pays"
    redis.start()
    await is_pushed_again(hub, job, page, elsewhere, history, settings)


@pytest.mark.fault("D1")
@pytest.mark.soak
@pytest.mark.parametrize("seconds", [5, 60])
async def test_a_long_outage_is_healed_all_along(layer, hub, history, elsewhere, redis, settings, seconds):
    job, page = await watching(hub, history)
    redis.kill()
    end, n = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        n += 1
        took = await elsewhere.apush(last := job.reported(n))
        assert took < BRIEF
        await until(lambda last=last: page.shows(last), within=SOON)
        await asyncio.sleep(0.5)
    redis.start()
    await is_pushed_again(hub, job, page, elsewhere, history, settings)


@pytest.mark.fault("D1", twin=True)
async def test_without_the_recheck_a_page_never_shows_a_push_lost_in_a_restart(
    started_hub, use, history, elsewhere, redis, unchecked
):
    use(layer_config("pubsub", redis.url))
    hub = started_hub()
    job, _ = await watching(hub, history)
    redis.kill()
    await elsewhere.apush(job.finished())
    redis.start()
    await asyncio.sleep(2)
    assert [finding.rule for finding in history.findings()] == ["stuck"]


# D2


@pytest.mark.fault("D2")
async def test_while_redis_hangs_a_send_waits_only_once_and_pages_show_the_news(
    layer, hub, history, elsewhere, redis, settings
):
    job, page = await watching(hub, history)
    redis.freeze()
    try:
        took = [await elsewhere.apush(last := job.reported(n)) for n in range(1, 11)]
        await until(lambda: page.shows(last), within=SOON)
        late = Viewer(history, "bob")
        began = time.monotonic()
        await hub.watch(late, job.job_id)
        assert time.monotonic() - began < BRIEF
    finally:
        redis.thaw()
    assert max(took) < BRIEF
    assert sum(took) < 2 * BRIEF
    await is_right_again(hub, job, page, elsewhere, history)


@pytest.mark.fault("D2", twin=True)
async def test_without_the_breaker_every_send_waits(use, history, elsewhere, redis, monkeypatch):
    use(layer_config("pubsub", redis.url))
    monkeypatch.setattr(Breaker, "allows", lambda *_: True)
    monkeypatch.setattr(LayerCalls, "is_stuck", False)
    job = Told(history)
    redis.freeze()
    try:
        took = [await elsewhere.apush(job.begun()) for _ in range(2)]
    finally:
        redis.thaw()
    assert min(took) > Broadcaster.TIMEOUT - 0.1


# D3


@pytest.mark.fault("D3")
async def test_a_server_with_a_dead_connection_that_looks_alive_is_still_right(
    kind, redis, use, started_hub, history, elsewhere, settings, monkeypatch
):
    with FaultyProxy(redis.port, http=False) as proxy:
        use(layer_config(kind, f"redis://127.0.0.1:{proxy.port}/0"))
        hub = started_hub()
        job, page = await watching(hub, history)
        near = make_layer(layer_config(kind, redis.url))
        # The worker's way to Redis is not broken.
        monkeypatch.setattr("immortus_channels.push.layer.get_channel_layer", lambda alias: near)
        await asyncio.sleep(2 * QUICK)
        proxy.faults = Faults(blackhole="both")
        for n in range(1, 4):
            await elsewhere.apush(last := job.reported(n))
            await until(lambda last=last: page.shows(last), within=SOON)
        proxy.faults = Faults()
        await is_pushed_again(hub, job, page, elsewhere, history, settings)
        await hub.lifetime.stop_and_wait()


# D4


@pytest.mark.fault("D4")
async def test_a_store_that_goes_back_in_time_is_shown_as_it_is_now_and_goes_on(redis, hub, history, settings, caplog):
    settings.IMMORTUS_STORE = {"BACKEND": "redis", "OPTIONS": {"url": redis.url}}
    job, page = Process(), Viewer(history)
    job.enqueued()
    job.started()
    await hub.watch(page, job.job_id)
    key = get_store()._layout.job(job.job_id)
    with Redis.from_url(redis.url) as client:
        saved = client.dump(key)
        newer = job.reported(7)
        await until(lambda: page.shows(newer))
        client.restore(key, 0, saved, replace=True)
    await until(lambda: page.told[-1]["job"]["current"] == 0, within=SOON)
    assert page.versions[-1] > newer.version
    assert metrics.ROLLBACKS.read() == 1
    job.finished()
    await until(lambda: page.over, within=SOON)
    assert page.versions == sorted(set(page.versions))


# D5


@pytest.mark.fault("D5")
async def test_a_hundred_cut_connections_are_healed(layer, hub, history, elsewhere, redis, settings):
    job, page = await watching(hub, history)
    with Redis.from_url(redis.url) as client:
        for n in range(1, 101):
            for clients in ("pubsub", "normal"):
                client.execute_command("CLIENT", "KILL", "TYPE", clients, "SKIPME", "yes")
            if n % 10 == 0:
                await elsewhere.apush(last := job.reported(n))
            await asyncio.sleep(0.01)
    await until(lambda: page.shows(last), within=SOON)
    await is_pushed_again(hub, job, page, elsewhere, history, settings)


# D7

REFUSALS = {
    "out of memory": (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
    "read only": (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
    "not allowed": (
        ("ACL", "SETUSER", "default", "-@all", "+@connection", "+acl"),
        ("ACL", "SETUSER", "default", "+@all"),
    ),
}


@pytest.mark.fault("D7")
@pytest.mark.parametrize("refusal", REFUSALS)
async def test_what_redis_refuses_to_send_raises_nothing_and_is_healed(
    layer, hub, history, elsewhere, redis, settings, refusal, caplog
):
    job, page = await watching(hub, history)
    begin, end = REFUSALS[refusal]
    with Redis.from_url(redis.url) as client:
        client.execute_command(*begin)
        for n in range(1, 6):
            took = await elsewhere.apush(last := job.reported(n))
            assert took < BRIEF
        await until(lambda: page.shows(last), within=SOON)
        client.execute_command(*end)
    told = [record.getMessage() for record in caplog.records if "Sending through the channel layer fails" in record.msg]
    assert len(told) <= 1
    await is_right_again(hub, job, page, elsewhere, history)


@pytest.mark.fault("D7")
@pytest.mark.parametrize("refusal", REFUSALS)
def test_what_redis_refuses_to_store_is_kept_and_written_later(redis, settings, refusal):
    settings.IMMORTUS_STORE = {"BACKEND": "redis", "OPTIONS": {"url": redis.url}}
    job, writer = Process(), Writer()
    job.enqueued(push=False)
    begin, end = REFUSALS[refusal]
    with Redis.from_url(redis.url) as client:
        client.execute_command(*begin)
        began = time.monotonic()
        write = writer.submit(Started(job_id=job.job_id, job_class="shop.paint", run_id="run"))
        assert time.monotonic() - began < BRIEF
        assert not write.done.is_set()
        client.execute_command(*end)
    assert write.done.wait(5)
    writer.stop()
    assert get_store().get_many([job.job_id]).jobs[job.job_id].state is State.RUNNING
