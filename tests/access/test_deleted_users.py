"""Forgetting: nothing is left of the jobs of a user who is gone, for whoever gets their key."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from immortus_channels import tracking
from immortus_channels.access import deleted_users, permissions
from immortus_channels.access.deleted_users import Forgetter, TenantForgetter, forget_namespace_now, forget_now
from immortus_channels.api.job_state import JobState
from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.jobs.events import Finished, Origin, Overdue, Started
from immortus_channels.jobs.job import State
from immortus_channels.stores import get_store
from immortus_channels.stores.base import Filter
from immortus_channels.stores.memory import MemoryStore
from tests.pages import Process
from tests.toys import eventually

STORES = {"memory": {"BACKEND": "memory"}, "database": {"BACKEND": "database"}, "redis": {}}


@pytest.fixture(params=STORES)
def store(request, settings, transactional_db):
    settings.IMMORTUS_STORE = STORES[request.param]
    if request.param == "redis":
        url = request.getfixturevalue("redis_server").url
        options = {"url": url, "prefix": request.node.name}
        settings.IMMORTUS_STORE = {"BACKEND": "redis", "OPTIONS": options}
    return get_store()


def over(owner, job_id=""):
    process = Process(job_id, owner=owner)
    process.enqueued()
    process.started()
    return process.finished()


def running(owner, job_id=""):
    process = Process(job_id, owner=owner)
    process.enqueued()
    return process.started()


def on_record(job):
    return get_store().get_many([job.job_id]).jobs.get(job.job_id)


def owned_by(user):
    return [job.job_id for job in JobState.filter(owner=user)]


# What is forgotten


def test_the_jobs_of_a_user_who_is_deleted_are_forgotten_and_nobody_elses(store):
    alice, bob = User.objects.create(username="alice"), User.objects.create(username="bob")
    key = alice.pk
    gone, goes_on = over(str(key)), running(str(key))
    theirs, nobodys = over(str(bob.pk)), over(None)
    alice.delete()
    assert eventually(lambda: owned_by(key) == [])
    assert eventually(lambda: on_record(gone) is None)
    assert on_record(theirs) == theirs
    assert on_record(nobodys) == nobodys
    left = on_record(goes_on)
    assert (left.state, left.owner) == (State.RUNNING, "")


def test_whoever_gets_the_key_afterwards_sees_none_of_them(store):
    alice = User.objects.create(username="alice")
    key = alice.pk
    jobs = [over(str(key)), running(str(key))]
    alice.delete()
    assert eventually(lambda: owned_by(key) == [])
    heir = User.objects.create(pk=key, username="heir")
    for job in filter(None, map(on_record, jobs)):
        assert not permissions.may_see(heir, job)
        assert not permissions.may_cancel(heir, job)


def test_no_report_of_a_worker_gives_a_deleted_user_s_job_its_owner_back(store, admin_user):
    job = running("4711")
    assert forget_now("4711") == 1
    run = {"job_id": job.job_id, "job_class": job.job_class, "origin": Origin(owner="4711", send_id="s")}
    for event in (Started(run_id="next", **run), Finished(run_id="next", **run)):
        after = tracking.publish(event)
        assert after.owner == ""
        assert not permissions.may_see(User(pk=4711, username="heir"), after)
        assert permissions.may_see(admin_user, after)
    assert after.state is State.FINISHED


def test_a_lost_job_stays_for_its_worker_may_be_heard_of_again(store):
    job = running("4711")
    get_store().update(job.job_id, lambda job, now: replace(job, stalled=True, lease_until=1, version=now))
    assert tracking.publish(Overdue(job_id=job.job_id)).state is State.LOST
    forget_now("4711")
    assert on_record(job).owner == ""


def test_what_is_rolled_back_forgets_nothing(store):
    alice = User.objects.create(username="alice")
    job = over(str(alice.pk))
    with transaction.atomic():
        alice.delete()
        transaction.set_rollback(True)
    time.sleep(0.1)
    assert on_record(job) == job


def test_very_many_are_forgotten_batch_by_batch(store, monkeypatch):
    monkeypatch.setattr(deleted_users, "BATCH", 7)
    for number in range(20):
        (over if number % 2 else running)("4711")
    assert forget_now("4711") == 20
    assert store.list(Filter(owner="4711")) == []
    assert len(store.list(Filter(owner=""))) == 10
    assert forget_now("4711") == 0


@pytest.mark.django_db(transaction=True)
def test_deleting_a_user_takes_the_same_queries_for_any_number_of_jobs(monkeypatch):
    monkeypatch.setattr(Forgetter, "put", lambda self, owner: None)
    costs = []
    for count in (0, 30):
        user = User.objects.create(username=f"{count}")
        for _ in range(count):
            over(str(user.pk))
        with CaptureQueriesContext(connection) as queries:
            user.delete()
        costs.append(len(queries))
    assert costs[0] == costs[1]


@pytest.mark.django_db
def test_the_database_finds_them_by_an_index():
    with CaptureQueriesContext(connection) as queries:
        forget_now("4711")
    (listing,) = [query["sql"] for query in queries if "owner" in query["sql"]]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {listing}")
        assert "immortus_owner" in str(cursor.fetchall())


@pytest.mark.django_db
def test_a_store_that_cannot_delete_takes_their_owner_from_all_of_them(settings, monkeypatch):
    settings.IMMORTUS_STORE = {"BACKEND": "memory"}
    monkeypatch.setattr(MemoryStore, "remove", lambda self, jobs: 0)
    job = over("4711")
    assert forget_now("4711") == 1
    assert on_record(job).owner == ""


def test_the_jobs_of_a_namespace_are_forgotten_and_no_others(store, monkeypatch):
    monkeypatch.setattr(deleted_users, "BATCH", 2)
    ended = [over("acme\x1f1", f"acme\x1f{number}") for number in range(5)]
    owners = ("acme\x1f1", None, "acme\x1f2")
    goes_on = [running(owner, f"acme\x1fruns-{number}") for number, owner in enumerate(owners)]
    others = [over("1"), over("other\x1f1", "other\x1f0")]
    assert forget_namespace_now("acme") == 8
    assert not any(map(on_record, ended))
    assert [on_record(job).owner for job in goes_on] == ["", "", ""]
    assert [on_record(job) for job in others] == others
    assert forget_namespace_now("acme") == 0
    assert forget_namespace_now("acme", wholly=True) == 3
    assert not any(map(on_record, goes_on))


def test_nobody_is_nobody_s_owner():
    with pytest.raises(ValueError, match="must not be empty"):
        forget_now("")


# The thread


@pytest.fixture
def forgetter(monkeypatch, settings):
    settings.IMMORTUS_STORE = {"BACKEND": "memory"}
    forgetter = Forgetter()
    monkeypatch.setattr(forgetter, "PAUSE", 0.02)
    yield forgetter
    forgetter.drain()


def failing(monkeypatch, error, times=10**9):
    calls = []

    def forget(owner):
        calls.append(owner)
        if len(calls) <= times:
            raise error

    monkeypatch.setattr(deleted_users, "forget_now", forget)
    return calls


def test_many_users_are_one_thread_which_ends(forgetter):
    before = threading.active_count()
    jobs = [over(str(number)) for number in range(30)]
    for number in range(30):
        forgetter.put(str(number))
    assert threading.active_count() <= before + 1
    assert eventually(lambda: not any(map(on_record, jobs)))
    assert eventually(lambda: not forgetter._threads)


def test_a_store_that_is_silent_is_asked_again_behind_the_others(forgetter, monkeypatch, caplog):
    calls = failing(monkeypatch, StoreUnavailable("down"), times=2)
    with forgetter._condition:  # so that both are there before the thread looks
        forgetter.put("1")
        forgetter.put("2")
    assert eventually(lambda: not forgetter._pending)
    assert calls == ["1", "2", "1", "2"]
    assert not caplog.records


@pytest.mark.parametrize("error", [StoreUnavailable("down"), ZeroDivisionError("a bug")])
def test_what_cannot_be_forgotten_is_logged_with_what_to_do(forgetter, monkeypatch, caplog, error):
    failing(monkeypatch, error)
    monkeypatch.setattr(forgetter, "LIFE", 0.05)
    forgetter.put("17")
    assert eventually(lambda: not forgetter._pending)
    assert f"are not forgotten ({error}): run `manage.py prune_jobs --owner 17`" in caplog.text


def test_a_tenant_that_cannot_be_forgotten_is_logged_with_what_to_do(forgetter, monkeypatch, caplog):
    monkeypatch.setattr(deleted_users, "forget_namespace_now", lambda _: 1 / 0)
    TenantForgetter().put("acme")
    assert eventually(lambda: "run `manage.py prune_jobs --namespace acme --all`" in caplog.text)


def test_a_process_that_ends_waits_for_it_a_while(forgetter, monkeypatch):
    done = []
    monkeypatch.setattr(deleted_users, "forget_now", lambda owner: (time.sleep(0.2), done.append(owner)))
    forgetter.put("17")
    forgetter.drain()
    assert done == ["17"]


def test_a_process_that_ends_while_the_store_is_silent_says_what_to_do(forgetter, monkeypatch, caplog):
    failing(monkeypatch, StoreUnavailable("down"))
    monkeypatch.setattr(forgetter, "PAUSE", 60)
    forgetter.put("17")
    assert eventually(lambda: forgetter._pending)
    forgetter.drain()
    assert "run `manage.py prune_jobs --owner 17`" in caplog.text
    assert eventually(lambda: not forgetter._threads)
