"""A hub lives while anything is watched."""

# ruff: noqa: F811 - pytest's way of naming what a test needs

from __future__ import annotations

import asyncio

import pytest

from immortus_channels.push import receivers
from immortus_channels.websocket.hub import get_hub
from immortus_channels.websocket.hub.lifetime import Lifetime
from tests.hubs import hub, memory  # noqa: F401
from tests.pages import Page, Process, until

pytestmark = pytest.mark.usefixtures("memory")


async def test_an_idle_hub_stops_and_the_next_watch_starts_a_new_one(monkeypatch):
    monkeypatch.setattr(Lifetime, "IDLE", 0.05)
    job = Process()
    job.enqueued()
    hub, page = get_hub(), Page()
    await hub.watch(page, job.job_id)
    await asyncio.sleep(0.1)
    assert get_hub() is hub, "somebody watches"
    hub.unwatch(page, job.job_id)
    await until(lambda: not hub.lifetime.tasks)
    assert hub not in receivers._current
    assert get_hub() is not hub
    await get_hub().lifetime.stop_and_wait()


async def test_a_stopped_hub_has_no_task_left():
    hub = get_hub()
    tasks = tuple(hub.lifetime.tasks)
    await hub.lifetime.stop_and_wait()
    assert tasks
    assert all(task.done() for task in tasks)
    await hub.lifetime.stop_and_wait()  # and may be stopped again
