"""The layer: what other processes push arrives, and a layer that fails costs nothing but speed."""

# ruff: noqa: F811 - pytest's way of naming what a test needs

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from contextlib import asynccontextmanager

import pytest

from immortus_channels import metrics
from immortus_channels.access import permissions
from immortus_channels.push.broadcaster import Broadcaster
from immortus_channels.push.layer import group_name, hubs_group_name
from immortus_channels.push.messages import Revocation
from immortus_channels.websocket.hub import get_hub, subscription
from immortus_channels.websocket.hub.recheck import Recheck
from immortus_channels.websocket.hub.subscription import Subscription
from tests.hubs import hub, layer, memory, send_elsewhere  # noqa: F401
from tests.pages import Page, Process, logged_in, until

pytestmark = pytest.mark.usefixtures("memory")


async def test_a_push_of_another_process_arrives_through_the_layer(layer, hub):
    job = Process()
    job.enqueued()
    page = Page()
    await hub.watch(page, job.job_id)
    await until(lambda: hub.subscription.joined.get(job.job_id))
    await asyncio.sleep(3 * Recheck.SHORT)
    running = job.started(push=False)
    send_elsewhere(running)
    assert await until(lambda: len(page.frames) == 2) < 0.2
    assert page.versions[-1] == running.version
    assert metrics.PUSHES_HEALED.read() == 0


@pytest.mark.case(32)
async def test_a_group_is_joined_once_and_left_after_the_last_watcher(layer, hub, monkeypatch):
    calls = []
    real = type(hub.subscription)._reconcile

    class Spy:
        async def group_add(self, group, channel):
            calls.append(("join", group))

        async def group_discard(self, group, channel):
            calls.append(("leave", group))

    monkeypatch.setattr(Subscription, "_reconcile", lambda self, layer, channel: real(self, Spy(), channel))
    job = Process()
    job.enqueued()
    one, other = Page(), Page()
    await hub.watch(one, job.job_id)
    await hub.watch(other, job.job_id)
    await until(lambda: calls)
    hub.unwatch(one, job.job_id)
    await asyncio.sleep(0.05)
    assert calls == [("join", group_name(job.job_id))]
    hub.unwatch(other, job.job_id)
    await until(lambda: len(calls) == 2)
    assert calls[1] == ("leave", group_name(job.job_id))


async def test_after_a_lost_push_the_group_is_joined_again(layer, hub, settings):
    settings.IMMORTUS_RECHECK_INTERVAL = 0.3
    job = Process()
    job.enqueued()
    page = Page()
    await hub.watch(page, job.job_id)
    await until(lambda: hub.subscription.joined.get(job.job_id))
    before = hub.subscription.joined.get(job.job_id)
    job.started(push=False)
    await until(lambda: len(page.frames) == 2)
    await until(lambda: hub.subscription.joined.get(job.job_id, 0) > before)


async def test_a_guessed_id_never_reaches_the_layer(layer, hub, monkeypatch):
    def slowly(user, job):
        time.sleep(0.3 if job.owner else 0)
        return job.owner is None

    monkeypatch.setattr(permissions, "may_see", slowly)
    foreign, own = Process(owner="somebody else"), Process()
    foreign.enqueued()
    own.enqueued()
    guessing = asyncio.create_task(hub.watch(Page(), foreign.job_id))
    await hub.watch(Page(), own.job_id)
    await until(lambda: hub.subscription.joined.get(own.job_id))
    assert foreign.job_id not in hub.subscription.joined
    assert not guessing.done()
    await guessing


async def test_an_answer_does_not_wait_for_a_layer_that_hangs(layer, redis_server):
    job = Process()
    job.enqueued()
    redis_server.freeze()
    try:
        hub, page = get_hub(), Page()
        began = time.monotonic()
        await hub.watch(page, job.job_id)
        assert time.monotonic() - began < 0.5
        job.started(push=False)
        assert await until(lambda: len(page.frames) == 2) < 1, "re-checked at the short interval until joined"
    finally:
        redis_server.thaw()
        await hub.lifetime.stop_and_wait()


