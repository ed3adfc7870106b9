"""On an event loop: what asks the store has an async form and says so, what only says something never waits."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import inspect
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import SynchronousOnlyOperation
from django.http import JsonResponse
from django.test import AsyncClient, RequestFactory
from django.urls import path

import immortus_channels
from immortus_channels import (
    JobHandle,
    JobRepository,
    JobState,
    TrackingStrategy,
    aget_job,
    current_job,
    get_job,
    queues,
    tracking,
    urls,
)
from immortus_channels import writer as writers
from immortus_channels.exceptions import JobCancelled, JobFailed, JobNotFound
from immortus_channels.jobs.events import Enqueued, Origin
from immortus_channels.queues.tracked import TaskOptions
from immortus_channels.stores import get_store
from immortus_channels.threads import is_in_event_loop
from immortus_channels.tracking.soon import soon
from tests.servers import RedisServer
from tests.site import eventually as site_eventually
from tests.site import redis_options, running_site
from tests.toys import FlakyStore, ToyQueue, eventually

LONG = 0.3
"""Seconds: who waits for a store that is silent waits longer."""

urlpatterns = [*urls.immortus_jobs()]
pytestmark = pytest.mark.urls(__name__)


class ThreadsStore(FlakyStore):
    """Jobs in memory, which no event loop may ask."""

    def _try(self, call: str) -> None:
        assert not is_in_event_loop(), f"{call} on an event loop"
        super()._try(call)


class Following(TrackingStrategy):
    """A strategy with something to say, once it may."""

    may: ClassVar[threading.Event] = threading.Event()
    seen: ClassVar[list[str]] = []

    def meta(self, job_id):
        self.may.wait(10)
        return {"followed": True}

    def job_finished(self, job_id):
        self.seen.append("finished")


class Follow(JobState):
    task = "task"


@pytest.fixture(autouse=True)
def _queue(monkeypatch):
    monkeypatch.setattr(queues, "connected", [ToyQueue(task=TaskOptions(), followed=TaskOptions(strategy=Following))])
    Following.may.set()
    Following.seen.clear()


@pytest.fixture
def store(settings, monkeypatch):
    """A store behind a writer with a thread, as in a server."""
    settings.IMMORTUS_STORE = {"BACKEND": f"{__name__}.ThreadsStore"}
    settings.IMMORTUS_INLINE = False
    monkeypatch.setattr(writers, "_writer", None)
    store = get_store()
    yield store
    store.open.set()
    soon.flush(5)
    writers.drain()


@pytest.fixture
def silent(store):
    """Called, it makes the store silent until the end of the test."""
    return store.open.clear


def make_job(job_class="task"):
    """The record of a waiting job of this class."""
    origin = Origin(send_id="s", owner="7", data={"given": 1})
    tracking.publish(Enqueued(job_id="j", job_class=job_class, origin=origin))
    return get_job("j").record


# The public interface

NOT_CALLED = {
    "tracked": "is called while a module is imported",
    "started_by": "is given a user, and asks nothing",
    "JobHandler": "the package calls its methods, in threads",
    "TrackingStrategy.job_": "the package calls its hooks, in threads",
    "TrackingStrategy.allows": "likewise",
}
"""The names, or how they begin, that no code on an event loop calls, each with its reason."""

CALLS = {
    "current_job": lambda _: current_job(),
    "get_job": lambda job: get_job("j"),
    "get_strategy": lambda job: immortus_channels.get_strategy("task"),
    "render_immortus": lambda job: immortus_channels.render_immortus(RequestFactory().get("/"), job),
    "job_info": lambda job: immortus_channels.job_info(RequestFactory().get("/"), job),
    "job_page_url": immortus_channels.job_page_url,
    "access_token": lambda job: immortus_channels.access_token(job, AnonymousUser()),
    "revoke_access": immortus_channels.revoke_access,
    "TrackingStrategy.job": lambda job: TrackingStrategy().job("j"),
    "TrackingStrategy.publish_meta": lambda job: Following().publish_meta("j"),
    "JobRepository.create": lambda job: JobRepository().create(),
    "JobRepository.find": lambda job: JobRepository().find("j"),
    "JobState.find": lambda job: Follow.find("j"),
    "JobState.all": lambda job: Follow.all(),
    "JobState.filter": lambda job: Follow.filter(owner="7"),
    "JobState.get_progress_metric": lambda job: job.get_progress_metric("a"),
    "JobHandle.track": lambda job: list(job.track("abc")),
    "JobHandle.update": lambda job: job.update(current=1, total=2, message="x"),
    "JobHandle.set_meta": lambda job: job.set_meta(a=1),
    "JobHandle.set_progress_metric": lambda job: job.set_progress_metric("a", 1),
    "JobHandle.set_result": lambda job: job.set_result(1),
    "JobHandle.checkpoint": lambda job: job.checkpoint(),
    "JobHandle.running": lambda job: job.running().__enter__(),
    "JobHandle.complete": lambda job: job.complete(),
    "JobHandle.fail": lambda job: job.fail("x"),
    "JobHandle.data": lambda job: (dict(job.data), job.data.__setitem__("a", 1)),
    "JobHandle.get_absolute_url": lambda job: job.get_absolute_url(),
    "JobHandle.cancel": lambda job: job.cancel(),
    "JobHandle.refresh": lambda job: job.refresh(),
}
"""How what is public is called with a job; properties are read."""


def public_names() -> Iterator[tuple[str, object]]:
    """The public functions, and the methods and properties of the public classes, where they are defined first."""
    for name in immortus_channels.__all__:
        thing = getattr(immortus_channels, name)
        if not isinstance(thing, type):
            yield name, thing
        elif not issubclass(thing, BaseException | enum.Enum):
            inherited = set(dir(thing.__base__)) if thing.__base__ in (JobHandle, object) else set()
            for member in sorted(set(dir(thing)) - inherited):
                if not member.startswith("_"):
                    yield f"{name}.{member}", inspect.getattr_static(thing, member)


def is_async(thing: object) -> bool:
    unwrapped = inspect.unwrap(getattr(thing, "__func__", thing))
    return inspect.iscoroutinefunction(unwrapped) or inspect.isasyncgenfunction(unwrapped)


PUBLIC = dict(public_names())
HERE = [name for name, thing in PUBLIC.items() if not is_async(thing) and not name.startswith(tuple(NOT_CALLED))]


def call_of(name: str):
    if name in CALLS:
        return CALLS[name]
    assert isinstance(PUBLIC[name], property) or not callable(PUBLIC[name]), f"CALLS lacks {name}"
    return lambda job: getattr(job, name.partition(".")[2])


def form_named_by(error: SynchronousOnlyOperation) -> str:
    return re.search(r"`(?:await |async with )(?:job\.|JobRepository\(\)\.)?(a\w+)\(", str(error)).group(1)


def test_every_public_name_is_looked_at():
    assert sorted(name for name in HERE if call_of(name) is None) == []
    assert sorted(set(CALLS) - set(HERE)) == []
    assert len(HERE) > 40


def test_each_async_form_takes_what_its_other_takes():
    forms = {name: thing for name, thing in PUBLIC.items() if is_async(thing)}
    assert {name.rpartition(".")[2] for name in forms} >= {"aget_job", "afind", "acancel", "arefresh", "arunning"}
    for name, form in forms.items():
        owner, dot, own = name.rpartition(".")
        other = PUBLIC[f"{owner}{dot}{own.removeprefix('a')}"]
        assert parameters(form) == parameters(other), name


def parameters(thing: object) -> list[tuple[str, object]]:
    taken = inspect.signature(inspect.unwrap(getattr(thing, "__func__", thing))).parameters
    return [(one.name, one.default) for one in taken.values()]


@pytest.mark.parametrize("is_read", [True, False], ids=["read", "unread"])
@pytest.mark.parametrize("job_class", ["task", "followed"])
@pytest.mark.parametrize("name", HERE)
def test_on_an_event_loop_a_public_name_never_waits(store, silent, name, job_class, is_read):
    record = make_job(job_class)
    Following.may.clear()

    async def on_loop():
        job = JobState("j", record=record if is_read else None)
        silent()
        began = time.monotonic()
        try:
            call_of(name)(job)
        except SynchronousOnlyOperation as error:
            return time.monotonic() - began, form_named_by(error)
        return time.monotonic() - began, None

    took, form = asyncio.run(on_loop())
    store.open.set()
    Following.may.set()
    assert took < LONG
    if form is not None:
        owner = name.partition(".")[0] if "." in name else None
        places = [f"{owner}.{form}", f"JobHandle.{form}", form]
        assert is_async(next(PUBLIC[place] for place in places if place in PUBLIC)), (name, form)
        assert not (is_read and isinstance(PUBLIC[name], property)), "what was read is there"


# What the async forms do


async def test_async_code_makes_reads_and_ends_a_job(store):
    job = await JobRepository().acreate(id="j", given=1)
    assert (job.state, job.data["given"]) == ("enqueued", 1)
    assert (await JobRepository().afind("j")).document == (await aget_job("j")).document == job.document
    with pytest.raises(JobNotFound):
        await JobRepository().afind("unknown")
    await job.acomplete()
    assert job.state == (await aget_job("j")).state == "finished"


async def test_async_code_fails_a_job(store):
    job = await JobRepository().acreate(id="j")
    await job.afail("out_of_ink", "Buy some.")
    assert (await aget_job("j")).document["error"] == {"code": "out_of_ink", "message": "Buy some."}


async def test_async_code_cancels_a_job_and_has_it_as_it_is_then(store):
    await asyncio.to_thread(make_job)
    job = await aget_job("j")
    await job.acancel()
    assert job.state == "cancelled"
    await JobHandle("unknown").acancel()


async def test_async_code_reads_a_job_again_when_it_asks_for_that(store):
    await asyncio.to_thread(make_job)
    job = await aget_job("j")
    await asyncio.to_thread(lambda: get_job("j").update(current=1, total=4))
    assert job.document["percentage"] is None
    await job.arefresh()
    assert job.document["percentage"] == 25.0
    with pytest.raises(JobNotFound):
        await JobHandle("unknown").arefresh()


async def test_outside_a_job_the_async_forms_do_nothing():
    job = current_job()
    job.cancel()
    await job.acancel()
    await job.arefresh()
    await job.acomplete()
    await job.afail()


async def test_async_code_finds_jobs_of_a_class(store):
    await asyncio.to_thread(make_job)
    ann, bob = User(pk=7), User(pk=8)
    (found,) = await Follow.afilter(owner=ann, states=["enqueued"])
    assert type(found) is type(await Follow.afind("j", user=ann)) is type(await aget_job("j", kind=Follow)) is Follow
    assert [job.job_id for job in await Follow.aall()] == ["j"]
    assert await Follow.afilter(owner=bob) == []
    with pytest.raises(JobNotFound):
        await Follow.afind("j", user=bob)


def test_a_notebook_may_wait_where_django_lets_it(store, monkeypatch):
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    make_job()

    async def cell():
        monkeypatch.setattr(ThreadsStore, "_try", lambda *_: None)
        return get_job("j").state

    assert asyncio.run(cell()) == "enqueued"


# Jobs that run on an event loop


async def test_a_job_runs_in_an_async_block(store):
    async with (await JobRepository().acreate(id="j")).arunning() as job:
        assert current_job().job_id == "j"
        async for _ in job.track("abcd", message="Reading"):
            pass
        await job.arefresh()
        assert job.state == "running"
    assert current_job().job_id == ""
    assert ((await aget_job("j")).state, (await aget_job("j")).document["message"]) == ("finished", "Reading")


async def test_async_blocks_within_each_other_end_each_its_own_job(store):
    async with (await JobRepository().acreate(id="j")).arunning():
        async with (await JobRepository().acreate(id="k")).arunning():
            assert current_job().job_id == "k"
        assert current_job().job_id == "j"


@pytest.mark.parametrize("error", [ValueError(), asyncio.CancelledError()])
async def test_an_async_block_ends_as_a_block_does(store, error):
    job = await JobRepository().acreate(id="j")
    with pytest.raises(type(error)):
        async with job.arunning():
            raise error
    await job.arefresh()
    assert (job.state, job.document["error"]["code"], current_job().job_id) == ("failed", "error", "")


async def test_an_async_block_ends_the_way_that_its_code_says(store):
    job = await JobRepository().acreate(id="j")
    async with job.arunning():
        raise JobFailed("out_of_ink")  # noqa: EM101 - a code
    await job.arefresh()
    assert job.document["error"]["code"] == "out_of_ink"


class Reason(Exception):
    """What the block is left with."""


def leave(_):
    raise Reason


@pytest.mark.parametrize(
    ("inside", "state"),
    [(lambda _: None, "finished"), (leave, "failed"), (lambda job: job.complete(), "finished")],
    ids=["nothing", "raises", "completes"],
)
async def test_after_an_async_block_the_job_is_known_as_it_ended(store, inside, state):
    job = await JobRepository().acreate(id="j")
    with contextlib.suppress(Reason):
        async with job.arunning() as running:
            running.update(current=3, total=4)
            await running.arefresh()
            assert running.state == "running"
            inside(running)
    for handle in (job, running):
        assert (handle.state, handle.document["state"], handle.document["current"]) == (state, state, 3)


async def test_a_cancelled_job_does_not_begin_in_an_async_block(store):
    job = await JobRepository().acreate(id="j")
    await job.acancel()
    with pytest.raises(JobCancelled):
        async with job.arunning():
            raise AssertionError
    assert current_job().job_id == ""


async def test_a_block_given_up_while_it_begins_leaves_no_job_running(store):
    job = await JobRepository().acreate(id="j")

    async def block():
        async with job.arunning():
            raise AssertionError

    store.open.clear()
    task = asyncio.create_task(block())
    await asyncio.sleep(0.05)
    task.cancel()
    store.open.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(eventually, lambda: get_job("j").state == "failed")


# What only says something


@pytest.mark.parametrize("job_class", ["task", "followed"])
async def test_what_is_said_on_an_event_loop_arrives_in_its_order(store, job_class):
    await asyncio.to_thread(make_job, job_class)
    job = await aget_job("j")
    for number in range(20):
        job.update(current=number, total=20, message=f"{number}")
    job.data["a"] = 1
    job.set_result({"a": 1})
    await job.acomplete()
    told = await aget_job("j")
    assert (told.state, told.document["message"], told.data["a"]) == ("finished", "19", 1)
    assert told.document["result"] == {"a": 1}
    assert told.document.get("followed", False) is (job_class == "followed")


async def test_an_end_said_on_an_event_loop_comes_after_what_was_said(store):
    await asyncio.to_thread(make_job, "followed")
    job = await aget_job("j")
    job.set_meta(a=1)
    job.complete()
    assert await asyncio.to_thread(eventually, lambda: get_job("j").state == "finished")
    assert (await aget_job("j")).document["a"] == 1
    assert Following.seen == ["finished"]


async def test_a_running_jobs_end_said_on_an_event_loop_waits_for_nothing(store):
    block = (await JobRepository().acreate(id="j")).arunning()
    async with block as job:
        job.update(current=1)
        store.open.clear()
        began = time.monotonic()
        job.complete()
        assert time.monotonic() - began < LONG
        store.open.set()
        with pytest.raises(SynchronousOnlyOperation, match="arefresh"):
            _ = job.state
        assert await asyncio.to_thread(eventually, lambda: get_job("j").state == "finished")


# Views


async def show(request, job_id):
    job = await JobRepository().afind(job_id)
    job.set_meta(seen=True)
    await job.arefresh()
    return JsonResponse(job.document)


async def stop(request, job_id):
    job = await aget_job(job_id)
    await job.acancel()
    return JsonResponse(job.document)


async def block(request, job_id):
    return JsonResponse(JobRepository().find(job_id).document)


urlpatterns += [path("show/<job_id>", show), path("stop/<job_id>", stop), path("block/<job_id>", block)]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_inline", [True, False], ids=["inline", "thread"])
async def test_async_views_read_and_cancel_jobs_in_the_database(settings, is_inline):
    settings.IMMORTUS_STORE = {"BACKEND": "database"}
    settings.IMMORTUS_INLINE = is_inline
    await asyncio.to_thread(make_job)
    client = AsyncClient()
    assert (await client.get("/show/j")).json()["state"] == "enqueued"
    assert (await client.get("/stop/j")).json()["state"] == "cancelled"
    with pytest.raises(SynchronousOnlyOperation, match=r"await JobRepository\(\)\.afind\("):
        await client.get("/block/j")


@pytest.mark.slow
def test_an_async_view_that_waits_for_a_redis_that_hangs_holds_up_no_other(tmp_path):
    with RedisServer() as redis, running_site(tmp_path, **redis_options(redis.url, store=True)) as site:
        assert site.http.get("/async-make/j").json()["state"] == "enqueued"
        redis.freeze()
        with ThreadPoolExecutor(1) as pool:
            stopping = pool.submit(site.http.get, "/async-stop/j")
            time.sleep(0.2)
            began = time.monotonic()
            assert [site.http.get("/async-say/j").status_code for _ in range(5)] == [200] * 5
            assert time.monotonic() - began < 0.7
            assert not stopping.done()
            redis.thaw()
        site_eventually(lambda: site.http.get("/async-stop/j").json()["state"] == "cancelled", within=10)
