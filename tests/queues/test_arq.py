"""What arq's connections and workers do, in the test's process, on a Redis: what the suite does not reach."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections import Counter
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import pytest
from asgiref.sync import sync_to_async
from django.test import RequestFactory

from immortus_channels import queues, render_immortus, started_by, tracked, tracking
from immortus_channels.queues import deliveries, sendings
from immortus_channels.queues.results import identify
from immortus_channels.stores import get_store
from immortus_channels.testing import recorded_jobs
from immortus_channels.urls import immortus_jobs

arq = pytest.importorskip("arq", reason="needs arq: make queues QUEUE=arq")
from arq.connections import ArqRedis, RedisSettings  # noqa: E402
from arq.constants import abort_jobs_ss  # noqa: E402
from arq.worker import Worker, func  # noqa: E402

from immortus_channels.queues.arq import adapter  # noqa: E402

urlpatterns = [*immortus_jobs()]
pytestmark = [
    pytest.mark.urls(__name__),
    pytest.mark.redis,
    # arq closes by a deprecated name, and leaves to the collector the pipeline of a job that is cancelled.
    pytest.mark.filterwarnings("ignore:Call to deprecated close:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]

ANN, BOB = SimpleNamespace(pk="7"), SimpleNamespace(pk="8")
GALLERY = "gallery_of_a_project"
SOURCE = """
import asyncio
from arq import Retry
from immortus_channels import JobCancelled, JobFailed, current_job, tracked

calls = []

@tracked(params=True, publish_result=True)
async def paint(ctx, path, *, width=5):
    calls.append(path)
    current_job().set_meta(own_id=current_job().id, try_number=ctx["job_try"])
    return f"{path}:{width}"

@tracked
async def sleep(ctx, seconds=30):
    calls.append("slept")
    await asyncio.sleep(seconds)

@tracked
async def notes(ctx):
    calls.append("noted")

@tracked
async def again(ctx, times, defer=None):
    if ctx["job_try"] <= times:
        raise Retry(defer=defer)

@tracked
async def raises(ctx, kind):
    raise {"timeout": TimeoutError(), "failed": JobFailed("no_paint", "No paint."), "value": ValueError(1)}[kind]

@tracked
async def stops(ctx):
    raise JobCancelled(current_job().id)

@tracked
async def unkeepable(ctx):
    return lambda: None

@tracked
async def parent(ctx):
    await ctx["redis"].enqueue_job("paint", "child", _job_id="child")

async def plain(ctx):
    return current_job().id

async def answers_late(ctx):
    await asyncio.sleep(30)
"""


class Gallery:
    """A project's functions, a connection, and a worker for as long as a test wants."""

    def __init__(self, module, settings, redis):
        self.module, self.settings, self.redis = module, settings, redis

    def __getattr__(self, name):
        return getattr(self.module, name)

    async def enqueue(self, name, *args, owner=ANN, **kwargs):
        with started_by(owner):
            return await self.redis.enqueue_job(name, *args, **kwargs)

    def worker(self, **options):
        names = "paint", "sleep", "again", "raises", "stops", "unkeepable", "parent", "plain"
        functions = options.pop("functions", None) or [getattr(self.module, name) for name in names]
        plain = {"redis_settings": self.settings, "poll_delay": 0.01, "handle_signals": False, "burst": True}
        return Worker(functions, **{**plain, **options})

    async def work(self, worker=None, **options):
        """Run a worker until nothing is left to do."""
        worker = worker or self.worker(**options)
        try:
            await asyncio.wait_for(worker.async_run(), 15)
        finally:
            await worker.close()


@pytest.fixture
def module(monkeypatch):
    module = ModuleType(GALLERY)
    monkeypatch.setitem(sys.modules, GALLERY, module)
    monkeypatch.setattr("immortus_channels.queues.tracked.places", set())
    monkeypatch.setattr(queues.by_name("arq"), "tasks", {})
    exec(SOURCE, vars(module))
    return module


@pytest.fixture
def jobs():
    with recorded_jobs() as jobs:
        yield jobs


@pytest.fixture
async def gallery(module, jobs, redis_server):
    settings = RedisSettings.from_dsn(redis_server.url)
    redis = await arq.create_pool(settings)
    await redis.flushall()
    yield Gallery(module, settings, redis)
    await redis.aclose(close_connection_pool=True)


