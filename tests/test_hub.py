"""The hub: every watcher sees the newest state, whatever the layer loses and however the store misbehaves."""

from __future__ import annotations

import asyncio
import json
import threading
import time

import pytest

from immortus_channels import access, broadcast, tracking
from immortus_channels.authorization import LOGIN_CHANGED
from immortus_channels.broadcast import Broadcaster, Push, group_name
from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.hub import Hub, get_hub
from immortus_channels.membership import Membership
from immortus_channels.reading import Readers
from immortus_channels.recheck import Recheck
from immortus_channels.stores import get_store
from tests.pages import Page, Process, logged_in, until

LAYERS = {
    "pubsub": ("channels_redis.pubsub.RedisPubSubChannelLayer", {"socket_connect_timeout": 1, "socket_timeout": 1}),
    "core": ("channels_redis.core.RedisChannelLayer", {"socket_timeout": 15}),
}


@pytest.fixture(autouse=True)
def _memory(settings):
    settings.IMMORTUS_STORE = {"BACKEND": "memory"}
    settings.IMMORTUS_RECHECK_INTERVAL = 60


@pytest.fixture
async def hub():
    """The hub of the test's event loop."""
    hub = get_hub()
    yield hub
    await hub.stopped()


@pytest.fixture(params=LAYERS)
def layer(request, settings, redis_server):
    """A channel layer that reaches other processes."""
    backend, options = LAYERS[request.param]
    hosts = {"hosts": [{"address": redis_server.url, **options}]}
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, "CONFIG": hosts}}
    return broadcast.shared_layer()


def elsewhere(call):
    """Run `call` as another process would: in a thread that no local receiver hears of."""
    receivers, broadcast._receivers = broadcast._receivers, ()
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    broadcast._receivers = receivers


def send_elsewhere(job):
    def send():
        broadcaster = Broadcaster()
        broadcaster.send(job)
        broadcaster.close()

    elsewhere(send)


# Answering


async def test_a_watch_is_answered_with_the_state_on_record(hub):
    job = Process()
    job.enqueued()
    running = job.started()
    page = Page()
    await hub.watch(page, job.job_id)
    assert page.told == [{"type": "job", "event": "snapshot", "job": running.document}]


async def test_whoever_has_the_newest_version_is_told_so_and_not_sent_it_again(hub):
    job = Process()
    version = job.enqueued().version
    page = Page()
    await hub.watch(page, job.job_id, version)
    assert page.told == [{"type": "current", "job_id": job.job_id, "version": version}]
    await hub.watch(page, job.job_id, version - 1)
    assert page.versions == [version]


async def test_after_a_document_that_is_over_the_watch_is_forgotten(hub):
    job = Process()
    job.enqueued()
    job.started()
    page, late = Page(), Page()
    await hub.watch(page, job.job_id)
    job.finished()
    await until(lambda: page.over)
    await hub.watch(late, job.job_id)
    assert [frame["job"]["state"] for frame in page.told + late.told] == ["running", "finished", "finished"]
    assert late.over == [job.job_id]
    assert not hub.jobs


async def test_a_lost_job_stays_watched_because_it_may_be_revived(hub):
    job = Process()
    job.enqueued()
    job.started(push=False)
    get_store().update(job.job_id, lambda old, now: _replace(old, version=now, state="lost"))
    page = Page()
    await hub.watch(page, job.job_id)
    job.reported(1)
    await until(lambda: len(page.frames) == 2)
    assert [frame["job"]["state"] for frame in page.told] == ["lost", "running"]
    assert not page.over


async def test_unknown_and_foreign_jobs_get_the_same_answer(hub):
    job = Process(owner="somebody else")
    job.enqueued()
    page = Page()
    await hub.watch(page, job.job_id)
    await hub.watch(page, "0" * len(job.job_id))
    foreign, unknown = page.frames
    assert foreign.replace(job.job_id, "0" * len(job.job_id)) == unknown
    assert json.loads(unknown)["code"] == "unknown_job"
    assert json.loads(unknown)["authenticated"] is False
    assert not hub.jobs


