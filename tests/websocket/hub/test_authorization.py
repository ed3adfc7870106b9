"""Authorizing again: rights end while sockets stay open."""

# ruff: noqa: F811 - pytest's way of naming what a test needs

from __future__ import annotations

import asyncio
import math
import threading
import time

import pytest
from django.db import OperationalError

from immortus_channels.access import permissions
from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.push.messages import EVERYBODY, Revocation
from immortus_channels.recent import Recent
from immortus_channels.stores import get_store
from immortus_channels.websocket.hub import get_hub
from immortus_channels.websocket.hub.authorization import LOGIN_CHANGED, Authorization
from immortus_channels.websocket.hub.reads import AuthorizedReads
from immortus_channels.websocket.hub.subscription import Subscription
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
    monkeypatch.setattr(permissions, "may_see", lambda user, job: False)
    await hub.authorization.check(page)
    assert page.told[-1]["code"] == "unknown_job"
    assert page.told[-1]["authenticated"] is True
    assert not hub.table.jobs


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
    await hub.lifetime.stop_and_wait()


@pytest.mark.parametrize(("interval", "hears", "is_asked"), [(0.2, True, True), (30, True, False), (30, False, True)])
async def test_who_hears_of_revocations_asks_seldom_and_who_does_not_often(monkeypatch, interval, hears, is_asked):
    monkeypatch.setattr(Authorization, "INTERVAL", interval)
    monkeypatch.setattr(Authorization, "DEAF_INTERVAL", 0.05)
    monkeypatch.setattr(Subscription, "hears_revocations", hears)
    job = Process()
    job.enqueued()
    hub, page = get_hub(), Page()
    await hub.watch(page, job.job_id)
    page.login_holds = False
    await asyncio.sleep(0.6)
    assert (page.closed == LOGIN_CHANGED) is is_asked
    await hub.lifetime.stop_and_wait()


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
    await hub.lifetime.stop_and_wait()


# Revoked


async def watched_by(hub, job, *users):
    pages = [Page(user) for user in users]
    for page in pages:
        await hub.watch(page, job.job_id)
    return pages


@pytest.fixture
def rights(monkeypatch):
    """Everybody may see everything, but whoever is in the set."""
    without: set[str] = set()
    monkeypatch.setattr(permissions, "may_see", lambda user, job: user.username not in without)
    return without


async def test_whose_rights_are_revoked_is_asked_at_once_and_others_go_on(hub, rights):
    job = Process()
    job.enqueued()
    alice, bob = await watched_by(hub, job, logged_in("alice"), logged_in("bob"))
    rights.add("alice")
    hub.reconsider(Revocation(user=str(alice.user.pk)))
    assert await until(lambda: alice.over) < 1
    assert alice.told[-1]["code"] == "unknown_job"
    job.started()
    await until(lambda: len(bob.frames) == 2)
    assert len(alice.frames) == 2


async def test_the_revocation_of_a_job_asks_all_who_watch_it(hub, rights):
    job, other = Process(), Process()
    job.enqueued()
    other.enqueued()
    alice, bob = await watched_by(hub, job, logged_in("alice"), logged_in("bob"))
    (carol,) = await watched_by(hub, other, logged_in("carol"))
    rights.update(("alice", "carol"))
    hub.reconsider(Revocation(job_id=job.job_id))
    await until(lambda: alice.over)
    assert (bob.over, carol.over) == ([], [])


async def test_whoever_is_in_doubt_is_told_nothing_and_then_the_newest(hub, rights):
    job = Process()
    job.enqueued()
    (alice,) = await watched_by(hub, job, logged_in("alice"))
    answer = threading.Event()
    alice.still_logged_in = lambda: answer.wait(5)
    hub.reconsider(Revocation(user=str(alice.user.pk)))
    await asyncio.sleep(0)
    job.started()
    last = job.reported(1)
    await asyncio.sleep(0.1)
    assert len(alice.frames) == 1
    answer.set()
    await until(lambda: len(alice.frames) == 2)
    assert alice.versions[-1] == last.version