async def record(job):
    """The job's record; None if there is none."""
    job_id = job if isinstance(job, str) else job.job_id
    await sync_to_async(tracking.drain)()
    return get_store().get_many([job_id]).jobs.get(job_id)


async def state(job):
    found = await record(job)
    return found and (f"{found.state}" if found.error is None else f"{found.state} {found.error.code}")


async def until(holds):
    """Wait until something is true."""
    end = time.monotonic() + 10
    while not (answer := holds()):
        assert time.monotonic() < end
        await asyncio.sleep(0.01)
    return answer


@contextlib.asynccontextmanager
async def at_work(gallery, **options):
    """A worker at work meanwhile; it is asked to stop as by a signal."""
    worker = gallery.worker(burst=False, **options)
    task = asyncio.create_task(worker.async_run())
    try:
        yield worker
    finally:
        await worker.close()  # which cancels all
        with contextlib.suppress(asyncio.CancelledError):
            await task


def is_idle(worker):
    """Whether a worker has ended the jobs that it took."""
    return all(task.done() for task in worker.tasks.values())


# Sending


async def test_a_job_is_told_before_it_runs_with_what_its_sender_knows(gallery):
    job = await gallery.enqueue("paint", "cat", width=3)
    told = await record(job)
    assert (told.state, told.owner, told.staff_only, told.job_class, told.queue) == (
        "enqueued",
        "7",
        False,
        "paint",
        "arq",
    )
    assert dict(told.params) == {"path": "cat", "width": 3}
    await gallery.work()
    done = await record(job)
    assert (done.state, done.attempt, done.result, done.owner) == ("finished", 1, "cat:3", "7")
    assert done.meta == {"own_id": job.job_id, "try_number": 1}


async def test_a_job_is_shown_by_what_enqueue_job_returns(gallery):
    job = await gallery.enqueue("paint", "cat")
    assert identify(job) == (job.job_id, "paint")
    request = RequestFactory().post("/start", HTTP_ACCEPT="application/json")
    request.user = SimpleNamespace(pk="7", is_authenticated=True)
    answer = json.loads((await sync_to_async(render_immortus)(request, job)).content)
    assert answer["job_id"] == job.job_id


async def test_a_deferred_job_is_told_when_it_is_due(gallery):
    job = await gallery.enqueue("paint", "cat", _defer_by=600)
    lease = (await record(job)).lease_until
    assert lease / 1e6 > time.time() + 500


async def test_a_function_that_is_not_tracked_has_no_job(gallery):
    job = await gallery.enqueue("plain", _job_id="plain")
    await gallery.work()
    assert await job.result(timeout=1) == ""
    assert await record(job) is None


