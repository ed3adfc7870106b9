"""Huey in a Django project: its decorators for tasks that use the database, its commit, its backend of django.tasks."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType, SimpleNamespace

import django
import pytest
from django.db import transaction
from huey import MemoryHuey

from immortus_channels import current_job, queues, started_by, tracked, tracking
from immortus_channels.queues import sendings
from immortus_channels.queues.huey.problems import problems
from immortus_channels.queues.results import identify
from immortus_channels.stores import get_store
from immortus_channels.testing import recorded_jobs

ANN = SimpleNamespace(pk=7)
MODULE = "huey.contrib.djhuey"
BACKEND = f"{MODULE}.tasks_backend"


@pytest.fixture(autouse=True)
def jobs():
    with recorded_jobs() as jobs:
        yield jobs


@pytest.fixture
def djhuey(settings, monkeypatch):
    """Huey's module for Django, as it is imported in a project whose queue is in memory."""
    settings.HUEY = MemoryHuey("django")
    for name in (MODULE, BACKEND):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module(MODULE)


def work(huey):
    while (message := huey.dequeue()) is not None:
        huey.execute(message)


def record(result):
    return get_store().get_many([identify(result)[0]]).jobs.get(identify(result)[0])


@tracked(params=True, publish_result=True)
def paint(what):
    return current_job().id and what


# The database's decorators


@pytest.mark.django_db
@pytest.mark.parametrize("decorator", ["db_task", "on_commit_task"])
def test_what_closes_the_database_is_tracked_like_any_task(djhuey, decorator, django_capture_on_commit_callbacks):
    task = getattr(djhuey, decorator)()(paint)
    with started_by(ANN), django_capture_on_commit_callbacks(execute=True):
        result = task("sea")
    work(djhuey.HUEY)
    job = record(result)
    assert (job.state, job.owner, job.result, job.params) == ("finished", "7", "sea", {"what": "sea"})
    assert queues.name_of(task) == f"{__name__}.paint"
    assert task.call_local("sea") == ""


@pytest.mark.django_db
def test_a_periodic_one_is_tracked_too(djhuey):
    task = djhuey.db_periodic_task(lambda _: True)(tracked(params=False)(lambda: None))
    (message,) = djhuey.HUEY.read_periodic(None)
    djhuey.HUEY.enqueue(message)
    work(djhuey.HUEY)
    assert (record(message).state, record(message).staff_only) == ("finished", True)
    assert task.task_class is type(message)


# On commit


@pytest.mark.django_db(transaction=True)
def test_a_job_is_told_before_the_commit_and_confirmed_by_it(djhuey, jobs):
    task = djhuey.on_commit_task()(paint)
    with transaction.atomic():
        with started_by(ANN):
            result = task("sea")
        before = record(result)
    after = record(result)
    assert (before.state, before.owner, len(djhuey.HUEY)) == ("enqueued", "7", 1)
    assert before.lease_until == before.enqueued_at + 60_000_000
    assert after.lease_until > before.enqueued_at + 80_000_000_000
    work(djhuey.HUEY)
    assert jobs.states(result.id) == ["enqueued", "running", "finished"]


@pytest.mark.django_db(transaction=True)
def test_a_job_that_is_rolled_back_stays_unconfirmed(djhuey):
    task = djhuey.on_commit_task()(paint)
    with transaction.atomic():
        result = task("sea")
        transaction.set_rollback(True)
    assert len(djhuey.HUEY) == 0
    assert record(result).lease_until == record(result).enqueued_at + 60_000_000


@pytest.mark.django_db(transaction=True)
def test_a_commit_that_took_too_long_finds_the_job_and_its_owner(djhuey, monkeypatch):
    monkeypatch.setattr(sendings, "_SOON", 10**12)  # as if the minute of the sending was over
    task = djhuey.on_commit_task()(paint)
    with transaction.atomic():
        with started_by(ANN):
            result = task("sea")
        get_store().renew({result.id: record(result).send_id}, -100)
        assert tracking.read([result.id])[result.id].error.code == "not_sent"
    assert (record(result).state, record(result).owner) == ("enqueued", "7")


@pytest.mark.django_db(transaction=True)
def test_without_a_transaction_it_is_sent_and_told_once(djhuey, jobs):
    result = djhuey.on_commit_task()(paint)("sea")
    assert [document["state"] for document in jobs.of(result.id)] == ["enqueued"]
    assert record(result).lease_until > record(result).enqueued_at + 80_000_000_000