async def test_a_revocation_outruns_a_watch_that_is_being_answered(hub, monkeypatch):
    job = Process()
    job.enqueued()
    asked, go_on, verdicts = threading.Event(), threading.Event(), iter([True, False])

    def may_see(user, job):
        asked.set()
        go_on.wait(5)
        return next(verdicts, False)

    monkeypatch.setattr(permissions, "may_see", may_see)
    alice = Page(logged_in("alice"))
    watching = asyncio.create_task(hub.watch(alice, job.job_id))
    await until(asked.is_set)
    hub.reconsider(Revocation(user=str(alice.user.pk)))
    await asyncio.sleep(0.02)
    go_on.set()
    await watching
    assert [frame["type"] for frame in alice.told] == ["error"]


async def test_whoever_still_looked_logged_in_is_asked_a_second_time(hub):
    job = Process()
    job.enqueued()
    (alice,) = await watched_by(hub, job, logged_in("alice"))
    asked = []
    alice.still_logged_in = lambda: not asked.append(1) and len(asked) < 2
    hub.reconsider(Revocation(user=str(alice.user.pk)))
    assert await until(lambda: alice.closed) < 1
    assert (alice.closed, len(asked)) == (LOGIN_CHANGED, 2)


async def test_a_store_that_cannot_tell_keeps_the_doubt_until_it_can(hub, monkeypatch):
    monkeypatch.setattr(Authorization, "AGAIN", (0.05,))
    job = Process()
    job.enqueued()
    (alice,) = await watched_by(hub, job, logged_in("alice"))
    outages = iter([True] * 3)

    def asked():
        if next(outages, False):
            raise StoreUnavailable
        return True

    alice.still_logged_in = asked
    hub.reconsider(Revocation(user=str(alice.user.pk)))
    await asyncio.sleep(0.02)
    job.started()
    assert len(alice.frames) == 1
    await until(lambda: len(alice.frames) == 2)


async def test_a_revocation_about_nobody_here_asks_nobody(hub):
    job = Process()
    job.enqueued()
    (alice,) = await watched_by(hub, job, logged_in("alice"))
    alice.still_logged_in = lambda: pytest.fail("asked")
    hub.reconsider(Revocation(user="4711"))
    hub.reconsider(Revocation(job_id="another"))
    await asyncio.sleep(0.05)
    assert alice.over == []
    assert hub.authorization.revocations_about(alice) == 0


async def test_whoever_looks_logged_in_longer_is_asked_more_and_more_seldom(hub, monkeypatch):
    """The receiver of another package delays a logout, between its signal and the end of the session."""
    monkeypatch.setattr(Authorization, "AGAIN", (0.05, 0.1, 0.2))
    job = Process()
    job.enqueued()
    (alice,) = await watched_by(hub, job, logged_in("alice"))
    asked = []
    alice.still_logged_in = lambda: not asked.append(1)
    hub.reconsider(Revocation(user=str(alice.user.pk)))
    await until(lambda: len(asked) == 3)
    alice.login_holds = False
    del alice.still_logged_in
    await until(lambda: alice.closed)


async def test_a_later_revocation_starts_the_looks_anew(hub, monkeypatch):
    monkeypatch.setattr(Authorization, "AGAIN", (0.3,))
    job = Process()
    job.enqueued()
    (alice,) = await watched_by(hub, job, logged_in("alice"))
    asked = []
    alice.still_logged_in = lambda: not asked.append(1)
    hub.reconsider(Revocation(user=str(alice.user.pk)))
    await asyncio.sleep(0.25)
    hub.reconsider(Revocation(user=str(alice.user.pk)))
    await until(lambda: len(asked) == 2)
    await asyncio.sleep(0.15)
    assert len(asked) == 2, "the look that was due 0.3 s after the first"
    await until(lambda: len(asked) == 3)


@pytest.mark.parametrize("about", ["user", "job_id"])
async def test_whoever_begins_to_watch_just_after_a_revocation_is_asked_again(hub, monkeypatch, about):
    monkeypatch.setattr(Authorization, "AGAIN", (0.05, 0.1))
    job, alice = Process(), Page(logged_in("alice"))
    job.enqueued()
    hub.reconsider(Revocation(**{about: {"user": str(alice.user.pk), "job_id": job.job_id}[about]}))
    await asyncio.sleep(0)  # it is heard before anybody is here whom it is about
    assert not hub.authorization._standings
    await hub.watch(alice, job.job_id)
    assert alice.closed is None
    alice.login_holds = False
    assert await until(lambda: alice.closed) < 1


