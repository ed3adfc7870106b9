"""Reads for watches: no user sees a job without permission, and a client that is ahead of the store is believed."""

# ruff: noqa: F811 - pytest's way of naming what a test needs

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace

import pytest

from immortus_channels import TrackingStrategy, metrics, tracking
from immortus_channels.access import permissions
from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.push.messages import Push
from immortus_channels.stores import get_store
from immortus_channels.tracking import strategies
from immortus_channels.websocket.hub.reads import AuthorizedReads
from tests.hubs import hub, memory  # noqa: F401
from tests.pages import Page, Process, logged_in, until

pytestmark = pytest.mark.usefixtures("memory")


async def test_a_strategy_is_asked_about_an_unknown_job_as_about_a_foreign_one(hub, monkeypatch, caplog):
    asked = []

    class Picky(TrackingStrategy):
        def allows(self, user, job):
            asked.append(job.job_id)
            return job.params["team"] == user.pk

    monkeypatch.setattr(strategies, "strategy_of", lambda *_: Picky())
    foreign, page = Process(params={"team": 4711}), Page(logged_in("alice"))
    foreign.enqueued()
    await hub.watch(page, foreign.job_id)
    await hub.watch(page, "unknown")
    assert asked == [foreign.job_id, "unknown"]
    assert page.refused == [foreign.job_id, "unknown"]
    assert [record.levelname for record in caplog.records] == []


async def test_a_push_of_an_unrecorded_attempt_does_not_keep_a_watch_waiting(hub):
    """The store went back in time, behind an attempt whose owner may be another: it is lifted above that first."""
    job, page = Process(), Page()
    queued = job.enqueued()
    watching = asyncio.create_task(hub.watch(page, job.job_id))
    await asyncio.sleep(0)
    hub.table.deliver(Push.of(replace(queued, version=queued.version + 1, attempt=2)))
    await asyncio.wait_for(watching, 2)
    assert page.told[-1]["job"]["attempt"] == 1
    assert page.versions[-1] > queued.version + 1


async def test_nobody_waits_for_an_attempt_s_record_after_the_last_watcher_left(hub, monkeypatch):
    job, page = Process(), Page()
    job.enqueued()
    running = job.started()
    await hub.watch(page, job.job_id)
    before = set(hub.lifetime.tasks)
    hub.table.deliver(Push.of(replace(running, version=running.version + 1, attempt=2)))
    assert hub.lifetime.tasks > before, "it is answered again"
    await asyncio.sleep(0)
    hub.unwatch(page, job.job_id)
    await until(lambda: hub.lifetime.tasks == before, within=1)


async def test_a_watch_that_nobody_can_cancel_any_more_ends_with_its_watcher(hub, monkeypatch):
    """A page watches again while the store is silent, and is told the end meanwhile."""
    monkeypatch.setattr(AuthorizedReads, "BACKOFF", (0.02, 0.02))
    job, page = Process(), Page()
    job.enqueued()
    await hub.watch(page, job.job_id)

    def silent(ids):
        raise StoreUnavailable

    monkeypatch.setattr(tracking, "on_record", silent)
    watching = asyncio.create_task(hub.watch(page, job.job_id))
    await asyncio.sleep(0.05)
    job.finished()
    await until(lambda: page.over)
    await asyncio.wait_for(watching, 1)
    assert [frame["type"] for frame in page.told] == ["job", "job"]


@pytest.mark.case(27)
async def test_a_watch_is_answered_from_a_read_that_began_after_it(hub, monkeypatch):
    job = Process()
    job.enqueued()
    begun, may_go_on = threading.Event(), threading.Event()
    real, reads = tracking.on_record, []

    def slowly(ids):
        found = real(ids)
        reads.append(ids)
        if len(reads) == 1:
            begun.set()
            may_go_on.wait(2)
        return found

    monkeypatch.setattr(tracking, "on_record", slowly)
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
    real, tries = tracking.on_record, []

    def badly(ids):
        tries.append(ids)
        if len(tries) < 3:
            raise StoreUnavailable
        return real(ids)

    monkeypatch.setattr(tracking, "on_record", badly)
    page = Page()
    await hub.watch(page, job.job_id)
    assert page.versions == [version]


async def test_a_client_ahead_of_the_store_is_believed_if_that_can_be(hub):
    job = Process()
    old = job.enqueued()
    page = Page()
    await hub.watch(page, job.job_id, old.version + 5)
    assert page.versions[0] > old.version + 5
    other = Process()
    version = other.enqueued().version
    await hub.watch(page, other.job_id, 2**53 - 1)
    assert page.versions[1] == version


async def test_a_right_that_ends_while_a_client_is_believed_is_not_used(hub, monkeypatch):
    job = Process()
    version = job.enqueued().version
    lift = hub.recheck.lift

    async def meanwhile(job_id, sent):
        monkeypatch.setattr(permissions, "may_see", lambda user, job: False)
        await lift(job_id, sent)

    monkeypatch.setattr(hub.recheck, "lift", meanwhile)
    page = Page()
    await hub.watch(page, job.job_id, version + 5)
    assert [frame.get("code") for frame in page.told] == ["unknown_job"]


async def test_claims_about_one_job_cost_a_write_in_a_while_and_each_is_answered(hub, monkeypatch):
    monkeypatch.setattr(AuthorizedReads, "LIFT_AGAIN", 0.3)
    job = Process()
    version = job.enqueued().version
    pages = [Page() for _ in range(5)]
    began = time.monotonic()
    claims = [hub.watch(page, job.job_id, version + 1_000_000) for page in pages]
    await asyncio.gather(*claims, hub.watch(pages[0], job.job_id, version + 90_000_000))
    assert 0.25 < time.monotonic() - began < 0.3 * 4
    assert metrics.ROLLBACKS.read() <= 3
    assert all(page.versions[-1] > version + 1_000_000 for page in pages)


async def test_each_watch_ahead_of_a_rolled_back_store_gets_a_higher_version(hub, monkeypatch):
    monkeypatch.setattr(AuthorizedReads, "LIFT_AGAIN", 0.1)
    job = Process()
    old = job.enqueued()
    page = Page()
    for _ in range(3):
        have = get_store().get_many([job.job_id]).jobs[job.job_id].version + 90_000_000
        get_store()._records[job.job_id] = old.to_record()
        await hub.watch(page, job.job_id, have)
        assert page.versions[-1] > have
        hub.unwatch(page, job.job_id)


async def test_a_client_ahead_of_a_job_that_is_over_is_told_its_end(hub):
    job = Process()
    job.enqueued()
    job.started()
    last = job.finished()
    page = Page()
    await hub.watch(page, job.job_id, last.version + 90_000_000)
    (frame,) = page.told
    assert frame["job"]["state"] == "finished"
    assert frame["job"]["version"] > last.version + 90_000_000
    assert page.over == [job.job_id]


async def test_a_slow_read_holds_up_nobody_else(hub, monkeypatch):
    slow, quick = Process(), Process()
    slow.enqueued()
    quick.enqueued()
    real = tracking.on_record

    def sometimes(ids):
        if slow.job_id in ids:
            time.sleep(0.5)
        return real(ids)

    monkeypatch.setattr(tracking, "on_record", sometimes)
    page, other = Page(), Page()
    waiting = asyncio.create_task(hub.watch(page, slow.job_id))
    began = time.monotonic()
    await hub.watch(other, quick.job_id)
    assert time.monotonic() - began < 0.25
    await waiting
