"""Authorizing again: rights end while sockets stay open."""

# ruff: noqa: F811 - pytest's way of naming what a test needs

from __future__ import annotations

import pytest

from immortus_channels import access
from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.hub import get_hub
from immortus_channels.hub.authorization import LOGIN_CHANGED, Authorization
from tests.hubs import hub, memory  # noqa: F401
from tests.pages import Page, Process, logged_in, until

pytestmark = pytest.mark.usefixtures("memory")


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
    monkeypatch.setattr(Authorization, "INTERVAL", 0.05)
    job = Process()
    job.enqueued()
    hub, pages = get_hub(), [Page(), Page()]
    for page in pages:
        await hub.watch(page, job.job_id)
        page.login_holds = False
    await until(lambda: all(page.closed for page in pages))
    await hub.stopped()


async def test_a_store_that_is_silent_takes_nobodys_right_away(monkeypatch, caplog):
    monkeypatch.setattr(Authorization, "INTERVAL", 0.05)
    job = Process()
    job.enqueued()
    hub, page = get_hub(), Page()
    await hub.watch(page, job.job_id)
    asked = []

    def silent():
        asked.append(page)
        raise StoreUnavailable

    page.still_logged_in = silent
    await until(lambda: len(asked) > 1)
    assert page.closed is None
    assert len(page.frames) == 1
    assert len(caplog.records) == 1
    await hub.stopped()