async def test_a_push_is_withheld_until_the_watcher_is_authorized(hub, monkeypatch):
    job = Process(owner="somebody else")
    queued = job.enqueued()
    asked, may_go_on = threading.Event(), threading.Event()

    def slowly(user, job):
        asked.set()
        may_go_on.wait(2)
        return False

    monkeypatch.setattr(access, "may_see", slowly)
    page = Page()
    watching = asyncio.create_task(hub.watch(page, job.job_id))
    await until(asked.is_set)
    hub.take(Push.of(_replace(queued, version=queued.version + 1)))
    may_go_on.set()
    await watching
    assert [frame["type"] for frame in page.told] == ["error"]


async def test_a_push_that_arrives_during_the_read_wins_over_an_older_read(hub, monkeypatch):
    job = Process()
    old = job.enqueued()
    new = job.started(push=False)
    reading, may_go_on = threading.Event(), threading.Event()

    def slowly(ids):
        reading.set()
        may_go_on.wait(2)
        return {job.job_id: old}

    monkeypatch.setattr(tracking, "read", slowly)
    page = Page()
    watching = asyncio.create_task(hub.watch(page, job.job_id))
    await until(reading.is_set)
    hub.take(Push.of(new))
    may_go_on.set()
    await watching
    assert page.versions == [new.version]


async def test_a_watch_is_answered_from_a_read_that_began_after_it(hub, monkeypatch):
    job = Process()
    job.enqueued()
    begun, may_go_on = threading.Event(), threading.Event()
    real, reads = tracking.read, []

    def slowly(ids):
        found = real(ids)
        reads.append(ids)
        if len(reads) == 1:
            begun.set()
            may_go_on.wait(2)
        return found

    monkeypatch.setattr(tracking, "read", slowly)
    first, *others = pages = [Page() for _ in range(20)]
    watching = [asyncio.create_task(hub.watch(first, job.job_id))]
    await until(begun.is_set)
    running = job.started(push=False)
    watching += [asyncio.create_task(hub.watch(page, job.job_id)) for page in others]
    await asyncio.sleep(0.05)
    may_go_on.set()
    await asyncio.gather(*watching)
    assert {page.versions[-1] for page in pages} == {running.version}
    assert len(reads) == 2, "all who wait share one read"


async def test_a_watch_waits_for_a_store_that_is_silent(hub, monkeypatch):
    job = Process()
    version = job.enqueued().version
    real, tries = tracking.read, []

    def badly(ids):
        tries.append(ids)
        if len(tries) < 3:
            raise StoreUnavailable
        return real(ids)

    monkeypatch.setattr(tracking, "read", badly)
    page = Page()
    await hub.watch(page, job.job_id)
    assert page.versions == [version]


async def test_a_state_that_cannot_be_told_ends_one_watch_and_no_other(hub, monkeypatch, caplog):
    good, bad = Process(), Process()
    good.enqueued()
    real = tracking.read

    def sometimes(ids):
        if bad.job_id in ids:
            raise KeyError(ids)
        return real(ids)

    monkeypatch.setattr(tracking, "read", sometimes)
    page = Page()
    await hub.watch(page, bad.job_id)
    await hub.watch(page, good.job_id)
    assert [frame.get("code", frame["type"]) for frame in page.told] == ["strategy_error", "job"]


# Pushing


async def test_a_push_in_this_process_needs_no_layer_and_no_recheck(hub, monkeypatch):
    monkeypatch.setattr(Recheck, "SHORT", 60)
    job = Process()
    job.enqueued()
    page = Page()
    await hub.watch(page, job.job_id)
    running = job.started()
    assert await until(lambda: len(page.frames) == 2) < 0.2
    assert page.told[1] == {"type": "job", "event": "job_started", "job": running.document}


