"""Ends that the layer tells: the store has the last word, and is asked about many at once."""

# ruff: noqa: F811 - pytest's way of naming what a test needs

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from immortus_channels import tracking
from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.jobs.job import State
from immortus_channels.push.messages import Push
from immortus_channels.websocket.hub.ends import Ends
from tests.hubs import hub, memory  # noqa: F401
from tests.pages import Page, Process, until

pytestmark = pytest.mark.usefixtures("memory")
ENDS = [state for state in State if state.is_over]


@pytest.fixture
def reads(monkeypatch):
    """The ids of each read that was made."""
    made, real = [], tracking.on_record

    def on_record(job_ids):
        made.append(list(job_ids))
        return real(job_ids)

    monkeypatch.setattr(tracking, "on_record", on_record)
    return made


async def watched(hub, count=1):
    """Jobs that run, each with a page that watches it."""
    jobs, pages = [Process() for _ in range(count)], [Page() for _ in range(count)]
    for job, page in zip(jobs, pages, strict=True):
        job.enqueued()
        job.started()
        await hub.watch(page, job.job_id)
    return jobs, pages


def forged(job, state, ahead=1_000_000):
    """A push of an end that never was."""
    running = job.reported(1, push=False)
    return Push.of(replace(running, state=state, version=running.version + ahead))


@pytest.mark.parametrize("state", ENDS)
async def test_an_end_unknown_to_the_store_is_told_to_nobody_and_ends_no_watch(hub, reads, state):
    (job,), (page,) = await watched(hub)
    hub.hear(forged(job, state))
    await until(lambda: len(page.frames) == 2)
    assert [frame["job"]["state"] for frame in page.told] == ["running", "running"], "as the store has it"
    assert page.over == []
    end = job.finished()
    await until(lambda: page.over == [job.job_id])
    assert page.told[-1]["job"] == end.document


async def test_an_end_on_record_is_told_as_the_store_has_it_and_ends_the_watch(hub, reads):
    (job,), (page,) = await watched(hub)
    reads.clear()
    end = job.finished(push=False)
    hub.hear(Push.of(replace(end, message="something else")))
    await until(lambda: page.over == [job.job_id])
    assert page.told[-1]["job"] == end.document
    assert reads == [[job.job_id]]


async def test_a_lost_job_is_confirmed_too_for_its_page_gives_up(hub):
    (job,), (page,) = await watched(hub)
    hub.hear(forged(job, State.LOST))
    await until(lambda: len(page.frames) == 2)
    assert page.told[-1]["job"]["state"] == "running"


async def test_what_is_no_news_and_what_nobody_watches_is_not_read(hub, reads):
    (job,), (page,) = await watched(hub)
    reads.clear()
    old, unwatched = Push.of(replace(job.reported(1), state=State.FINISHED)), Process()
    unwatched.enqueued()
    hub.hear(replace(old, version=1))
    hub.hear(forged(unwatched, State.FINISHED))
    await asyncio.sleep(0.1)
    assert reads == []
    assert page.over == []


async def test_ends_that_come_together_are_read_together(hub, reads):
    jobs, pages = await watched(hub, 50)
    reads.clear()
    for job in jobs:
        hub.hear(Push.of(job.finished(push=False)))
    await until(lambda: all(page.over for page in pages))
    assert len(reads) <= 2


async def test_what_comes_in_parts_is_read_in_parts(hub, reads, monkeypatch):
    monkeypatch.setattr(Ends, "BATCH", 20)
    jobs, pages = await watched(hub, 50)
    reads.clear()
    for job in jobs:
        hub.hear(Push.of(job.finished(push=False)))
    await until(lambda: all(page.over for page in pages))
    assert max(map(len, reads)) == 20


async def test_a_store_that_is_silent_is_asked_again_and_the_log_says_so_once(hub, monkeypatch, caplog):
    monkeypatch.setattr(Ends, "PAUSE", 0.05)
    (job,), (page,) = await watched(hub)
    end, real, tries = job.finished(push=False), tracking.on_record, []

    def on_record(job_ids):
        tries.append(job_ids)
        if len(tries) < 4:
            msg = "down"
            raise StoreUnavailable(msg)
        return real(job_ids)

    monkeypatch.setattr(tracking, "on_record", on_record)
    hub.hear(Push.of(end))
    await until(lambda: page.over)
    assert page.told[-1]["job"] == end.document
    said = [record.getMessage() for record in caplog.records]
    assert [line.split(" (")[0] for line in said] == [
        "Confirming that jobs are over fails",
        "Confirming that jobs are over works again.",
    ]


async def test_whoever_leaves_while_the_store_is_silent_is_not_asked_about(hub, monkeypatch):
    monkeypatch.setattr(Ends, "PAUSE", 0.05)
    (job,), (page,) = await watched(hub)
    asked = []

    def on_record(job_ids):
        asked.append(list(job_ids))
        msg = "down"
        raise StoreUnavailable(msg)

    monkeypatch.setattr(tracking, "on_record", on_record)
    hub.hear(Push.of(job.finished(push=False)))
    await until(lambda: asked)
    hub.unwatch(page, job.job_id)
    await asyncio.sleep(0.2)
    assert len(asked) <= 2