@pytest.mark.django_db(transaction=True)
def test_what_has_run_already_is_not_told_as_sent_again(djhuey, jobs):
    djhuey.HUEY.immediate = True
    result = djhuey.on_commit_task()(paint)("sea")
    assert jobs.states(result.id) == ["enqueued", "running", "finished"]


@pytest.mark.django_db(transaction=True)
def test_an_untracked_one_is_not_told(djhuey, jobs):
    djhuey.on_commit_task()(lambda: None)()
    assert jobs.documents == []


# django.tasks


@pytest.fixture
def tasks(djhuey, settings, monkeypatch):
    """A module with two tasks of django.tasks, whose backend is Huey."""
    if django.VERSION < (6,):
        pytest.skip("django.tasks came with Django 6")
    from django.tasks import task  # noqa: PLC0415 - not in every Django

    settings.TASKS = {"default": {"BACKEND": f"{BACKEND}.HueyBackend"}}
    module = ModuleType("gallery_of_django_tasks")
    monkeypatch.setitem(sys.modules, module.__name__, module)

    def resize(what):
        return what

    def tells(context, what):
        return [context.task_result.id, current_job().id, what]

    for function, options in ((resize, {}), (tells, {"takes_context": True})):
        function.__module__, function.__qualname__ = module.__name__, function.__name__
        marked = tracked(params=True, publish_result=True)(function)
        setattr(module, function.__name__, task(**options)(marked))

    def plain():
        """Untracked."""

    plain.__module__, plain.__qualname__ = module.__name__, "plain"
    module.plain = task(plain)
    return module


def test_a_task_of_django_tasks_is_followed_as_a_job_of_its_own_name(djhuey, tasks, jobs):
    with started_by(ANN):
        result = tasks.resize.enqueue("sea")
    work(djhuey.HUEY)
    job = get_store().get_many([result.id]).jobs[result.id]
    assert jobs.states(result.id) == ["enqueued", "running", "finished"]
    assert (job.job_class, job.queue, job.owner) == ("gallery_of_django_tasks.resize", "huey", "7")
    assert (job.result, job.params) == ("sea", {"what": "sea"})


def test_its_context_is_none_of_its_arguments(djhuey, tasks):
    result = tasks.tells.enqueue("sea")
    work(djhuey.HUEY)
    job = get_store().get_many([result.id]).jobs[result.id]
    assert (job.result, job.params) == ([result.id, result.id, "sea"], {"what": "sea"})


def test_an_untracked_task_of_django_tasks_is_not_told(djhuey, tasks, jobs):
    tasks.plain.enqueue()
    work(djhuey.HUEY)
    assert jobs.documents == []


# Problems


def found(*tasks):
    return [problem.id.removeprefix("immortus_channels.") for problem in problems(tasks)]


def test_a_healthy_task_has_no_problem(settings):
    settings.HUEY = {"immediate": False}
    settings.DEBUG = True
    assert found(MemoryHuey().task()(paint)) == []


def test_a_task_whose_call_returns_nothing_is_found():
    assert found(MemoryHuey(results=False).task()(paint)) == ["W035"]


@pytest.mark.django_db
def test_a_coroutine_function_that_is_hidden_from_huey_is_found(djhuey):
    async def paint_later():
        """Never runs."""

    assert found(djhuey.db_task()(tracked(paint_later))) == ["W036"]


@pytest.mark.parametrize(("given", "expected"), [({}, ["W037"]), ({"immediate": True}, []), ({"immediate": False}, [])])
def test_jobs_that_run_at_once_because_of_debug_are_found(settings, given, expected):
    settings.DEBUG = True
    settings.HUEY = given
    assert found(MemoryHuey().task()(paint)) == expected


@pytest.mark.parametrize(("worker_type", "expected"), [("thread", ["W038"]), ("process", []), (None, ["W038"])])
def test_a_timeout_that_no_thread_keeps_is_found(settings, worker_type, expected):
    settings.HUEY = {"consumer": {"worker_type": worker_type} if worker_type else {}}
    assert found(MemoryHuey().task(timeout=5)(paint)) == expected


def test_workers_that_cannot_be_told_from_here_are_not_judged(settings):
    settings.HUEY = MemoryHuey()
    assert found(MemoryHuey().task(timeout=5)(paint)) == []


def test_greenlets_are_found(settings):
    settings.HUEY = {"consumer": {"worker_type": "greenlet"}}
    assert found(MemoryHuey().task()(paint)) == ["W039"]


def test_who_tracks_nothing_may_set_huey_up_as_they_like(settings):
    settings.HUEY = {"consumer": {"worker_type": "greenlet"}}
    settings.DEBUG = True
    assert found() == []