async def test_an_older_or_repeated_push_changes_nothing(hub):
    job = Process()
    old = job.enqueued()
    new = job.started()
    page = Page()
    await hub.watch(page, job.job_id)
    for push in (old, new, old):
        hub.take(Push.of(push))
    assert page.versions == [new.version]


async def test_all_sockets_are_handed_the_very_same_text(hub):
    job = Process()
    job.enqueued()
    pages = [Page() for _ in range(3)]
    for page in pages:
        await hub.watch(page, job.job_id)
    job.started()
    await until(lambda: all(len(page.frames) == 2 for page in pages))
    assert len({id(page.frames[1]) for page in pages}) == 1


async def test_two_sockets_that_connect_at_once_share_one_hub():
    async def connect():
        return get_hub()

    one, other = await asyncio.gather(connect(), connect())
    assert one is other
    await one.stopped()


async def test_an_idle_hub_stops_and_the_next_watch_starts_a_new_one(monkeypatch):
    monkeypatch.setattr(Hub, "IDLE", 0.05)
    job = Process()
    job.enqueued()
    hub, page = get_hub(), Page()
    await hub.watch(page, job.job_id)
    await asyncio.sleep(0.1)
    assert get_hub() is hub, "somebody watches"
    hub.unwatch(page, job.job_id)
    await until(lambda: all(task.done() for task in hub._tasks))
    assert hub not in broadcast._receivers
    assert get_hub() is not hub
    await get_hub().stopped()


# Through the layer


async def test_a_push_of_another_process_arrives_through_the_layer(layer, hub):
    job = Process()
    job.enqueued()
    page = Page()
    await hub.watch(page, job.job_id)
    await until(lambda: hub.joined_at(job.job_id))
    await asyncio.sleep(3 * Recheck.SHORT)
    running = job.started(push=False)
    send_elsewhere(running)
    assert await until(lambda: len(page.frames) == 2) < 0.2
    assert page.versions[-1] == running.version
    assert hub.recheck.healed == 0


async def test_a_group_is_joined_once_and_left_after_the_last_watcher(layer, hub, monkeypatch):
    calls = []
    real = type(hub._membership)._reconcile

    class Spy:
        async def group_add(self, group, channel):
            calls.append(("join", group))

        async def group_discard(self, group, channel):
            calls.append(("leave", group))

    monkeypatch.setattr(Membership, "_reconcile", lambda self, layer, channel: real(self, Spy(), channel))
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


async def test_a_guessed_id_never_reaches_the_layer(layer, hub):
    job = Process(owner="somebody else")
    job.enqueued()
    await hub.watch(Page(), job.job_id)
    await asyncio.sleep(0.1)
    assert hub.joined_at(job.job_id) is None
    assert not hub._wanted()


async def test_a_change_that_falls_between_the_read_and_the_join_is_found(layer, hub, monkeypatch):
    joining = asyncio.Event()
    real = Membership._reconcile

    async def late(self, layer, channel):
        await joining.wait()
        await real(self, layer, channel)

    monkeypatch.setattr(Membership, "_reconcile", late)
    job = Process()
    job.enqueued()
    page = Page()
    await hub.watch(page, job.job_id)
    job.started(push=False)
    joining.set()
    await until(lambda: len(page.frames) == 2, within=1)


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
        await hub.stopped()


async def test_every_push_that_the_layer_loses_is_healed_and_counted(layer, hub, settings):
    settings.IMMORTUS_RECHECK_INTERVAL = 0.3
    job = Process()
    job.enqueued()
    page = Page()
    await hub.watch(page, job.job_id)
    await until(lambda: hub.joined_at(job.job_id))
    job.started(push=False)
    await until(lambda: len(page.frames) == 2, within=1)
    assert hub.recheck.healed == 1


