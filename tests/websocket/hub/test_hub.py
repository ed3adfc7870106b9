"""The hub: every watcher sees the newest state, whatever is lost and however the store misbehaves."""

# ruff: noqa: F811 - pytest's way of naming what a test needs

from __future__ import annotations

import asyncio
import json
import threading

import pytest

from immortus_channels import TrackingStrategy, tracking
from immortus_channels.access import permissions
from immortus_channels.jobs.events import Started
from immortus_channels.push.messages import Push
from immortus_channels.stores import get_store
from immortus_channels.stores.base import Reading
from immortus_channels.tracking import reader, strategies
from immortus_channels.websocket.hub import get_hub
from immortus_channels.websocket.hub.recheck import Recheck
from tests.hubs import hub, memory  # noqa: F401
from tests.pages import Page, Process, logged_in, until

pytestmark = pytest.mark.usefixtures("memory")


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
    assert not hub.table.jobs


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


async def test_a_lost_job_s_former_owner_hears_no_more_when_another_sends_it(hub):
    alice, bob = logged_in("alice"), logged_in("bob")
    job = Process(owner=str(alice.pk))
    job.enqueued()
    job.started(push=False)
    get_store().update(job.job_id, lambda old, now: _replace(old, version=now, state="lost"))
    page = Page(alice)
    await hub.watch(page, job.job_id)
    Process(job.job_id, owner=str(bob.pk)).enqueued()
    await until(lambda: page.over)
    assert [frame.get("code") or frame["job"]["state"] for frame in page.told] == ["lost", "unknown_job"]


@pytest.mark.parametrize("first", ["that it waits", "that it runs"])
async def test_a_running_job_s_former_owner_hears_no_more_when_another_sends_it(hub, first):
    """Its end was never heard here; the first that is heard of the other's is that it waits, or that it runs."""
    alice, bob = logged_in("alice"), logged_in("bob")
    job = Process(owner=str(alice.pk))
    job.enqueued()
    job.started(push=False)
    page = Page(alice)
    await hub.watch(page, job.job_id)
    job.finished(push=False)
    another = Process(job.job_id, owner=str(bob.pk))
    another.enqueued(push=first == "that it waits")
    another.tell(Started, run_id="another")
    await until(lambda: page.over)
    assert [frame.get("code") or frame["job"]["state"] for frame in page.told] == ["running", "unknown_job"]


async def test_an_owner_who_loses_a_job_while_their_right_is_read_is_not_told(hub, monkeypatch):
    alice, bob = logged_in("alice"), logged_in("bob")
    job = Process(owner=str(alice.pk))
    job.enqueued()
    job.started(push=False)
    asked, go_on, real = threading.Event(), threading.Event(), permissions.may_see

    def slowly(user, record):
        answer = real(user, record)
        asked.set()
        go_on.wait(5)
        return answer

    monkeypatch.setattr(permissions, "may_see", slowly)
    page = Page(alice)
    watching = asyncio.create_task(hub.watch(page, job.job_id))
    await until(asked.is_set)
    job.finished(push=False)
    Process(job.job_id, owner=str(bob.pk)).enqueued()
    await asyncio.sleep(0.05)
    go_on.set()
    await watching
    assert [frame["type"] for frame in page.told] == ["error"]


async def test_slow_strategies_hold_up_no_other_page_and_are_asked_soon(hub, monkeypatch, settings):
    settings.IMMORTUS_RECHECK_INTERVAL = 0.2
    jobs, plain, may_end = [Process() for _ in range(6)], Process(), threading.Event()
    for job in (*jobs, plain):
        job.enqueued()

    class Slow(TrackingStrategy):
        def meta(self, job_id):
            may_end.wait(10)
            return {"note": "asked"}

    slow, others = Slow(), TrackingStrategy()
    ids = {job.job_id for job in jobs}
    monkeypatch.setattr(reader, "_has_answers", lambda job_class: True)
    monkeypatch.setattr(strategies, "strategy_of", lambda _, job_id: slow if job_id in ids else others)
    pages = [Page() for _ in jobs]
    try:
        await asyncio.wait_for(asyncio.gather(*map(hub.watch, pages, ids)), 1)
        await asyncio.sleep(0.5)
        await asyncio.wait_for(hub.watch(Page(), plain.job_id), 1)
    finally:
        may_end.set()
    await until(lambda: all(page.told[-1]["job"].get("note") == "asked" for page in pages))


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
    assert not hub.table.jobs


async def test_a_push_is_withheld_until_the_watcher_is_authorized(hub, monkeypatch):
    job = Process(owner="somebody else")
    queued = job.enqueued()
    asked, may_go_on = threading.Event(), threading.Event()

    def slowly(user, job):
        asked.set()
        may_go_on.wait(2)
        return False

    monkeypatch.setattr(permissions, "may_see", slowly)
    page = Page()
    watching = asyncio.create_task(hub.watch(page, job.job_id))
    await until(asked.is_set)
    hub.table.deliver(Push.of(_replace(queued, version=queued.version + 1)))
    may_go_on.set()
    await watching
    assert [frame["type"] for frame in page.told] == ["error"]


@pytest.mark.fault("A3")
async def test_a_push_that_arrives_during_the_read_wins_over_an_older_read(hub, monkeypatch):
    job = Process()
    old = job.enqueued()
    new = job.started(push=False)
    reading, may_go_on = threading.Event(), threading.Event()

    def slowly(ids):
        reading.set()
        may_go_on.wait(2)
        return Reading(now=0, jobs={job.job_id: old})

    monkeypatch.setattr(tracking, "on_record", slowly)
    page = Page()
    watching = asyncio.create_task(hub.watch(page, job.job_id))
    await until(reading.is_set)
    hub.table.deliver(Push.of(new))
    may_go_on.set()
    await watching
    assert page.versions == [new.version]


async def test_a_state_that_cannot_be_told_ends_one_watch_and_no_other(hub, monkeypatch, caplog):
    good, bad = Process(), Process()
    good.enqueued()
    real = tracking.on_record

    def sometimes(ids):
        if bad.job_id in ids:
            raise KeyError(ids)
        return real(ids)

    monkeypatch.setattr(tracking, "on_record", sometimes)
    page = Page()
    await hub.watch(page, bad.job_id)
    await hub.watch(page, good.job_id)
    assert [frame.get("code", frame["type"]) for frame in page.told] == ["strategy_error", "job"]


# Pushing


async def test_a_state_that_cannot_be_told_harms_no_later_watch(hub, monkeypatch):
    """The watch was ended, and perhaps begun anew by another watcher of the same socket, before it failed."""

    async def broken(watcher, watched):
        hub.unwatch(watcher, watched.job_id)
        raise ZeroDivisionError

    monkeypatch.setattr(hub._reads, "_read_authorized", broken)
    page = Page()
    await hub.watch(page, "a")
    assert (page.frames, page.over) == ([], [])


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
        hub.table.deliver(Push.of(push))
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
    await one.lifetime.stop_and_wait()


def _replace(job, **changes):
    record = json.loads(job.to_record())
    return type(job).from_record(json.dumps({**record, **changes}))