async def test_an_owner_reaches_the_worker_from_a_process_that_has_only_the_name(gallery, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("immortus_channels.queues.tracked.places", set())
        job = await gallery.enqueue("paint", "cat")
        other = await gallery.enqueue("plain")
    assert await record(job) is None
    await gallery.work()
    done = await record(job)
    assert (done.state, done.owner, done.staff_only) == ("finished", "7", False)
    assert await record(other) is None


async def test_an_unknown_function_of_which_nobody_told_makes_no_record(gallery):
    job = await gallery.enqueue("nobody_has_it")
    await gallery.work()
    assert await record(job) is None


async def test_arguments_that_cannot_be_written_are_not_sent(gallery, jobs):
    with pytest.raises(arq.jobs.SerializationError):
        await gallery.enqueue("paint", lambda: None)
    await sync_to_async(tracking.drain)()
    (job_id,) = {document["job_id"] for document in jobs.documents}
    assert await state(job_id) == "failed not_sent"


async def test_a_name_of_its_own_and_marks_above_arq_s_objects(gallery):
    renamed = func(gallery.paint, name="renamed")
    above = tracked(func(gallery.module.plain, name="above"), publish_result=True)
    jobs = [await gallery.enqueue("renamed", "cat"), await gallery.enqueue("above")]
    assert [await state(job) for job in jobs] == ["enqueued", "enqueued"]
    await gallery.work(functions=[renamed, above])
    assert [(await record(job)).result for job in jobs] == ["cat:5", jobs[1].job_id]


# Lives


async def test_the_next_life_under_an_id_is_its_own_sender_s_alone(gallery):
    first = await gallery.enqueue("paint", "cat", _job_id="one", owner=ANN)
    await gallery.work(keep_result=0)
    assert ((await record("one")).owner, (await record("one")).attempt) == ("7", 1)
    await gallery.enqueue("paint", "dog", _job_id="one", owner=BOB)
    assert ((await record("one")).state, (await record("one")).owner) == ("enqueued", "8")
    await gallery.work(keep_result=0)
    done = await record(first)
    assert (done.owner, done.state, done.result) == ("8", "finished", "dog:5")


async def test_the_next_life_is_its_sender_s_even_if_its_run_is_told_first(gallery, monkeypatch):
    await gallery.enqueue("paint", "cat", _job_id="one", owner=ANN)
    await gallery.work(keep_result=0)
    tell, told = sendings.Sending.atell, asyncio.Event()

    async def late(sending):
        await told.wait()
        return await tell(sending)

    monkeypatch.setattr(sendings.Sending, "atell", late)
    sending = asyncio.create_task(gallery.enqueue("paint", "dog", _job_id="one", owner=BOB))
    await asyncio.sleep(0.1)
    await gallery.work(keep_result=0)
    ran = await record("one")
    assert (ran.owner, ran.state, ran.result) == ("8", "finished", "dog:5")
    told.set()
    await sending
    after = await record("one")
    assert (after.owner, after.state, after.result) == ("8", "finished", "dog:5")


async def test_the_next_life_of_an_unknown_sender_is_for_staff(gallery):
    await gallery.enqueue("paint", "cat", _job_id="one", owner=ANN)
    await gallery.work(keep_result=0)
    await ArqRedis.enqueue_job.__wrapped__(gallery.redis, "paint", "dog", _job_id="one")  # as without this package
    await gallery.work(keep_result=0)
    done = await record("one")
    assert (done.owner, done.staff_only, done.result, done.attempt) == (None, True, "dog:5", 2)


async def test_an_attempt_of_a_life_of_an_unknown_sender_is_its_next(gallery):
    await ArqRedis.enqueue_job.__wrapped__(gallery.redis, "again", 1, _job_id="one")
    await gallery.work()
    assert ((await record("one")).state, (await record("one")).attempt) == ("finished", 2)


async def test_a_refused_sending_changes_nothing(gallery):
    await gallery.enqueue("paint", "cat", _job_id="one", owner=ANN)
    assert await gallery.enqueue("paint", "dog", _job_id="one", owner=BOB) is None
    await gallery.work()
    done = await record("one")
    assert await gallery.enqueue("paint", "dog", _job_id="one", owner=BOB) is None  # the result is kept
    assert await record("one") == done
    assert (done.owner, done.result) == ("7", "cat:5")


# Messages


async def test_a_project_s_own_serializer_takes_the_header_along(gallery):
    def dump(data):
        return json.dumps(data, default=str).encode()

    gallery.redis.job_serializer, gallery.redis.job_deserializer = dump, json.loads
    await gallery.enqueue("paint", "cat", _job_id="one")
    assert "immortus" in json.loads(await gallery.redis.get("arq:job:one"))
    await gallery.work(job_serializer=dump, job_deserializer=json.loads)
    assert await state("one") == "finished"


async def test_a_reader_that_knows_its_entries_alone_gets_no_header(gallery):
    def load(packed):
        data = json.loads(packed)
        if "immortus" in data:
            raise KeyError
        return data

    def dump(data):
        return json.dumps(data, default=str).encode()

    gallery.redis.job_serializer, gallery.redis.job_deserializer = dump, load
    job = await gallery.enqueue("paint", "cat")
    await gallery.work(job_serializer=dump, job_deserializer=load)
    done = await record(job)
    assert (done.state, done.owner, done.result) == ("finished", "7", "cat:5")
    await gallery.enqueue("paint", "dog", _job_id="one", owner=BOB)
    assert await record("one") is None
    await gallery.work(job_serializer=dump, job_deserializer=load)
    assert ((await record("one")).owner, (await record("one")).staff_only) == (None, True)


async def test_a_message_that_cannot_be_read_has_failed(gallery):
    job = await gallery.enqueue("paint", "cat")
    await gallery.redis.set(f"arq:job:{job.job_id}", b"nonsense")
    await gallery.work()
    assert await state(job) == "failed error"


# Ends


@pytest.mark.parametrize("keep_result", [0, 60])
@pytest.mark.parametrize(
    ("kind", "expected"), [("timeout", "failed error"), ("failed", "failed no_paint"), ("value", "failed error")]
)
async def test_what_a_run_raised_is_told(gallery, kind, expected, keep_result):
    job = await gallery.enqueue("raises", kind)
    await gallery.work(keep_result=keep_result)
    assert await state(job) == expected


@pytest.mark.parametrize("keep_result", [0, 60])
async def test_a_time_limit_is_told(gallery, keep_result):
    job = await gallery.enqueue("sleep")
    await gallery.work(job_timeout=0.1, keep_result=keep_result)
    assert await state(job) == "failed time_limit"


@pytest.mark.parametrize("keep_result", [0, 60])
async def test_a_time_limit_is_told_of_a_body_that_goes_on_in_a_thread(gallery, keep_result):
    @tracked
    async def waits(ctx):
        await asyncio.to_thread(time.sleep, 0.4)

    function = func(waits, name="waits", timeout=0.1)
    job = await gallery.enqueue("waits")
    await gallery.work(functions=[function], keep_result=keep_result)
    assert await state(job) == "failed time_limit"


async def test_a_retry_is_told_with_its_time_and_is_no_end(gallery, jobs):
    job = await gallery.enqueue("again", 2, 0.05)
    await gallery.work()
    done = await record(job)
    assert (done.state, done.attempt) == ("finished", 3)
    states = Counter(document["state"] for document in jobs.documents)
    assert states["retrying"] == 2
    assert not {"failed", "lost"} & states.keys()


async def test_a_retry_that_is_not_due_yet_waits_as_long(gallery):
    job = await gallery.enqueue("again", 1, 900)
    async with at_work(gallery) as worker:
        await until(lambda: worker.jobs_retried and is_idle(worker))
    lease = (await record(job)).lease_until
    waiting = 86_400
    assert 890 < lease / 1e6 - waiting - time.time() < 910


async def test_a_job_that_used_up_its_tries_has_failed_once(gallery):
    job = await gallery.enqueue("again", 99)
    await gallery.work(max_tries=2)
    done = await record(job)
    assert (await state(job), done.attempt) == ("failed error", 2)


async def test_a_result_that_cannot_be_kept_is_what_arq_makes_of_it(gallery):
    job = await gallery.enqueue("unkeepable")
    await gallery.work()
    with pytest.raises(arq.jobs.SerializationError):
        await job.result(timeout=1)
    assert await state(job) == "failed error"
    job = await gallery.enqueue("unkeepable")
    await gallery.work(keep_result=0)
    assert await state(job) == "finished"


async def test_a_job_of_a_function_that_the_worker_has_not_has_failed(gallery):
    job = await gallery.enqueue("paint", "cat")
    await gallery.work(functions=[gallery.plain])
    assert await state(job) == "failed unknown_task"


async def test_an_expired_message_is_told(gallery):
    job = await gallery.enqueue("paint", "cat", _expires=0.05)
    await asyncio.sleep(0.1)
    await gallery.work()
    assert await state(job) == "cancelled expired"


# Cancels


async def test_a_cancelled_job_is_not_run(gallery):
    job = await gallery.enqueue("paint", "cat")
    await sync_to_async(tracking.cancel)(job.job_id)
    await gallery.work()
    assert await state(job) == "cancelled cancelled"
    assert gallery.calls == []


async def test_a_job_that_stops_itself_when_asked_is_cancelled(gallery):
    job = await gallery.enqueue("sleep", 0.2)
    async with at_work(gallery) as worker:
        await until(lambda: gallery.calls)
        await sync_to_async(tracking.cancel)(job.job_id)
        await until(lambda: is_idle(worker))
    assert await state(job) == "finished"  # it never looked
    job = await gallery.enqueue("stops")
    await gallery.work()
    assert await state(job) == "failed error"  # nobody has asked


async def test_an_abort_of_a_waiting_job_is_told(gallery):
    job = await gallery.enqueue("paint", "cat")
    await gallery.redis.zadd(abort_jobs_ss, {job.job_id: 1})
    await gallery.work(allow_abort_jobs=True)
    assert await state(job) == "cancelled cancelled"
    assert gallery.calls == []


@pytest.mark.parametrize("keep_result", [0, 60])
@pytest.mark.parametrize("retry_jobs", [True, False])
async def test_an_abort_of_a_running_job_is_told(gallery, keep_result, retry_jobs):
    job = await gallery.enqueue("sleep")
    async with at_work(gallery, allow_abort_jobs=True, keep_result=keep_result, retry_jobs=retry_jobs) as worker:
        await until(lambda: gallery.calls)
        await gallery.redis.zadd(abort_jobs_ss, {job.job_id: 1})
        await until(lambda: is_idle(worker))
    assert await state(job) == "cancelled cancelled"


async def test_an_abort_while_the_run_is_being_told_is_told(gallery, monkeypatch):
    begin = deliveries.Delivery.abegin

    async def slow(delivery, **how):
        gallery.calls.append("begins")
        monkeypatch.setattr(delivery, "_tracker", SimpleNamespace(abegin=hang, end=delivery._tracker.end))
        await begin(delivery, **how)

    async def hang(*_):
        await asyncio.sleep(30)

    monkeypatch.setattr(deliveries.Delivery, "abegin", slow)
    job = await gallery.enqueue("paint", "cat")
    async with at_work(gallery, allow_abort_jobs=True) as worker:
        await until(lambda: gallery.calls)
        await gallery.redis.zadd(abort_jobs_ss, {job.job_id: 1})
        await until(lambda: is_idle(worker))
    assert await state(job) == "cancelled cancelled"
    assert gallery.calls == ["begins"]


# Workers that stop


async def test_a_job_of_a_worker_that_stops_is_put_back_and_runs_again(gallery):
    job = await gallery.enqueue("sleep", 0.3)
    async with at_work(gallery):
        await until(lambda: gallery.calls)
    assert await state(job) == "enqueued"
    await gallery.work()
    done = await record(job)
    assert (done.state, done.attempt) == ("finished", 2)


async def test_a_worker_that_stops_and_does_not_retry_has_lost_its_jobs(gallery):
    job = await gallery.enqueue("sleep")
    async with at_work(gallery, retry_jobs=False, allow_abort_jobs=True):
        await until(lambda: gallery.calls)
    assert await state(job) == "failed worker_lost"


# Schedules


async def test_what_a_schedule_starts_is_for_staff_alone(gallery, jobs):
    daily = arq.cron(gallery.notes, name="daily", run_at_startup=True, hour=3)
    daily_too = arq.cron(gallery.plain, name="untracked", run_at_startup=True, hour=3)
    async with at_work(gallery, cron_jobs=[replace(daily), replace(daily_too)], functions=[gallery.paint]) as worker:
        await until(lambda: gallery.calls and is_idle(worker))
    await sync_to_async(tracking.drain)()
    (job_id,) = {document["job_id"] for document in jobs.documents}
    told = await record(job_id)
    assert (told.owner, told.staff_only, told.job_class) == (None, True, "daily")
    assert job_id.startswith("daily:")


# Owners


async def test_a_job_that_a_job_starts_belongs_to_its_user(gallery):
    await gallery.enqueue("parent")
    await gallery.work()
    child = await record("child")
    assert (child.owner, child.state, child.attempt) == ("7", "finished", 1)


# What breaks


@pytest.mark.parametrize("broken", ["prepare", "enter", "tell", "may_carry"])
async def test_a_job_does_what_it_does_whatever_breaks_around_it(gallery, monkeypatch, broken):
    def breaks(*_, **__):
        msg = "broken"
        raise RuntimeError(msg)

    owners = {"prepare": sendings, "enter": deliveries, "tell": deliveries.Delivery, "may_carry": adapter}
    monkeypatch.setattr(owners[broken], broken, breaks)
    job = await gallery.enqueue("paint", "cat")
    await gallery.work()
    assert await job.result(timeout=1) == "cat:5"
    info = await job.result_info()
    assert (info.success, info.job_try) == (True, 1)


# Functions


def test_functions_are_known_by_name_where_their_module_is_loaded(module):
    queue = queues.by_name("arq")
    assert queue.options_of("paint").publish_result
    assert queue.options_of("plain") is None
    assert queue.name_of(module.paint) == "paint"
    assert queue.name_of(module.plain) is None
    assert queue.name_of(func(module.paint, name="renamed")) == "renamed"
    assert "paint" in queue.tracked_names()