async def test_a_restart_of_redis_is_survived(layer, hub, redis_server, settings):
    settings.IMMORTUS_RECHECK_INTERVAL = 0.5
    job = Process()
    job.enqueued()
    job.started(push=False)
    page = Page()
    await hub.watch(page, job.job_id)
    await until(lambda: hub.joined_at(job.job_id))
    redis_server.kill()
    job.reported(1, push=False)
    await until(lambda: len(page.frames) == 2, within=2)
    redis_server.start()
    await asyncio.sleep(1.5)
    settings.IMMORTUS_RECHECK_INTERVAL = 60
    await until(lambda: hub.joined_at(job.job_id), within=6)
    await asyncio.sleep(1)
    send_elsewhere(job.reported(2, push=False))
    await until(lambda: len(page.frames) == 3, within=2)


async def test_garbage_from_the_layer_changes_nothing(layer, hub):
    job = Process()
    job.enqueued()
    page = Page()
    await hub.watch(page, job.job_id)
    await until(lambda: hub.joined_at(job.job_id))
    for message in ({"type": "websocket.close"}, {"type": "immortus.job", "job_id": job.job_id, "text": "{"}):
        await layer.group_send(group_name(job.job_id), message)
    await asyncio.sleep(0.2)
    running = job.started(push=False)
    send_elsewhere(running)
    await until(lambda: page.versions[-1] == running.version, within=2)
    assert len(page.frames) == 2


# Re-checking


async def test_without_a_shared_layer_the_recheck_alone_feeds_the_sockets(hub):
    job = Process()
    job.enqueued()
    page = Page()
    await hub.watch(page, job.job_id)
    job.started(push=False)
    assert await until(lambda: len(page.frames) == 2) < 2 * Recheck.SHORT + 0.1
    assert hub.recheck.healed == 0, "nothing was lost: there was nothing to hear"


async def test_a_job_whose_record_is_gone_for_long_becomes_unknown(hub, monkeypatch):
    monkeypatch.setattr(Recheck, "MISSING", 0.4)
    job = Process()
    job.enqueued()
    page = Page()
    await hub.watch(page, job.job_id)
    get_store()._records.clear()
    await asyncio.sleep(0.3)
    assert len(page.frames) == 1, "not at once"
    await until(lambda: page.over, within=2)
    assert page.told[-1]["code"] == "unknown_job"


async def test_a_store_that_went_back_in_time_is_lifted_above_what_was_sent(hub, caplog):
    job = Process()
    old = job.enqueued()
    new = job.started()
    page = Page()
    await hub.watch(page, job.job_id)
    get_store()._records[job.job_id] = old.to_record()
    await until(lambda: len(page.frames) == 2, within=2)
    assert page.versions[1] > new.version
    assert page.told[1]["job"]["state"] == "enqueued"
    await asyncio.sleep(3 * Recheck.SHORT)
    assert len(page.frames) == 2
    assert hub.recheck.rollbacks == 1


async def test_a_stale_recheck_is_no_rollback(hub, monkeypatch):
    job = Process()
    job.enqueued()
    job.started(push=False)
    page = Page()
    real = tracking.recheck

    def overtaken(watched):
        versions = real(watched)
        job.reported(len(page.frames))
        time.sleep(0.05)
        return versions

    await hub.watch(page, job.job_id)
    monkeypatch.setattr(tracking, "recheck", overtaken)
    await asyncio.sleep(4 * Recheck.SHORT)
    assert len(page.frames) >= 3
    assert hub.recheck.rollbacks == 0


async def test_a_client_ahead_of_the_store_is_believed_once_and_only_if_that_can_be(hub):
    job = Process()
    old = job.enqueued()
    page = Page()
    await hub.watch(page, job.job_id, old.version + 5)
    await until(lambda: len(page.frames) == 2)
    assert page.versions[1] > old.version + 5
    other = Process()
    other.enqueued()
    await hub.watch(page, other.job_id, 2**53 - 1)
    await asyncio.sleep(0.1)
    assert len(page.frames) == 3


