"""What SAQ's queues and workers do, in the test's process, on a Redis: what the suite does not reach."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import sys
import time
import uuid
from contextvars import Context
from copy import copy
from types import ModuleType, SimpleNamespace

import pytest
from asgiref.sync import sync_to_async
from django.test import RequestFactory

from immortus_channels import queues, render_immortus, started_by, tracked, tracking
from immortus_channels.exceptions import ConfigurationError
from immortus_channels.queues import deliveries, sendings
from immortus_channels.queues.results import identify
from immortus_channels.stores import get_store
from immortus_channels.testing import recorded_jobs
from immortus_channels.urls import immortus_jobs

saq = pytest.importorskip("saq", reason="needs SAQ: make queues QUEUE=saq")
from saq import CronJob, Job, Queue, Status, Worker  # noqa: E402

from immortus_channels.queues.saq import adapter  # noqa: E402
from immortus_channels.queues.saq import jobs as noted  # noqa: E402

urlpatterns = [*immortus_jobs()]
pytestmark = [
    pytest.mark.urls(__name__),
    pytest.mark.redis,
    # SAQ leaves to the collector what a cancelled job was about to ask Redis.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]

ANN, BOB = SimpleNamespace(pk="7"), SimpleNamespace(pk="8")
GALLERY = "gallery_of_a_project"
SOURCE = """
import asyncio, time
from immortus_channels import JobCancelled, JobFailed, current_job, tracked

calls = []

@tracked(params=True, publish_result=True)
async def paint(ctx, *, path, size=5):
    calls.append(path)
    current_job().set_meta(own_id=current_job().id)
    return f"{path}:{size}"

@tracked(publish_result=True)
def carve(ctx, *, path):
    current_job().set_meta(own_id=current_job().id)
    return path

@tracked
async def sleep(ctx, seconds=30):
    calls.append("slept")
    await asyncio.sleep(seconds)

@tracked
def doze(ctx, seconds):
    calls.append("slept")
    time.sleep(seconds)

@tracked
async def flaky(ctx, times):
    if ctx["job"].attempts <= times:
        raise ValueError(1)

@tracked
async def second(ctx):
    if ctx["job"].attempts == 1:
        raise ValueError(1)
    calls.append("second")
    while len(calls) < 2:
        await asyncio.sleep(0.01)

@tracked
async def raises(ctx, kind):
    raise {"timeout": TimeoutError(), "failed": JobFailed("no_paint", "No paint."), "value": ValueError(1)}[kind]

@tracked
async def looks(ctx):
    calls.append("looks")
    for _ in current_job().track(range(1000)):
        await asyncio.sleep(0.01)

@tracked
async def unkeepable(ctx):
    return object()

@tracked
async def parent(ctx):
    await ctx["worker"].queue.enqueue("paint", path="child", key="child")

async def plain(ctx):
    return current_job().id
"""
NAMES = "paint", "carve", "sleep", "doze", "flaky", "second", "raises", "looks", "unkeepable", "parent", "plain"


class Gallery:
    """A project's functions, its queue, and a worker for as long as a test wants."""

    def __init__(self, module, queue):
        self.module, self.queue = module, queue

    def __getattr__(self, name):
        return getattr(self.module, name)

    async def enqueue(self, name, *, owner=ANN, **kwargs):
        with started_by(owner):
            return await self.queue.enqueue(name, **kwargs)

    @contextlib.asynccontextmanager
    async def at_work(self, **options):
        """A worker at work meanwhile."""
        functions = options.pop("functions", None) or [getattr(self.module, name) for name in NAMES]
        timers = {"schedule": 1, "sweep": 1, "abort": 0.05, "worker_info": 10, **options.pop("timers", {})}
        worker = Worker(self.queue, functions, timers=timers, **options)
        worker.SIGNALS = []
        task = asyncio.create_task(worker.start())
        try:
            yield worker
        finally:
            worker.event.set()
            await task

    async def run(self, job, **options):
        """Have a worker run a job to its end."""
        async with self.at_work(**options):
            await job.refresh(10)


