"""Pushes are lost, repeated, late and out of order: no page is ever wrong, and each is right again in time."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import threading
import time
import types

import channels_redis.core
import pytest
from redis import Redis

from immortus_channels import metrics, tracking
from immortus_channels.jobs.events import Finished, Started
from immortus_channels.jobs.job import State
from immortus_channels.push import receivers
from immortus_channels.push.layer import group_name
from immortus_channels.testing import LayerFaults
from immortus_channels.websocket.frames import Document
from immortus_channels.websocket.hub.subscription import Subscription
from immortus_channels.websocket.hub.watched import Watched
from immortus_channels.writer import report_of
from immortus_channels.writer.run import Run
from immortus_channels.writer.thread import Writer
from tests.faults.world import HEALED, QUICK, SOON, Elsewhere, Told, Viewer, layer_config
from tests.hubs import joined
from tests.pages import Page, Process, until

pytestmark = [pytest.mark.redis, pytest.mark.usefixtures("quick")]


# A1


@pytest.mark.fault("A1")
async def test_a_page_is_right_though_all_pushes_are_lost_and_each_is_counted(faulty, hub, history, elsewhere):
    faulty.faults = LayerFaults(drop=1)
    job, page = Told(history), Viewer(history)
    job.begun()
    await hub.watch(page, job.job_id)
    await joined(hub, job)
    for step in (lambda: job.reported(1), lambda: job.reported(2), job.finished):
        await elsewhere.apush(last := step())
        await until(lambda last=last: page.shows(last), within=SOON)
    assert metrics.PUSHES_HEALED.read() == 3
    history.check(within=SOON)


@pytest.mark.fault("A1", twin=True)
async def test_without_the_recheck_a_page_whose_pushes_are_lost_starves(faulty, hub, history, elsewhere, unchecked):
    faulty.faults = LayerFaults(drop=1)
    job, page = Told(history), Viewer(history)
    job.begun()
    await hub.watch(page, job.job_id)
    await until(lambda: hub.subscription.joined.get(job.job_id))
    await elsewhere.apush(job.finished())
    await asyncio.sleep(3 * QUICK)
    assert [finding.rule for finding in history.findings()] == ["stuck"]


# A2


async def told_in_disorder(faulty, hub, history, elsewhere):
    """Sixty changes of two jobs that arrive three times, late and in any order, for two viewers."""
    faulty.faults = LayerFaults(duplicate=2, reorder=10, delay=0.3)
    jobs, viewers = [Told(history), Told(history)], [Viewer(history, "ann"), Viewer(history, "bob")]
    for job in jobs:
        job.begun()
        for viewer in viewers:
            await hub.watch(viewer, job.job_id)
    await until(lambda: all(hub.subscription.joined.get(job.job_id) for job in jobs))
    await asyncio.sleep(0.2)
    for n in range(1, 31):
        for job in jobs:
            await elsewhere.apush(job.reported(n))
        await asyncio.sleep(0.02)  # else all are told the end by a re-check before the first push arrives
    for job in jobs:
        await elsewhere.apush(job.finished())
    await asyncio.sleep(0.5)


@pytest.mark.fault("A2")
async def test_repeated_late_and_disordered_pushes_change_nothing_that_is_seen(faulty, hub, history, elsewhere):
    await told_in_disorder(faulty, hub, history, elsewhere)
    await until(lambda: not hub.table.jobs, within=SOON)
    assert faulty.counts["overtaken"] > 10
    history.check(within=SOON)


@pytest.mark.fault("A2", twin=True)
async def test_without_versions_pages_go_back(faulty, hub, history, elsewhere, monkeypatch):
    def take(self, push):
        self.newest = Document(push)
        self.sent = dict.fromkeys(self.sent, 0)
        return True

    monkeypatch.setattr(Watched, "take", take)
    await told_in_disorder(faulty, hub, history, elsewhere)
    assert "went back" in {finding.rule for finding in history.findings()}


# A3


@pytest.mark.fault("A3")
@pytest.mark.parametrize("moment", ["before the read", "during the read", "before the join", "after the join"])
async def test_whenever_a_change_falls_beside_the_start_of_a_watch_it_is_shown(
    moment, layer, hub, history, elsewhere, monkeypatch
):
    job, page, gate = Told(history), Viewer(history), threading.Event()
    job.begun()
    _hold(monkeypatch, moment, gate, job, history)
    watching = asyncio.create_task(hub.watch(page, job.job_id))
    await asyncio.sleep(0.2)
    await elsewhere.apush(job.reported(7))
    gate.set()
    await watching
    await until(lambda: page.frames and page.told[-1]["job"]["current"] == 7, within=1)
    await elsewhere.apush(job.finished())
    await until(lambda: page.over, within=SOON)
    history.check(within=SOON)


def _hold(monkeypatch, moment, gate, job, history):
    """Let the watch go on at this moment only once the gate is open."""
    read, reconcile = tracking.on_record, Subscription._reconcile

    def held_read(ids):
        if moment == "before the read":
            gate.wait(2)
            return read(ids)
        found = read(ids)
        if moment == "during the read":
            gate.wait(2)
        return found

    async def held_join(self, layer, channel):
        while moment == "before the join" and not gate.is_set():  # noqa: ASYNC110 - set by a thread
            await asyncio.sleep(0.01)
        await reconcile(self, layer, channel)

    monkeypatch.setattr(tracking, "on_record", held_read)
    monkeypatch.setattr(Subscription, "_reconcile", held_join)


@pytest.mark.fault("A3", twin=True)
async def test_without_the_check_after_the_join_a_change_before_it_is_missed(
    layer, hub, history, elsewhere, monkeypatch, unchecked
):
    job, page, gate = Told(history), Viewer(history), threading.Event()
    job.begun()
    _hold(monkeypatch, "before the join", gate, job, history)
    await hub.watch(page, job.job_id)
    await elsewhere.apush(job.reported(7))
    gate.set()
    await asyncio.sleep(3 * QUICK)
    assert len(page.frames) == 1


# A4


@pytest.mark.fault("A4")
async def test_after_one_lost_push_the_next_one_tells_everything(faulty, hub, history, elsewhere, settings):
    settings.IMMORTUS_RECHECK_INTERVAL = 60
    job, page = Told(history), Viewer(history)
    job.begun()
    await hub.watch(page, job.job_id)
    await joined(hub, job)
    faulty.faults = LayerFaults(drop=1)
    await elsewhere.apush(job.reported(1, "lost"))
    await until(lambda: faulty.counts["dropped"])
    faulty.faults = LayerFaults()
    await elsewhere.apush(last := job.reported(2, "heard"))
    await until(lambda: page.shows(last), within=1)
    assert len(page.frames) == 2
    assert metrics.PUSHES_HEALED.read() == 0, "nobody had to ask"


# A5


@pytest.mark.fault("A5")
def test_ten_thousand_updates_a_second_are_five_pushes_of_the_newest():
    pushes = []
    receiver = types.SimpleNamespace(receive=pushes.append)
    receivers.add(receiver)
    writer = Writer()
    run = Run(job_id="busy", job_class="c", run_id="r", notify=writer.notify)
    try:
        writer.submit(Started(job_id="busy", job_class="c", run_id="r"))
        writer.attach(run)
        began, count = time.monotonic(), 0
        while count < 10_000 or time.monotonic() < began + 1:
            count += 1
            run.update(current=count)
        seconds = time.monotonic() - began
        writer.detach(run)
        writer.submit(report_of(run, Finished))
    finally:
        writer.stop(2)
        receivers.remove(receiver)
    assert len(pushes) <= 4 + seconds / 0.2
    assert json.loads(pushes[-1].text)["current"] == count
    assert pushes[-1].state is State.FINISHED


# A6


@pytest.mark.fault("A6")
@pytest.mark.slow
async def test_what_a_full_layer_drops_while_the_server_is_busy_is_healed(
    kind, redis, use, started_hub, history, elsewhere
):
    use(layer_config(kind, redis.url, capacity=100))
    hub = started_hub()
    jobs = [Told(history) for _ in range(300)]
    for job in jobs:
        job.begun()
    viewers = [Viewer(history, f"viewer {n}") for n in range(500)]
    await asyncio.gather(*(hub.watch(one, job.job_id) for one, job in zip(viewers, itertools.cycle(jobs))))
    await joined(hub, *jobs)
    for job in jobs:
        elsewhere.push(job.finished())  # nothing of this loop runs meanwhile
    await until(lambda: all(viewer.over for viewer in viewers), within=HEALED)
    history.check()
    assert kind == "pubsub" or metrics.PUSHES_HEALED.read(), "the core layer takes 100 for a process, and says nothing"


# A7


@pytest.mark.fault("A7")
@pytest.mark.slow
async def test_other_people_s_coming_and_going_loses_nobody_s_pushes(faulty, hub, history, elsewhere, settings):
    settings.IMMORTUS_RECHECK_INTERVAL = 60
    job, page = Told(history), Viewer(history)
    job.begun()
    await hub.watch(page, job.job_id)
    others = [Process() for _ in range(5)]
    for other in others:
        other.enqueued()
    await joined(hub, job)
    churning = [asyncio.create_task(_come_and_go(hub, [other, job])) for other in others]
    for n in range(1, 101):
        await elsewhere.apush(job.reported(n))
        await asyncio.sleep(0.01)
    await until(
        lambda: faulty.counts["received"] >= 101, within=SOON
    )  # every single one, and what the hub sends itself
    for task in churning:
        task.cancel()
    assert await asyncio.gather(*churning, return_exceptions=True)
    await elsewhere.apush(job.finished())
    await until(lambda: page.over)
    assert metrics.PUSHES_HEALED.read() == 0
    history.check(within=SOON)


async def _come_and_go(hub, jobs):
    while True:
        visitor = Page()
        for job in jobs:
            await hub.watch(visitor, job.job_id)
        await asyncio.sleep(random.uniform(0, 0.02))
        for job in jobs:
            hub.unwatch(visitor, job.job_id)


# A8


@pytest.mark.fault("A8")
@pytest.mark.parametrize("skew", [0.5, 90])
async def test_clocks_that_differ_between_workers_change_no_order(layer, hub, history, skew, monkeypatch):
    skews = {"late_0": -skew, "early_0": skew}

    def skewed():
        return time.time() + skews.get(threading.current_thread().name, 0)

    monkeypatch.setattr(channels_redis.core, "time", types.SimpleNamespace(time=skewed))
    job, page = Told(history), Viewer(history)
    job.begun()
    await hub.watch(page, job.job_id)
    await joined(hub, job)
    with Elsewhere("late") as late, Elsewhere("early") as early:
        for n, publisher in zip(range(1, 31), itertools.cycle([late, early])):
            publisher.push(job.reported(n))  # so that several wait in the layer at once
            if n % 6 == 0:
                await asyncio.sleep(0.02)
        await late.apush(job.finished())
        await until(lambda: page.over, within=SOON)
    history.check(within=SOON)


@pytest.mark.fault("A8")
@pytest.mark.parametrize("skew", [-90, 90])
def test_versions_come_from_the_clock_of_the_store(redis_server, settings, skew, monkeypatch):
    settings.IMMORTUS_STORE = {"BACKEND": "redis", "OPTIONS": {"url": redis_server.url}}
    job, real = Process(), time.time_ns
    before = job.enqueued(push=False)
    monkeypatch.setattr(time, "time_ns", lambda: real() + skew * 1_000_000_000)
    after = job.started(push=False)
    assert 0 < after.version - before.version < 10_000_000


# A9


async def _forget(how, redis, job):
    with Redis.from_url(redis.url) as client:
        match how:
            case "flushed":
                client.flushall()
            case "evicted":
                client.delete(f"asgi:group:{group_name(job.job_id)}")
            case "expired":
                await asyncio.sleep(1.2)


@pytest.mark.fault("A9")
@pytest.mark.parametrize("how", ["flushed", "evicted", "expired"])
async def test_a_layer_that_forgets_who_is_in_a_group_costs_one_interval(
    how, kind, redis, use, started_hub, history, elsewhere, settings
):
    use(layer_config(kind, redis.url, group_expiry=1 if how == "expired" else 86_400))
    hub = started_hub()
    job, page = Told(history), Viewer(history)
    job.begun()
    await hub.watch(page, job.job_id)
    await joined(hub, job)
    await _forget(how, redis, job)
    await elsewhere.apush(seen := job.reported(1))
    await until(lambda: page.shows(seen), within=SOON)
    assert kind == "pubsub" or metrics.PUSHES_HEALED.read()
    if how != "expired":
        settings.IMMORTUS_RECHECK_INTERVAL = 60  # the group was joined again, so that nobody has to look
        await asyncio.sleep(2 * QUICK)
    await joined(hub, job)
    await elsewhere.apush(job.finished())
    await until(lambda: page.over, within=SOON)
    history.check(within=SOON)


@pytest.mark.fault("A9", twin=True)
async def test_without_the_recheck_a_forgotten_member_of_the_core_layer_starves(
    redis, use, started_hub, history, elsewhere, unchecked
):
    use(layer_config("core", redis.url))
    hub = started_hub()
    job, page = Told(history), Viewer(history)
    job.begun()
    await hub.watch(page, job.job_id)
    await until(lambda: hub.subscription.joined.get(job.job_id))
    await _forget("flushed", redis, job)
    await elsewhere.apush(job.finished())
    await asyncio.sleep(3 * QUICK)
    assert [finding.rule for finding in history.findings()] == ["stuck"]