async def test_the_revocations_that_are_remembered_have_an_end(hub, monkeypatch):
    monkeypatch.setattr(hub.authorization, "_recent", Recent(10))
    for n in range(50):
        hub.reconsider(Revocation(user=str(n)))
    await asyncio.sleep(0)
    assert [each.user for each in hub.authorization._recent] == [str(n) for n in range(40, 50)]


# While nothing is watched


async def test_the_next_watch_sees_a_login_that_ended_while_nothing_was_watched(hub):
    job, page = Process(), Page(logged_in("alice"))
    job.enqueued()
    await hub.watch(page, job.job_id)
    hub.unwatch(page, job.job_id)
    page.login_holds = False
    page.over.clear()
    await hub.watch(page, job.job_id)
    assert page.closed == LOGIN_CHANGED
    assert [frame["type"] for frame in page.told] == ["job", "error"]


@pytest.mark.parametrize(
    ("age", "revoked", "hears", "is_read"),
    [(0, False, True, False), (0, True, True, True), (0, False, False, True), (5, False, True, True)],
    ids=["just read", "somebody's rights ended since", "nothing is heard", "long ago"],
)
async def test_the_hub_reads_a_login_again_only_if_it_may_have_missed_something(
    hub, monkeypatch, age, revoked, hears, is_read
):
    hub.authorization._unrevoked_since -= 10
    job, page, asked = Process(), Page(logged_in("alice")), []
    job.enqueued()
    page.login_read_at = time.monotonic() - age
    page.still_logged_in = lambda: not asked.append(1)
    if revoked:
        hub.reconsider(Revocation(user="4711"))
        await asyncio.sleep(0)
    if not hears:
        monkeypatch.setattr(Subscription, "hearing_since", math.inf)
    await hub.watch(page, job.job_id)
    assert page.told[-1]["type"] == "job"
    assert bool(asked) is is_read


async def test_a_hub_that_has_just_begun_has_heard_of_nothing_before(hub):
    job, page, asked = Process(), Page(logged_in("alice")), []
    job.enqueued()
    page.login_read_at = hub.authorization._unrevoked_since - 0.001
    page.still_logged_in = lambda: not asked.append(1)
    await hub.watch(page, job.job_id)
    assert asked


async def test_a_hundred_watches_of_one_socket_read_its_login_once_or_twice(hub):
    jobs, page, asked = [Process() for _ in range(100)], Page(logged_in("alice")), []
    page.still_logged_in = lambda: not asked.append(1)
    for job in jobs:
        job.enqueued()
    await asyncio.gather(*(hub.watch(page, job.job_id) for job in jobs))
    assert len(page.frames) == 100
    assert len(asked) <= 2


async def test_whoever_watches_nothing_any_more_is_forgotten(hub):
    job, page = Process(), Page(logged_in("alice"))
    job.enqueued()
    await hub.watch(page, job.job_id)
    hub.reconsider(Revocation(user=str(page.user.pk)))
    hub.unwatch(page, job.job_id)
    assert not hub.authorization._standings
    assert not hub.authorization._doubts
    page.still_logged_in = lambda: pytest.fail("asked")
    await asyncio.sleep(0.05)


async def test_a_thousand_revocations_of_one_user_are_one_or_two_questions(hub):
    job = Process()
    job.enqueued()
    (alice,) = await watched_by(hub, job, logged_in("alice"))
    asked = []
    alice.still_logged_in = lambda: not asked.append(1)
    for _ in range(1000):
        hub.reconsider(Revocation(user=str(alice.user.pk)))
    await until(lambda: len(asked) == 2)
    await asyncio.sleep(0.1)
    assert len(asked) == 2