@pytest.fixture
def module(monkeypatch):
    module = ModuleType(GALLERY)
    monkeypatch.setitem(sys.modules, GALLERY, module)
    monkeypatch.setattr("immortus_channels.queues.tracked.places", set())
    monkeypatch.setattr(queues.by_name("saq"), "tasks", {})
    exec(SOURCE, vars(module))
    return module


@pytest.fixture
def jobs():
    with recorded_jobs() as jobs:
        yield jobs


@pytest.fixture
async def gallery(module, jobs, redis_server):
    queue = Queue.from_url(redis_server.url)
    await queue.connect()
    await queue.redis.flushall()
    yield Gallery(module, queue)
    await queue.disconnect()


async def record(job):
    """The job's record; None if there is none."""
    job_id = job if isinstance(job, str) else noted.id_of(job)
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


async def until_state(job, expected):
    end = time.monotonic() + 15
    while (found := await state(job)) != expected:
        assert time.monotonic() < end, found
        await asyncio.sleep(0.02)


def states(jobs, job_id):
    """The states that were told of a job, each followed by another one."""
    told = [document["state"] for document in jobs.documents if document["job_id"] == job_id]
    return [one for one, before in zip(told, [None, *told], strict=False) if one != before]


# Sending


async def test_a_job_is_told_before_it_runs_with_what_its_sender_knows(gallery):
    job = await gallery.enqueue("paint", path="cat", size=3)
    told = await record(job)
    assert (told.state, told.owner, told.job_class, told.queue) == ("enqueued", "7", "paint", "saq")
    assert dict(told.params) == {"path": "cat", "size": 3}
    await gallery.run(job)
    done = await record(job)
    assert (done.state, done.attempt, done.result, done.owner) == ("finished", 1, "cat:3", "7")
    assert done.meta == {"own_id": job.key}


async def test_a_function_that_is_no_coroutine_function_knows_its_job(gallery):
    job = await gallery.enqueue("carve", path="dog")
    await gallery.run(job)
    done = await record(job)
    assert (done.state, done.result, done.meta) == ("finished", "dog", {"own_id": job.key})


async def test_a_job_is_shown_by_what_enqueue_returns(gallery):
    job = await gallery.enqueue("paint", path="cat")
    assert identify(job) == (job.key, "paint")
    request = RequestFactory().post("/start", HTTP_ACCEPT="application/json")
    request.user = SimpleNamespace(pk="7", is_authenticated=True)
    answer = json.loads((await sync_to_async(render_immortus)(request, job)).content)
    assert answer["job_id"] == job.key


async def test_a_function_that_is_not_tracked_has_no_job(gallery):
    job = await gallery.enqueue("plain", key="plain")
    await gallery.run(job)
    assert (job.result, await record(job)) == ("", None)
    with pytest.raises(ConfigurationError, match="'plain' is not tracked"):
        identify(job)


