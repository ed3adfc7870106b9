"""The re-check: every push that was lost is healed, and a store that goes back in time is noticed."""

# ruff: noqa: F811 - pytest's way of naming what a test needs

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from immortus_channels import metrics, tracking
from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.stores import get_store
from immortus_channels.websocket.hub.recheck import Recheck
from immortus_channels.websocket.hub.subscription import Subscription
from immortus_channels.websocket.hub.threads import Readers
from tests.hubs import hub, layer, memory  # noqa: F401
from tests.pages import Page, Process, until

pytestmark = pytest.mark.usefixtures("memory")


@pytest.mark.case(27)
@pytest.mark.fault("A3")
async def test_a_change_that_falls_between_the_read_and_the_join_is_found(layer, hub, monkeypatch):
    joining = asyncio.Event()
    real = Subscription._reconcile

    async def late(self, layer, channel):
        await joining.wait()
        await real(self, layer, channel)

    monkeypatch.setattr(Subscription, "_reconcile", late)
    job = Process()
    job.enqueued()
    page = Page()
    await hub.watch(page, job.job_id)
    await asyncio.sleep(3 * Recheck.SHORT)
    job.started(push=False)
    joining.set()
    await until(lambda: len(page.frames) == 2, within=1)


@pytest.mark.case(26)
async def test_every_push_that_the_layer_loses_is_healed_and_counted(layer, hub, settings):
    counted = metrics.PUSHES_HEALED.read()
    settings.IMMORTUS_RECHECK_INTERVAL = 0.3
    job = Process()
    job.enqueued()
    page = Page()
    await hub.watch(page, job.job_id)
    await until(lambda: hub.subscription.joined.get(job.job_id))
    job.started(push=False)
    await until(lambda: len(page.frames) == 2, within=1)
    assert metrics.PUSHES_HEALED.read() == 1
    assert metrics.PUSHES_HEALED.read() == counted + 1


async def test_without_a_shared_layer_the_recheck_alone_feeds_the_sockets(hub):
    job = Process()
    job.enqueued()
    page = Page()
    await hub.watch(page, job.job_id)
    job.started(push=False)
    assert await until(lambda: len(page.frames) == 2) < 2 * Recheck.SHORT + 0.1
    assert metrics.PUSHES_HEALED.read() == 0, "nothing was lost: there was nothing to hear"


async def test_a_job_whose_record_is_gone_for_long_becomes_unknown(hub, monkeypatch):
    monkeypatch.setattr(Recheck, "MISSING", 4 * Recheck.SHORT)
    job = Process()
    job.enqueued()
    page = Page()
    await hub.watch(page, job.job_id)
    get_store()._records.clear()
    await asyncio.sleep(3 * Recheck.SHORT)
    assert len(page.frames) == 1, "not at once"
    await until(lambda: page.over, within=2)
    assert page.told[-1]["code"] == "unknown_job"


@pytest.mark.fault("D4")
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
    assert metrics.ROLLBACKS.read() == 1


@pytest.mark.fault("D4")
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
    assert metrics.ROLLBACKS.read() == 0


async def test_strategies_that_take_very_long_hold_up_no_other_page(hub, monkeypatch, settings):
    settings.IMMORTUS_RECHECK_INTERVAL = 0.05
    monkeypatch.setattr(Readers, "TIMEOUT", 0.1)
    monkeypatch.setattr(Recheck, "PAUSE", 0.05)
    may_end, asked = threading.Event(), []

    def for_ever(watched):
        asked.append(watched)
        may_end.wait(10)

    monkeypatch.setattr(tracking, "ask_strategies", for_ever)
    job = Process()
    job.enqueued()
    page = Page()
    try:
        await hub.watch(page, job.job_id)
        await asyncio.sleep(10 * Readers.TIMEOUT)
        job.started(push=False)
        await until(lambda: len(page.frames) == 2)
        assert len(asked) == 1, "the others wait for it, and are given up"
    finally:
        may_end.set()


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


class Gone:
    """The parts of `tracking` that a re-check asks, with a store that has gone."""

    def __init__(self, monkeypatch):
        self.is_back = False
        self._real = tracking.recheck
        monkeypatch.setattr(tracking, "recheck", self.recheck)

    def recheck(self, watched):
        if not self.is_back:
            raise StoreUnavailable
        return self._real(watched)


def told_of(caplog, what):
    return [record.getMessage().split(" (")[0] for record in caplog.records if record.getMessage().startswith(what)]


async def test_a_store_is_not_told_to_work_again_before_it_was_asked(layer, hub, monkeypatch, settings, caplog):
    """With a layer that works nothing is due between two looks: to have asked nothing is no success."""
    monkeypatch.setattr(Recheck, "PAUSE", 0.05)
    job, page = Process(), Page()
    job.enqueued()
    await hub.watch(page, job.job_id)
    await until(lambda: hub.subscription.joined.get(job.job_id))
    await asyncio.sleep(3 * Recheck.SHORT)
    settings.IMMORTUS_RECHECK_INTERVAL = 0.4
    hub.recheck._all_due_at = 0
    store = Gone(monkeypatch)
    await until(lambda: told_of(caplog, "Re-checking"))
    await asyncio.sleep(1.2)
    assert told_of(caplog, "Re-checking") == ["Re-checking watched jobs fails"]
    assert hub.recheck._trouble.is_on
    store.is_back = True
    await until(lambda: len(told_of(caplog, "Re-checking")) == 2)
    assert told_of(caplog, "Re-checking")[1] == "Re-checking watched jobs works again."


async def test_where_nobody_watches_any_more_nothing_is_told_to_work_again(hub, monkeypatch, caplog):
    monkeypatch.setattr(Recheck, "PAUSE", 0.05)
    job, page = Process(), Page()
    job.enqueued()
    await hub.watch(page, job.job_id)
    Gone(monkeypatch)
    await until(lambda: told_of(caplog, "Re-checking"))
    hub.unwatch(page, job.job_id)
    await asyncio.sleep(4 * Recheck.SHORT)
    assert told_of(caplog, "Re-checking") == ["Re-checking watched jobs fails"]


async def test_a_store_that_answers_does_not_speak_for_strategies_that_fail(hub, monkeypatch, caplog):
    def fail(watched):
        raise ConnectionError

    real = tracking.ask_strategies
    monkeypatch.setattr(tracking, "ask_strategies", fail)
    job, page = Process(), Page()
    job.enqueued()
    await hub.watch(page, job.job_id)
    await until(lambda: told_of(caplog, "Asking"))
    await asyncio.sleep(4 * Recheck.SHORT)
    assert told_of(caplog, "Asking") == ["Asking the strategies of watched jobs fails"]
    monkeypatch.setattr(tracking, "ask_strategies", real)
    await until(lambda: len(told_of(caplog, "Asking")) == 2)
    assert "works again" in told_of(caplog, "Asking")[1]