async def test_a_restart_of_redis_is_survived(layer, hub, redis_server, settings):
    settings.IMMORTUS_RECHECK_INTERVAL = 0.5
    job = Process()
    job.enqueued()
    job.started(push=False)
    page = Page()
    await hub.watch(page, job.job_id)
    await until(lambda: hub.subscription.joined.get(job.job_id))
    redis_server.kill()
    job.reported(1, push=False)
    await until(lambda: len(page.frames) == 2, within=2)
    redis_server.start()
    await asyncio.sleep(1.5)
    settings.IMMORTUS_RECHECK_INTERVAL = 60
    await until(lambda: hub.subscription.joined.get(job.job_id), within=6)
    await asyncio.sleep(1)
    send_elsewhere(job.reported(2, push=False))
    await until(lambda: len(page.frames) == 3, within=2)


async def test_garbage_from_the_layer_changes_nothing(layer, hub):
    job = Process()
    job.enqueued()
    page = Page()
    await hub.watch(page, job.job_id)
    await until(lambda: hub.subscription.joined.get(job.job_id))
    for message in ({"type": "websocket.close"}, {"type": "immortus.job", "job_id": job.job_id, "text": "{"}):
        await layer.group_send(group_name(job.job_id), message)
    await asyncio.sleep(0.2)
    running = job.started(push=False)
    send_elsewhere(running)
    await until(lambda: page.versions[-1] == running.version, within=2)
    assert len(page.frames) == 2


async def test_what_another_process_revokes_is_heard_through_the_layer(layer, hub, monkeypatch):
    job = Process()
    job.enqueued()
    page = Page(logged_in("alice"))
    await hub.watch(page, job.job_id)
    await until(lambda: hub.subscription.hears_revocations)
    await asyncio.sleep(0.3)
    monkeypatch.setattr(permissions, "may_see", lambda user, job: False)
    message = Revocation(user=str(page.user.pk)).to_message()
    await asyncio.to_thread(tell_elsewhere, hubs_group_name(), message)
    assert await until(lambda: page.over) < 1


def tell_elsewhere(group, message):
    broadcaster = Broadcaster()
    assert broadcaster.send_to_group(group, message)
    broadcaster.close()


class Unsteady:
    """A layer whose first wait for a message fails, and that delivers nothing after."""

    failures = 1

    async def new_channel(self):
        return "unsteady"

    async def receive(self, channel):
        if self.failures:
            self.failures -= 1
            raise ConnectionError
        await asyncio.Event().wait()

    async def group_add(self, group, channel):
        """Say yes."""

    group_discard = group_add


async def test_after_a_while_of_hearing_nothing_everybody_is_asked_again(monkeypatch):
    layer = Unsteady()
    monkeypatch.setattr(subscription, "shared_layer", lambda: layer)
    job = Process()
    job.enqueued()
    hub, page = get_hub(), Page()
    await hub.watch(page, job.job_id)
    page.login_holds = False
    assert await until(lambda: page.closed) < 1
    await hub.lifetime.stop_and_wait()


class Attendance:
    """A layer that counts how often each group is joined and left; it can be slow, and fail for some."""

    def __init__(self):
        self.joins, self.leaves, self.failures = Counter(), Counter(), Counter()
        self.stays = Counter()
        self.opened = asyncio.Event()
        self.opened.set()

    async def new_channel(self):
        return "attendance"

    async def receive(self, channel):
        await asyncio.Event().wait()

    async def group_send(self, group, message):
        """Send nothing."""

    async def group_add(self, group, channel):
        self.joins[group] += 1
        await self.opened.wait()
        if self.failures[group]:
            self.failures[group] -= 1
            raise ConnectionError

    async def group_discard(self, group, channel):
        self.leaves[group] += 1
        if self.stays[group]:
            self.stays[group] -= 1
            raise ConnectionError


@asynccontextmanager
async def attending(layer, monkeypatch):
    """A membership in that layer."""
    monkeypatch.setattr(subscription, "shared_layer", lambda: layer)
    attending = Subscription(lambda push: None, lambda revocation: None)
    running = asyncio.create_task(attending.run())
    try:
        yield attending
    finally:
        running.cancel()


async def test_a_job_left_while_its_group_is_joined_is_left_in_the_layer_too(monkeypatch):
    layer, group = Attendance(), group_name("brief")
    async with attending(layer, monkeypatch) as subscribed:
        await until(lambda: subscribed.hears_revocations)
        layer.opened.clear()
        subscribed.join("brief")
        await until(lambda: layer.joins[group])
        subscribed.leave("brief")
        layer.opened.set()
        await until(lambda: layer.leaves[group], within=1)
        assert not subscribed.joined