async def test_an_owner_reaches_the_worker_from_a_process_that_has_only_the_name(gallery, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("immortus_channels.queues.tracked.places", set())
        job = await gallery.enqueue("paint", path="cat")
        other = await gallery.enqueue("nobody_has_it")
    assert await record(job) is None
    async with gallery.at_work():
        await job.refresh(10)
        await other.refresh(10)
    done = await record(job)
    assert (done.state, done.owner, done.staff_only) == ("finished", "7", False)
    assert await record(other) is None


async def test_arguments_that_cannot_be_written_are_not_sent(gallery, jobs):
    with pytest.raises(TypeError):
        await gallery.enqueue("paint", path=object())
    await sync_to_async(tracking.drain)()
    (job_id,) = {document["job_id"] for document in jobs.documents}
    assert await state(job_id) == "failed not_sent"


async def test_what_a_callback_of_the_project_refuses_is_not_told(gallery, jobs):
    async def refuses(job):
        msg = "no"
        raise PermissionError(msg)

    gallery.queue.register_before_enqueue(refuses)
    with pytest.raises(PermissionError):
        await gallery.enqueue("paint", path="cat")
    await sync_to_async(tracking.drain)()
    assert jobs.documents == []


async def test_a_job_that_anybody_may_see_has_a_key_that_nobody_guesses(gallery):
    job = await gallery.enqueue("paint", path="cat", owner=None)
    assert (uuid.UUID(job.key).version, (await record(job)).staff_only) == (4, False)


async def test_a_visitor_s_job_whose_key_can_be_guessed_is_for_staff(gallery):
    job = await gallery.enqueue(Job("paint", kwargs={"path": "cat"}), owner=None)
    assert (uuid.UUID(job.key).version, (await record(job)).staff_only) == (1, True)


async def test_a_job_s_own_meta_stays_and_is_not_shared(gallery):
    meta = {"mine": 1}
    one, two = [await gallery.enqueue("paint", path="cat", meta=meta) for _ in range(2)]
    assert meta == {"mine": 1}
    assert one.meta["mine"] == two.meta["mine"] == 1
    assert one.meta[noted.HEADER]["send_id"] != two.meta[noted.HEADER]["send_id"]


# Lives


async def test_the_next_life_under_a_key_is_its_own_sender_s_alone(gallery):
    first = await gallery.enqueue("paint", path="cat", key="one", owner=ANN)
    await gallery.run(first)
    assert ((await record("one")).owner, (await record("one")).attempt) == ("7", 1)
    second = await gallery.enqueue("paint", path="dog", key="one", owner=BOB)
    assert ((await record("one")).state, (await record("one")).owner) == ("enqueued", "8")
    await gallery.run(second)
    done = await record("one")
    assert (done.owner, done.state, done.result) == ("8", "finished", "dog:5")


async def test_the_next_life_is_its_sender_s_even_if_its_run_is_told_first(gallery, monkeypatch):
    await gallery.run(await gallery.enqueue("paint", path="cat", key="one", owner=ANN))
    tell, told = sendings.Sending.atell, asyncio.Event()

    async def late(sending):
        await told.wait()
        return await tell(sending)

    monkeypatch.setattr(sendings.Sending, "atell", late)
    sending = asyncio.create_task(gallery.enqueue("paint", path="dog", key="one", owner=BOB))
    async with gallery.at_work():
        await until(lambda: gallery.calls == ["cat", "dog"])
        await until_state("one", "finished")
    assert ((await record("one")).owner, (await record("one")).result) == ("8", "dog:5")
    told.set()
    await sending
    assert ((await record("one")).owner, await state("one")) == ("8", "finished")


async def test_the_next_life_of_an_unknown_sender_is_for_staff(gallery, monkeypatch):
    await gallery.run(await gallery.enqueue("paint", path="cat", key="one", owner=ANN))
    with monkeypatch.context() as patch:  # as without this package
        patch.setattr(Queue, "enqueue", Queue.enqueue.__wrapped__)
        patch.setattr(Queue, "_before_enqueue", Queue._before_enqueue.__wrapped__)
        job = await gallery.enqueue("paint", path="dog", key="one")
    await gallery.run(job)
    done = await record("one")
    assert (done.owner, done.staff_only, done.result, done.attempt) == (None, True, "dog:5", 2)


async def test_a_refused_sending_changes_nothing(gallery):
    first = await gallery.enqueue("paint", path="cat", key="one", owner=ANN)
    assert await gallery.enqueue("paint", path="dog", key="one", owner=BOB) is None
    before = await record("one")
    await gallery.run(first)
    done = await record("one")
    assert (before.owner, done.owner, done.result) == ("7", "7", "cat:5")


async def test_a_job_object_that_is_sent_again_begins_a_life_for_its_sender(gallery):
    job = Job("paint", kwargs={"path": "cat"})
    await gallery.enqueue(job, owner=ANN)
    await gallery.run(job)
    await gallery.enqueue(job, owner=BOB)
    assert ((await record(job)).state, (await record(job)).owner) == ("enqueued", "8")


async def test_a_job_object_that_is_refused_after_its_end_stays_over(gallery):
    job = Job("paint", kwargs={"path": "cat"}, scheduled=4_000_000_000)
    await gallery.enqueue(job)
    await job.abort("enough")
    assert await gallery.enqueue(job) is None  # for five seconds
    assert await state(job) == "cancelled cancelled"


async def test_a_job_that_is_retried_by_hand_is_its_user_s_again(gallery):
    job = await gallery.enqueue("flaky", times=1)
    await gallery.run(job)
    assert await state(job) == "failed error"
    await job.retry("retried from ui")
    assert await state(job) == "enqueued"
    await gallery.run(job)
    done = await record(job)
    assert (done.state, done.owner) == ("finished", "7")


# Ends


@pytest.mark.parametrize(
    ("kind", "expected"), [("timeout", "failed error"), ("failed", "failed no_paint"), ("value", "failed error")]
)
async def test_what_a_run_raised_is_told(gallery, kind, expected):
    job = await gallery.enqueue("raises", kind=kind)
    await gallery.run(job)
    assert await state(job) == expected


@pytest.mark.parametrize("name", ["sleep", "doze"])
async def test_a_time_limit_is_told(gallery, name):
    job = await gallery.enqueue(name, seconds=2, timeout=1)
    await gallery.run(job, cancellation_hard_deadline_s=0.1)
    assert await state(job) == "failed time_limit"


async def test_a_retry_is_told_and_is_no_end(gallery, jobs):
    job = await gallery.enqueue("flaky", times=1, retries=3)
    await gallery.run(job)
    done = await record(job)
    assert (done.state, done.attempt) == ("finished", 2)
    assert states(jobs, job.key) == ["enqueued", "running", "retrying", "running", "finished"]


async def test_a_retry_that_is_not_due_yet_waits_as_long(gallery):
    job = await gallery.enqueue("flaky", times=1, retries=3, retry_delay=900.0)
    async with gallery.at_work():
        await until_state(job, "retrying")
    lease, waiting = (await record(job)).lease_until, 86_400
    assert 890 < lease / 1e6 - waiting - time.time() < 910


async def test_a_result_that_cannot_be_written_is_what_saq_makes_of_it(gallery):
    job = await gallery.enqueue("unkeepable")
    await gallery.run(job)
    assert (job.status, await state(job)) == (Status.FAILED, "failed error")


async def test_a_job_of_a_function_that_the_worker_has_not_has_failed(gallery):
    job = await gallery.enqueue("paint", path="cat")
    await gallery.run(job, functions=[gallery.plain])
    assert await state(job) == "failed unknown_task"


async def test_a_hook_of_the_project_that_raises_before_a_job_fails_it(gallery, jobs):
    async def breaks(ctx):
        msg = "no"
        raise PermissionError(msg)

    job = await gallery.enqueue("paint", path="cat")
    await gallery.run(job, before_process=breaks)
    assert (await state(job), gallery.calls) == ("failed error", [])


# Cancels


async def test_a_cancelled_job_is_not_run(gallery):
    job = await gallery.enqueue("paint", path="cat")
    await sync_to_async(tracking.cancel)(job.key)
    await gallery.run(job)
    assert (await state(job), gallery.calls) == ("cancelled cancelled", [])


async def test_a_running_job_stops_when_asked_and_is_not_retried(gallery):
    job = await gallery.enqueue("looks", retries=5)
    async with gallery.at_work():
        await until(lambda: gallery.calls)
        await sync_to_async(tracking.cancel)(job.key)
        await job.refresh(10)
    assert (await state(job), gallery.calls) == ("cancelled cancelled", ["looks"])


@pytest.mark.parametrize("later", [{}, {"scheduled": 4_000_000_000}])
async def test_an_abort_of_a_waiting_job_is_told(gallery, later):
    job = await gallery.enqueue("paint", path="cat", **later)
    await job.abort("enough")
    assert await state(job) == "cancelled cancelled"


async def test_an_abort_of_a_job_that_waits_for_its_retry_is_told(gallery):
    job = await gallery.enqueue("flaky", times=1, retries=3, retry_delay=900.0)
    async with gallery.at_work():
        await until_state(job, "retrying")
    await job.refresh()
    await job.abort("enough")
    assert await state(job) == "cancelled cancelled"


async def test_an_abort_of_a_running_job_is_told_once_it_stops(gallery):
    job = await gallery.enqueue("sleep")
    async with gallery.at_work():
        await until(lambda: gallery.calls)
        await asyncio.sleep(0.1)
        await job.refresh()
        await job.abort("enough")
        await until_state(job, "cancelled cancelled")


# Workers that stop, or are gone


async def test_a_job_of_a_worker_that_stops_is_put_back_and_runs_again(gallery, jobs):
    job = await gallery.enqueue("sleep", seconds=0.3)
    async with gallery.at_work():
        await until(lambda: gallery.calls)
    assert await state(job) == "enqueued"
    await gallery.run(job)
    done = await record(job)
    assert (done.state, done.attempt) == ("finished", 2)


@pytest.mark.parametrize(("retries", "expected"), [(1, "failed worker_lost"), (2, "finished")])
async def test_what_a_sweep_does_to_the_job_of_a_dead_worker_is_told(gallery, jobs, retries, expected):
    job = await gallery.enqueue("paint", path="cat", timeout=1, retries=retries)
    taken = await gallery.queue.dequeue(1)
    worker = Worker(gallery.queue, [gallery.paint])
    taken.started, taken.attempts = int(time.time() * 1000) - 2000, 1
    if hasattr(taken, "worker_id"):  # since SAQ 0.26.3
        taken.worker_id = worker.id
    await taken.update(status=Status.ACTIVE)
    await asyncio.create_task(worker._before_process({"worker": worker, "job": taken}))  # and no more is heard of it
    assert await state(job) == "running"
    queues.by_name("saq")._port._here.clear()
    await gallery.queue.sweep(abort=0.1)
    if retries == 2:
        assert await state(job) == "retrying"
        await gallery.run(job)
        assert (await record(job)).attempt == 2
    assert await state(job) == expected


async def test_a_job_that_a_sweep_takes_on_its_way_to_a_worker_waits(gallery):
    job = await gallery.enqueue("paint", path="cat")
    await gallery.queue.dequeue(1)
    await gallery.queue.sweep(abort=0.1)
    assert await state(job) == "enqueued"


async def test_a_missed_heartbeat_is_a_time_limit(gallery):
    job = await gallery.enqueue("sleep", heartbeat=1, timeout=0)
    async with gallery.at_work():
        await until_state(job, "failed time_limit")


async def test_what_comes_late_of_an_earlier_run_changes_nothing(gallery):
    taken = []
    job = await gallery.enqueue("second", retries=2)
    async with gallery.at_work(before_process=lambda context: taken.append(copy(context["job"]))):
        await until(lambda: gallery.calls)
        assert [each.attempts for each in taken] == [1, 2]
        await gallery.queue.finish(taken[0], Status.FAILED, error="late")
        assert await state(job) == "running"
        gallery.calls.append("go on")
        await until_state(job, "finished")


async def test_a_worker_that_stops_while_a_run_is_being_told_puts_it_back(gallery, monkeypatch):
    begin = deliveries.Delivery.abegin

    async def slow(delivery, **how):
        gallery.calls.append("begins")
        monkeypatch.setattr(delivery, "_tracker", SimpleNamespace(abegin=hang, end=delivery._tracker.end))
        await begin(delivery, **how)

    async def hang(*_):
        await asyncio.sleep(30)

    job = await gallery.enqueue("paint", path="cat")
    with monkeypatch.context() as patch:
        patch.setattr(deliveries.Delivery, "abegin", slow)
        async with gallery.at_work():
            await until(lambda: gallery.calls)
    await job.refresh()
    assert (job.status, await state(job)) == (Status.QUEUED, "enqueued")
    await gallery.run(job)
    assert (await state(job), gallery.calls) == ("finished", ["begins", "cat"])


# Over HTTP


async def test_what_another_process_asks_for_over_http_is_that_process_s_to_tell(gallery):
    pytest.importorskip("aiohttp")
    proxy = importlib.import_module("saq.queue.http").HttpProxy(gallery.queue)

    class Relayed(Queue):
        """Asks the proxy as `HttpQueue` does, without a connection between them."""

        async def _enqueue(self, job):
            packed = await self.ask(kind="enqueue", job=self.serialize(job))
            return self.deserialize(packed)

        async def _finish(self, job, status, **fields):
            await self.ask(kind="finish", job=self.serialize(job), status=status, **fields)

        async def ask(self, **request):
            process = proxy.process(json.dumps(request))
            return await asyncio.create_task(process, context=Context())  # as in another process

        def unused(self, *_, **__):
            raise NotImplementedError

        disconnect = info = count = sweep = _update = job = jobs = iter_jobs = unused
        abort = dequeue = write_worker_info = _retry = unused

    here = Relayed("default", None, None)
    with started_by(ANN):
        job = await here.enqueue("raises", kind="failed")
    assert (await gallery.queue.job(job.key)).meta[noted.HEADER]["owner"] == "7"
    await gallery.run(job_in(gallery, job))
    assert await state(job) == "failed no_paint"
    with started_by(ANN):
        job = await here.enqueue("paint", path="cat")
    job.queue = here
    await job.finish(Status.ABORTED, error="enough")
    assert await state(job) == "cancelled cancelled"


def job_in(gallery, job):
    """The same job, of the queue in Redis."""
    job = copy(job)
    job.queue = gallery.queue
    return job


# Schedules


async def test_each_tick_of_a_schedule_is_a_job_for_staff_alone(gallery, jobs):
    async with gallery.at_work(cron_jobs=[CronJob(gallery.sleep, cron="* * * * * */1", kwargs={"seconds": 0})]):
        await until(lambda: len(gallery.calls) >= 2)
    await sync_to_async(tracking.drain)()
    ids = {document["job_id"] for document in jobs.documents}
    assert len(ids) >= 2
    assert all(job_id.startswith("cron:sleep:") for job_id in ids)
    told = [await record(job_id) for job_id in ids]
    assert {(each.owner, each.staff_only, each.attempt) for each in told} == {(None, True, 1)}


async def test_a_mark_above_a_schedule_s_object_is_found(gallery, jobs):
    async def ticks(ctx):
        gallery.calls.append("ticked")

    cron = tracked(CronJob(ticks, cron="* * * * * */1"))
    async with gallery.at_work(cron_jobs=[cron]):
        await until(lambda: gallery.calls)
    await sync_to_async(tracking.drain)()
    assert {document["job_class"] for document in jobs.documents} == {ticks.__qualname__}


# Owners


async def test_a_job_that_a_job_starts_belongs_to_its_user(gallery):
    await gallery.enqueue("parent")
    async with gallery.at_work():
        await until_state("child", "finished")
    assert ((await record("child")).owner, (await record("child")).attempt) == ("7", 1)


# What breaks


@pytest.mark.parametrize("broken", ["prepare", "enter", "tell", "put_header"])
async def test_a_job_does_what_it_does_whatever_breaks_around_it(gallery, monkeypatch, broken):
    def breaks(*_, **__):
        msg = "broken"
        raise RuntimeError(msg)

    owners = {"prepare": sendings, "enter": deliveries, "tell": deliveries.Delivery, "put_header": adapter}
    monkeypatch.setattr(owners[broken], broken, breaks)
    job = await gallery.enqueue("paint", path="cat")
    await gallery.run(job)
    assert (job.status, job.result, job.attempts) == (Status.COMPLETE, "cat:5", 1)


# Set-up


def test_an_argument_that_saq_keeps_for_itself_is_found(module):
    queue = queues.by_name("saq")
    assert queue.problems() == []
    exec("@tracked\nasync def waits(ctx, *, timeout, path):\n    pass", vars(module))
    (warning,) = queue.problems()
    assert warning.id == "immortus_channels.W064"
    assert "'waits' takes 'timeout'" in warning.msg