async def test_a_recheck_that_fails_is_tried_again(hub, monkeypatch, caplog):
    monkeypatch.setattr(Recheck, "PAUSE", 0.1)
    real, tries = tracking.recheck, []

    def badly(watched):
        tries.append(watched)
        if len(tries) < 3:
            raise StoreUnavailable
        return real(watched)

    monkeypatch.setattr(tracking, "recheck", badly)
    job = Process()
    job.enqueued()
    page = Page()
    await hub.watch(page, job.job_id)
    job.started(push=False)
    await until(lambda: len(page.frames) == 2)
    assert [record.getMessage().split(" (")[0] for record in caplog.records] == [
        "Re-checking watched jobs fails",
        "Re-checking watched jobs works again.",
    ]


# Authorizing again


async def test_whoever_loses_the_right_is_told_nothing_more(hub, monkeypatch):
    alice = logged_in("alice")
    job = Process(owner=str(alice.pk))
    job.enqueued()
    page = Page(alice)
    await hub.watch(page, job.job_id)
    await hub.authorization.check(page)
    assert len(page.frames) == 1
    monkeypatch.setattr(access, "may_see", lambda user, job: False)
    await hub.authorization.check(page)
    assert page.told[-1]["code"] == "unknown_job"
    assert page.told[-1]["authenticated"] is True
    assert not hub.jobs


async def test_a_login_that_ended_closes_the_socket(hub):
    job = Process()
    job.enqueued()
    page = Page()
    await hub.watch(page, job.job_id)
    page.login_holds = False
    await hub.authorization.check(page)
    assert page.closed == LOGIN_CHANGED


async def test_everybody_is_authorized_again_from_time_to_time(monkeypatch):
    monkeypatch.setattr("immortus_channels.authorization.Authorization.INTERVAL", 0.05)
    job = Process()
    job.enqueued()
    hub, pages = get_hub(), [Page(), Page()]
    for page in pages:
        await hub.watch(page, job.job_id)
        page.login_holds = False
    await until(lambda: all(page.closed for page in pages))
    await hub.stopped()


# Threads


async def test_a_slow_strategy_holds_up_nobody_else(hub, monkeypatch):
    slow, quick = Process(), Process()
    slow.enqueued()
    quick.enqueued()
    real = tracking.read

    def sometimes(ids):
        if slow.job_id in ids:
            time.sleep(0.5)
        return real(ids)

    monkeypatch.setattr(tracking, "read", sometimes)
    page, other = Page(), Page()
    waiting = asyncio.create_task(hub.watch(page, slow.job_id))
    began = time.monotonic()
    await hub.watch(other, quick.job_id)
    assert time.monotonic() - began < 0.25
    await waiting


async def test_reading_threads_are_claimed_and_given_back(monkeypatch):
    claimed, released = set(), set()
    store = get_store()
    monkeypatch.setattr(store, "claim_thread", lambda: claimed.add(threading.get_ident()))
    monkeypatch.setattr(store, "release_thread", lambda: released.add(threading.get_ident()))
    readers = Readers()
    used = await asyncio.gather(*(readers.run(lambda: (time.sleep(0.05), threading.get_ident())[1]) for _ in range(8)))
    readers.close(wait=2)
    assert set(used) <= claimed == released
    assert len(claimed) == Readers.THREADS


async def test_a_read_that_hangs_is_given_up(monkeypatch):
    monkeypatch.setattr(Readers, "TIMEOUT", 0.05)
    readers, go_on = Readers(), threading.Event()
    with pytest.raises(TimeoutError):
        await readers.run(go_on.wait, 5)
    go_on.set()
    readers.close(wait=2)


def _replace(job, **changes):
    record = json.loads(job.to_record())
    return type(job).from_record(json.dumps({**record, **changes}))