async def test_a_group_that_cannot_be_joined_is_tried_again_and_delays_no_other(monkeypatch):
    monkeypatch.setattr(Subscription, "TIMEOUT", 0.05)
    layer, jobs = Attendance(), [f"job-{number}" for number in range(5)]
    layer.failures[group_name("job-1")] = 3
    async with attending(layer, monkeypatch) as subscribed:
        for job_id in jobs:
            subscribed.join(job_id)
        await until(lambda: subscribed.joined.keys() == set(jobs))
    assert [layer.joins[group_name(job_id)] for job_id in jobs] == [1, 4, 1, 1, 1]


async def test_a_group_that_could_not_be_left_is_left_later(monkeypatch):
    monkeypatch.setattr(Subscription, "TIMEOUT", 0.02)
    layer, group = Attendance(), group_name("a")
    layer.stays[group] = 2
    async with attending(layer, monkeypatch) as subscribed:
        subscribed.join("a")
        await until(lambda: "a" in subscribed.joined)
        subscribed.leave("a")
        await until(lambda: layer.leaves[group] == 3, within=2)
        await asyncio.sleep(0.1)
        assert layer.leaves[group] == 3
        subscribed.join("a")
        await until(lambda: "a" in subscribed.joined)


async def test_groups_are_joined_again_before_the_layer_forgets_them(monkeypatch):
    monkeypatch.setattr(Subscription, "REJOIN", 0.2)
    layer = Attendance()
    async with attending(layer, monkeypatch) as subscribed:
        subscribed.join("old")
        for number in range(40):
            subscribed.join(f"{number}")
            await asyncio.sleep(0.01)
            subscribed.leave(f"{number}")
        await asyncio.sleep(0.05)
        assert layer.joins[group_name("old")] >= 2
        assert {layer.joins[group_name(f"{number}")] for number in range(39)} == {1}
        assert subscribed.joined.keys() == {"old"}


async def test_where_there_is_no_layer_jobs_that_have_gone_leave_nothing_behind(monkeypatch):
    async with attending(None, monkeypatch) as subscribed:
        for number in range(100):
            subscribed.join(f"{number}")
            await asyncio.sleep(0)
            subscribed.leave(f"{number}")
    assert not subscribed._due
    assert not subscribed._wanted


async def test_a_layer_that_cancels_what_listens_to_it_is_listened_to_again(monkeypatch):
    class Cancelling(Attendance):
        async def receive(self, channel):
            if not self.cancelled:
                self.cancelled = True
                raise asyncio.CancelledError
            await asyncio.Event().wait()

    layer = Cancelling()
    layer.cancelled = False
    async with attending(layer, monkeypatch) as subscribed:
        await until(lambda: layer.cancelled)
        subscribed.join("a")
        await until(lambda: layer.joins[group_name("a")])


def test_a_layer_whose_settings_are_no_good_lets_nothing_be_heard(monkeypatch):
    def broken():
        raise ImportError

    monkeypatch.setattr(subscription, "shared_layer", broken)
    assert Subscription(lambda push: None, lambda revocation: None).hearing_since == math.inf


async def test_joining_is_told_to_work_again_when_something_was_joined(monkeypatch, caplog):
    monkeypatch.setattr(Subscription, "TIMEOUT", 0.05)
    layer = Attendance()
    async with attending(layer, monkeypatch) as subscribed:
        await until(lambda: subscribed.hears_revocations)
        layer.failures[group_name("gone")] = layer.failures[hubs_group_name()] = 1_000_000
        subscribed.join("gone")
        await until(lambda: caplog.records)
        subscribed.leave("gone")
        await asyncio.sleep(0.3)
        assert subscribed.is_failing, "nobody knows better yet"
        assert "works again" not in caplog.text
        layer.failures.clear()
        await until(lambda: not subscribed._outside.is_on)
        assert "works again" in caplog.text


async def test_a_group_that_was_joined_late_is_left_when_nobody_wants_it(monkeypatch):
    monkeypatch.setattr(Subscription, "TIMEOUT", 0.05)
    layer, group = Attendance(), group_name("late")
    async with attending(layer, monkeypatch) as subscribed:
        await until(lambda: subscribed.hears_revocations)
        layer.opened.clear()
        subscribed.join("late")
        await until(lambda: layer.joins[group])
        await asyncio.sleep(0.15)
        subscribed.leave("late")
        layer.opened.set()
        await until(lambda: layer.leaves[group], within=2)
        assert not subscribed.joined