async def test_when_everybody_is_asked_documents_go_on_meanwhile(hub, rights):
    job = Process()
    job.enqueued()
    alice, bob = await watched_by(hub, job, logged_in("alice"), logged_in("bob"))
    rights.add("bob")
    hub.reconsider(Revocation(user=EVERYBODY))
    await until(lambda: bob.over)
    job.started()
    await until(lambda: len(alice.frames) == 2)


async def test_when_everybody_is_asked_staff_is_asked_first(hub):
    job, asked = Process(), []
    job.enqueued()
    pages = await watched_by(hub, job, *(logged_in(name) for name in ("alice", "boss", "carol")))
    pages[1].user.is_staff = True
    for page in pages:
        page.still_logged_in = lambda page=page: not asked.append(page.user.username)
    hub.reconsider(Revocation(user=EVERYBODY))
    await until(lambda: len(asked) == 3)
    assert asked == ["boss", "alice", "carol"]


async def test_a_hub_deaf_to_the_revocations_of_others_asks_everybody_more_often(monkeypatch):
    monkeypatch.setattr(Authorization, "DEAF_INTERVAL", 0.05)
    job = Process()
    job.enqueued()
    hub = get_hub()
    assert not hub.subscription.hears_revocations, "there is no layer"
    (page,) = await watched_by(hub, job, logged_in("alice"))
    page.login_holds = False
    await until(lambda: page.closed)
    await hub.lifetime.stop_and_wait()


# While something is missing


async def test_a_right_that_ends_while_the_record_is_missing_stays_gone(hub, rights, monkeypatch):
    monkeypatch.setattr(Authorization, "AGAIN", (0.05, 0.05, 0.05))
    job = Process()
    job.enqueued()
    (alice,) = await watched_by(hub, job, logged_in("alice"))
    records = get_store()._records
    record = records.pop(job.job_id)
    rights.add("alice")
    hub.reconsider(Revocation(user=str(alice.user.pk)))
    await asyncio.sleep(0.5)  # all looks are over
    records[job.job_id] = record
    job.started()
    await until(lambda: alice.over)
    assert [frame["type"] for frame in alice.told] == ["job", "error"]


async def test_whoever_watches_by_a_token_just_after_a_revocation_is_asked_again(hub, monkeypatch):
    """Whose it is, nobody knows before it was read."""
    monkeypatch.setattr(Authorization, "AGAIN", (0.05, 0.1))
    job, user, asked = Process(), logged_in("alice"), []
    job.enqueued()
    bearer = Page()
    bearer.user = None

    def read():
        asked.append(1)
        bearer.user = user
        return len(asked) < 3

    bearer.still_logged_in = read
    hub.reconsider(Revocation(user=str(user.pk)))
    await asyncio.sleep(0)  # it is heard before anybody is here whom it is about
    await hub.watch(bearer, job.job_id)
    await until(lambda: bearer.closed)
    assert len(asked) == 3


async def test_a_login_that_cannot_be_read_keeps_a_watch_waiting(hub, monkeypatch):
    """Sessions may lie elsewhere than jobs, in a cache for instance, whose errors are its own."""
    monkeypatch.setattr(AuthorizedReads, "BACKOFF", (0.02, 0.02))
    job, page, failures = Process(), Page(logged_in("alice")), iter([OperationalError(), ConnectionError(), KeyError()])
    job.enqueued()

    def read():
        if (failure := next(failures, None)) is not None:
            raise failure
        return True

    page.still_logged_in = read
    await hub.watch(page, job.job_id)
    assert [frame["type"] for frame in page.told] == ["job"]


async def test_what_was_told_and_not_sent_yet_waits_for_the_answer_too(hub, rights):
    job = Process()
    job.enqueued()
    (alice,) = await watched_by(hub, job, logged_in("alice"))
    alice.frames.clear()
    alice.withdraw = lambda job_id: True
    hub.reconsider(Revocation(user=str(alice.user.pk)))
    await until(lambda: alice.frames)
    assert alice.told[0]["type"] == "job"
    rights.add("alice")
    hub.reconsider(Revocation(user=str(alice.user.pk)))
    await until(lambda: alice.over)
    assert [frame["type"] for frame in alice.told] == ["job", "error"]
