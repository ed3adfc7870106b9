"""What taskiq's senders and workers do, in the test's process: what the suite does not reach."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from types import ModuleType, SimpleNamespace

import pytest
from asgiref.sync import sync_to_async
from django.test import RequestFactory

from immortus_channels import queues, render_immortus, started_by, tracked, tracking
from immortus_channels.exceptions import ConfigurationError
from immortus_channels.queues import deliveries, sendings
from immortus_channels.queues.results import identify
from immortus_channels.stores import get_store
from immortus_channels.stores.memory import MemoryStore
from immortus_channels.testing import recorded_jobs
from immortus_channels.urls import immortus_jobs

taskiq = pytest.importorskip("taskiq", reason="needs taskiq: make queues QUEUE=taskiq")
from taskiq import (  # noqa: E402
    AsyncBroker,
    InMemoryBroker,
    ScheduleSource,
    SimpleRetryMiddleware,
    SmartRetryMiddleware,
    TaskiqMiddleware,
    TaskiqScheduler,
)
from taskiq.exceptions import NoResultError  # noqa: E402
from taskiq.kicker import AsyncKicker  # noqa: E402
from taskiq.receiver import Receiver  # noqa: E402

from immortus_channels.queues.taskiq import adapter  # noqa: E402
from immortus_channels.queues.taskiq.messages import HEADER, header_in  # noqa: E402
from immortus_channels.queues.taskiq.problems import problems  # noqa: E402
from immortus_channels.queues.taskiq.received import Received, here  # noqa: E402

urlpatterns = [*immortus_jobs()]
pytestmark = pytest.mark.urls(__name__)

ANN, BOB = SimpleNamespace(pk="7"), SimpleNamespace(pk="8")
GALLERY = "gallery_of_a_project"
SOURCE = """
import asyncio, time
from typing import Annotated
from taskiq import Context, TaskiqDepends
from taskiq.exceptions import NoResultError
from immortus_channels import JobCancelled, JobFailed, current_job, tracked

calls = []

@broker.task
@tracked(params=True, publish_result=True)
async def paint(path, size=5, context: Context = TaskiqDepends()):
    calls.append(path)
    current_job().set_meta(own_id=current_job().id, taskiq_id=context.message.task_id)
    return f"{path}:{size}"

@broker.task
@tracked(publish_result=True)
def carve(path):
    calls.append(path)
    current_job().set_meta(own_id=current_job().id)
    return path

@broker.task(timeout=0.1)
@tracked
async def sleep(seconds=30):
    calls.append("slept")
    await asyncio.sleep(seconds)

@broker.task(timeout=0.1)
@tracked
def doze(seconds):
    calls.append("dozed")
    time.sleep(seconds)

@broker.task(retry_on_error=True, max_retries=3)
@tracked(publish_result=True)
def flaky(times):
    calls.append(current_job().attempt)
    if current_job().attempt <= times:
        raise ValueError(1)
    return "at last"

@broker.task(timeout=5)
@tracked
async def raises(kind):
    raise {"timeout": TimeoutError(), "failed": JobFailed("no_paint", "No paint."), "value": ValueError(1)}[kind]

@broker.task(timeout=0.1, retry_on_error=True)
@tracked
def late():
    calls.append("late")
    time.sleep(0.3 if len(calls) < 2 else 0)

def slow_to_give():
    raise TimeoutError

@broker.task
@tracked
async def depends(given: int = TaskiqDepends(slow_to_give)):
    calls.append("depends")

@broker.task
@tracked
async def rejects(context: Context = TaskiqDepends()):
    context.reject()

@broker.task(retry_on_error=True)
@tracked
async def looks():
    calls.append("looks")
    for _ in current_job().track(range(1000)):
        await asyncio.sleep(0.01)

@broker.task
@tracked
async def again(context: Context = TaskiqDepends()):
    calls.append("again")
    if len(calls) < 3:
        await context.requeue()

@broker.task
@tracked
async def resends():
    if current_job().attempt == 1:
        await resends.kicker().with_task_id(current_job().id).kiq()
    current_job().update(message="still at work")

@broker.task
@tracked
async def wants_no_result():
    raise NoResultError

@broker.task
@tracked
async def parent():
    await paint.kicker().with_task_id("child").kiq("child")

@broker.task
async def plain():
    return current_job().id
"""


class ToyBroker(AsyncBroker):
    """A broker with its messages in a list, which a test has run."""

    def __init__(self):
        super().__init__()
        self.sent = []
        self.results = {}
        self.result_backend = self

    async def set_result(self, task_id, result):
        self.results[task_id] = result

    async def kick(self, message):
        self.sent.append(message.message)

    async def listen(self):
        yield b""

    async def work(self, *messages, executor=None, into=None):
        """Run messages, else those that were sent, those that come of that included; keep them in `into`."""
        with executor or ThreadPoolExecutor(2) as pool:
            receiver = Receiver(self, pool, max_async_tasks=5)
            queue = [*messages] or self.sent
            while queue:
                message = queue.pop(0)
                if into is not None:
                    into.append(message)
                await receiver.callback(message)


class Source(ScheduleSource):
    """A source with its schedules in a dictionary."""

    def __init__(self):
        self.schedules = {}

    async def get_schedules(self):
        return list(self.schedules.values())

    async def add_schedule(self, schedule):
        self.schedules[schedule.schedule_id] = schedule.model_copy(deep=True)

    async def delete_schedule(self, schedule_id):
        self.schedules.pop(schedule_id)


class Gallery:
    """A project's tasks and their broker."""

    def __init__(self, module):
        self.module, self.broker = module, module.broker

    def __getattr__(self, name):
        return getattr(self.module, name)

    async def kiq(self, name, *args, owner=ANN, job_id=None, **kwargs):
        with started_by(owner):
            return await getattr(self.module, name).kicker().with_task_id(job_id).kiq(*args, **kwargs)

    async def run(self, name, *args, **kwargs):
        """Send a job, and run it to its end; return its record."""
        sent = await self.kiq(name, *args, **kwargs)
        await self.broker.work()
        return await record(sent.task_id)


@pytest.fixture
def module(monkeypatch):
    module = ModuleType(GALLERY)
    monkeypatch.setitem(sys.modules, GALLERY, module)
    monkeypatch.setattr("immortus_channels.queues.tracked.places", set())
    monkeypatch.setattr(queues.by_name("taskiq"), "tasks", {})
    module.broker = ToyBroker()
    exec(SOURCE, vars(module))
    return module


@pytest.fixture
def jobs():
    with recorded_jobs() as jobs:
        yield jobs


@pytest.fixture
def gallery(module, jobs):
    return Gallery(module)


async def record(job_id):
    """The job's record; None if there is none."""
    await sync_to_async(tracking.drain)()
    return get_store().get_many([job_id]).jobs.get(job_id)


def word(job):
    return job and (f"{job.state}" if job.error is None else f"{job.state} {job.error.code}")


async def until(holds):
    end = time.monotonic() + 10
    while not (answer := holds()):
        assert time.monotonic() < end
        await asyncio.sleep(0.01)
    return answer


def states(jobs, job_id):
    """The states that were told of a job, each followed by another one."""
    told = [document["state"] for document in jobs.documents if document["job_id"] == job_id]
    return [one for one, before in zip(told, [None, *told], strict=False) if one != before]


# Sending


async def test_a_job_is_told_before_it_runs_with_what_its_sender_knows(gallery):
    sent = await gallery.kiq("paint", "cat", size=3)
    told = await record(sent.task_id)
    assert (told.state, told.owner, told.job_class, told.queue) == ("enqueued", "7", f"{GALLERY}:paint", "taskiq")
    assert dict(told.params) == {"path": "cat", "size": 3}  # and no Context
    await gallery.broker.work()
    done = await record(sent.task_id)
    assert (done.state, done.attempt, done.result, done.owner) == ("finished", 1, "cat:3", "7")
    assert done.meta == {"own_id": sent.task_id, "taskiq_id": sent.task_id}


async def test_a_function_that_is_no_coroutine_function_knows_its_job(gallery):
    done = await gallery.run("carve", "dog")
    assert (done.state, done.result, done.meta) == ("finished", "dog", {"own_id": done.job_id})


async def test_a_job_is_shown_by_what_kiq_returns(gallery):
    sent = await gallery.kiq("paint", "cat")
    assert identify(sent) == (sent.task_id, f"{GALLERY}:paint")
    request = RequestFactory().post("/start", HTTP_ACCEPT="application/json")
    request.user = SimpleNamespace(pk="7", is_authenticated=True)
    answer = json.loads((await sync_to_async(render_immortus)(request, sent)).content)
    assert answer["job_id"] == sent.task_id


async def test_a_task_that_is_not_tracked_has_no_job(gallery, jobs):
    sent = await gallery.kiq("plain")
    assert HEADER not in json.loads(gallery.broker.sent[0])["labels"]
    await gallery.broker.work()
    assert gallery.broker.results[sent.task_id].return_value == ""
    assert await record(sent.task_id) is None
    assert jobs.documents == []


async def test_the_kicker_and_the_task_keep_their_labels(gallery):
    kicker = gallery.paint.kicker().with_labels(mine=1)
    first, second = await kicker.kiq("cat"), await kicker.kiq("dog")
    assert first.task_id != second.task_id
    assert (kicker.labels, kicker.custom_task_id, gallery.paint.labels) == ({"mine": 1}, None, {})
    assert json.loads(gallery.broker.sent[0])["labels"]["mine"] == "1"


async def test_a_broker_that_is_made_for_one_sending_sends_jobs(gallery):
    with started_by(ANN):
        sent = await gallery.paint.kicker().with_broker(ToyBroker()).kiq("cat")
    assert ((await record(sent.task_id)).state, (await record(sent.task_id)).owner) == ("enqueued", "7")


async def test_an_owner_reaches_the_worker_from_a_process_that_has_only_the_name(gallery):
    elsewhere = ToyBroker()
    with started_by(ANN):
        sent = await AsyncKicker(f"{GALLERY}:elsewhere", elsewhere, {}).kiq("cat")
    assert await record(sent.task_id) is None
    gallery.broker.task(task_name=f"{GALLERY}:elsewhere")(tracked(lambda path: path))
    await gallery.broker.work(*elsewhere.sent)
    done = await record(sent.task_id)
    assert (done.state, done.owner) == ("finished", "7")


async def test_arguments_that_cannot_be_written_are_not_sent(gallery, jobs):
    with pytest.raises(taskiq.SendTaskError):
        await gallery.kiq("paint", object())
    await sync_to_async(tracking.drain)()
    (job_id,) = {document["job_id"] for document in jobs.documents}
    assert word(await record(job_id)) == "failed not_sent"


async def test_a_message_that_may_have_gone_out_is_not_told_to_be_lost(gallery, monkeypatch, jobs):
    async def kick(message):
        raise ConnectionError

    monkeypatch.setattr(gallery.broker, "kick", kick)
    with pytest.raises(taskiq.SendTaskError):
        await gallery.kiq("paint", "cat", job_id="one")
    told = await record("one")
    assert told.state == "enqueued"
    assert told.lease_until / 1e6 < time.time() + 61


async def test_the_job_of_a_schedule_is_for_staff(gallery):
    sent = await gallery.paint.kicker().with_labels(schedule_id="daily").kiq("cat")
    assert (await record(sent.task_id)).staff_only
    sent = await gallery.paint.kiq("cat")
    assert not (await record(sent.task_id)).staff_only


async def test_a_delay_of_the_broker_s_is_no_silence(gallery):
    with started_by(ANN):
        sent = await gallery.paint.kicker().with_labels(delay=1_000_000).kiq("cat")
        other = await gallery.paint.kicker().with_labels(delay="soon").kiq("cat")
    waits = [(await record(each.task_id)).lease_until / 1e6 - time.time() for each in (sent, other)]
    assert waits[0] > 1_000_000 > waits[1]


async def test_an_argument_may_have_any_name(gallery):
    gallery.broker.task(task_name="any")(tracked(params=True)(lambda kicker, ahead: (kicker, ahead)))
    with started_by(ANN):
        sent = await gallery.broker.find_task("any").kiq(kicker=1, ahead=2)
    assert dict((await record(sent.task_id)).params) == {"kicker": 1, "ahead": 2}


# What is due later


async def plan(gallery, source, seconds=60, owner=ANN):
    when = datetime.now(UTC) + timedelta(seconds=seconds)
    with started_by(owner):
        return await gallery.paint.schedule_by_time(source, when, "cat")


async def test_what_a_scheduler_will_send_is_told_at_once_and_its_sender_s(gallery, jobs):
    source = Source()
    schedule = await plan(gallery, source)
    job_id, name = identify(schedule)
    assert name == f"{GALLERY}:paint"
    assert ((await record(job_id)).state, (await record(job_id)).owner) == ("enqueued", "7")
    (planned,) = source.schedules.values()
    await TaskiqScheduler(gallery.broker, [source]).on_ready(source, planned)
    assert json.loads(gallery.broker.sent[0])["labels"][HEADER] == planned.labels[HEADER]
    await gallery.broker.work()
    done = await record(job_id)
    assert (done.state, done.owner, done.staff_only, done.attempt) == ("finished", "7", False, 1)
    assert {document["job_id"] for document in jobs.documents} == {job_id}


async def test_what_is_taken_out_of_the_schedule_is_cancelled(gallery):
    schedule = await plan(gallery, Source())
    await schedule.unschedule()
    assert word(await record(identify(schedule)[0])) == "cancelled cancelled"


async def test_a_schedule_whose_time_has_come_may_have_sent_its_job(gallery):
    schedule = await plan(gallery, Source(), seconds=-1)
    await schedule.unschedule()
    assert word(await record(identify(schedule)[0])) == "enqueued"


async def test_nothing_is_told_of_a_schedule_of_a_task_that_is_not_tracked(gallery, jobs, caplog):
    schedule = await gallery.plain.schedule_by_time(Source(), datetime.now(UTC) + timedelta(seconds=60))
    await schedule.unschedule()
    await sync_to_async(tracking.drain)()
    assert (jobs.documents, caplog.records) == ([], [])


async def test_a_schedule_that_sends_at_once_too_sends_another_job(gallery):
    schedule = await plan(gallery, Source())
    with started_by(ANN):
        sent = await schedule.kiq()
    assert sent.task_id != identify(schedule)[0]
    assert (await record(sent.task_id)).owner == "7"


async def test_a_schedule_that_repeats_is_no_job(gallery, jobs):
    schedule = await gallery.paint.schedule_by_cron(Source(), "* * * * *", "cat")
    with pytest.raises(ConfigurationError, match="is no job: each of its runs"):
        identify(schedule)
    await schedule.unschedule()
    assert jobs.documents == []


# Lives and runs


async def test_the_next_life_under_an_id_is_its_own_sender_s_alone(gallery):
    first = await gallery.run("paint", "cat", job_id="one", owner=ANN)
    second = await gallery.run("paint", "dog", job_id="one", owner=BOB)
    assert [(each.owner, each.result) for each in (first, second)] == [("7", "cat:5"), ("8", "dog:5")]


async def test_a_message_that_comes_again_is_the_job_s_next_attempt(gallery):
    delivered = []
    await gallery.kiq("paint", "cat", job_id="one")
    await gallery.broker.work(into=delivered)
    await gallery.broker.work(*delivered)
    done = await record("one")
    assert (done.state, done.attempt, done.owner) == ("finished", 2, "7")


async def test_a_message_that_comes_again_beside_its_run_is_the_next_attempt(gallery):
    await gallery.kiq("looks", job_id="one")
    message = gallery.broker.sent[0]
    first = asyncio.create_task(gallery.broker.work(message))
    await until(lambda: gallery.calls == ["looks"])
    second = asyncio.create_task(gallery.broker.work(message))
    await until(lambda: gallery.calls == ["looks", "looks"])
    assert (await record("one")).attempt == 2
    await sync_to_async(tracking.cancel)("one")
    await asyncio.gather(first, second)
    assert word(await record("one")) == "cancelled cancelled"


async def test_a_job_that_is_cancelled_while_it_waits_is_not_run(gallery):
    await gallery.kiq("carve", "dog", job_id="one")
    await sync_to_async(tracking.cancel)("one")
    await gallery.broker.work()
    assert word(await record("one")) == "cancelled cancelled"
    assert gallery.calls == []
    result = gallery.broker.results["one"]
    assert (result.is_err, result.return_value) == (False, None)


async def test_a_refused_run_leaves_no_trace_where_its_message_has_no_header(gallery):
    await gallery.kiq("carve", "dog", job_id="one")
    await sync_to_async(tracking.cancel)("one")
    message = json.loads(gallery.broker.sent.pop())
    del message["labels"][HEADER], message["labels_types"][HEADER]
    await gallery.broker.work(json.dumps(message).encode())
    assert (gallery.calls, tracked_here()) == ([], (None, None))


async def test_a_job_that_a_job_starts_belongs_to_its_user(gallery):
    await gallery.run("parent")
    child = await record("child")
    assert (child.owner, child.state, child.attempt) == ("7", "finished", 1)


async def test_what_a_middleware_sends_at_a_job_s_end_belongs_to_its_user(gallery):
    class Sends(TaskiqMiddleware):
        async def post_save(self, message, result):
            if message.task_name.endswith("carve"):
                await gallery.paint.kicker().with_task_id("next").kiq("next")

    gallery.broker.add_middlewares(Sends())
    await gallery.run("carve", "dog")
    assert (await record("next")).owner == "7"


async def test_a_worker_in_a_job_ends_its_own_run_and_not_the_job(gallery):
    await gallery.kiq("carve", "inner", job_id="inner")
    message = json.loads(gallery.broker.sent.pop())
    del message["labels"][HEADER], message["labels_types"][HEADER]

    @gallery.broker.task(task_name="outer")
    @tracked
    async def outer():
        await gallery.broker.work(json.dumps(message).encode())

    await outer.kicker().with_task_id("outer").kiq()
    await gallery.broker.work()
    assert [word(await record(each)) for each in ("inner", "outer")] == ["finished", "finished"]


async def test_a_pool_of_processes_runs_a_function_that_is_told_all_the_same(gallery):
    sent = await gallery.kiq("carve", "dog")
    await gallery.broker.work(executor=ProcessPoolExecutor(1))
    done = await record(sent.task_id)
    assert (done.state, done.result, done.meta) == ("finished", "dog", {})


async def test_a_pool_of_processes_runs_no_function_of_a_job_that_is_over(gallery):
    sent = await gallery.kiq("carve", "dog")
    await sync_to_async(tracking.cancel)(sent.task_id)
    await gallery.broker.work(executor=ProcessPoolExecutor(1))
    assert gallery.broker.results[sent.task_id].return_value is None


# Ends


@pytest.mark.parametrize(
    ("kind", "expected"), [("timeout", "failed error"), ("failed", "failed no_paint"), ("value", "failed error")]
)
async def test_what_a_run_raised_is_told(gallery, kind, expected):
    assert word(await gallery.run("raises", kind)) == expected


@pytest.mark.parametrize("name", ["sleep", "doze"])
async def test_a_time_limit_is_told(gallery, name):
    assert word(await gallery.run(name, 0.5)) == "failed time_limit"


async def test_what_was_not_the_body_s_is_a_failure(gallery):
    assert word(await gallery.run("depends")) == "failed error"
    assert gallery.calls == []


async def test_a_rejected_message_is_told(gallery):
    assert word(await gallery.run("rejects")) == "failed rejected"


async def test_a_middleware_that_keeps_no_result_changes_no_end(gallery):
    class Drops(TaskiqMiddleware):
        def on_error(self, message, result, exception):
            result.error = NoResultError()

    gallery.broker.add_middlewares(Drops())
    assert word(await gallery.run("raises", "failed")) == "failed no_paint"


async def test_a_task_that_wants_no_result_has_finished(gallery):
    assert word(await gallery.run("wants_no_result")) == "finished"


async def test_a_result_that_cannot_be_saved_changes_nothing(gallery, monkeypatch):
    async def set_result(task_id, result):
        raise TypeError

    monkeypatch.setattr(gallery.broker, "set_result", set_result)
    assert word(await gallery.run("paint", "cat")) == "finished"


async def test_a_task_that_the_worker_does_not_have_has_failed(gallery):
    await gallery.kiq("paint", "cat", job_id="one")
    await ToyBroker().work(*gallery.broker.sent)
    assert word(await record("one")) == "failed unknown_task"


async def test_a_task_that_is_not_tracked_where_it_runs_has_not_failed(gallery):
    await gallery.kiq("carve", "dog", job_id="one")
    other = ToyBroker()
    other.task(task_name=f"{GALLERY}:carve")(lambda path: path)
    await other.work(*gallery.broker.sent)
    assert word(await record("one")) == "enqueued"


async def test_nothing_is_told_of_a_task_that_nobody_knows(jobs):
    broker = ToyBroker()
    await AsyncKicker("nobody:knows", broker, {}).kiq()
    await broker.work()
    await sync_to_async(tracking.drain)()
    assert jobs.documents == []


@pytest.mark.parametrize("hook", ["pre_execute", "on_error", "post_execute", "post_save"])
async def test_a_job_ends_as_its_body_did_whatever_a_middleware_raises(gallery, hook):
    def breaks(self, *_):
        msg = "broken"
        raise RuntimeError(msg)

    gallery.broker.add_middlewares(type("Breaks", (TaskiqMiddleware,), {hook: breaks})())
    await gallery.kiq("raises", "failed", job_id="one")
    if hook == "post_save":
        await gallery.broker.work()
    else:
        with pytest.raises(RuntimeError):
            await gallery.broker.work()
    assert word(await record("one")) == ("enqueued" if hook == "pre_execute" else "failed no_paint")


# Retries


@pytest.mark.parametrize("no_result_on_retry", [True, False])
async def test_a_retry_is_told_and_is_no_end(gallery, jobs, no_result_on_retry):
    gallery.broker.add_middlewares(SimpleRetryMiddleware(no_result_on_retry=no_result_on_retry))
    done = await gallery.run("flaky", 2)
    assert (done.state, done.attempt, done.result, done.owner) == ("finished", 3, "at last", "7")
    expected = ["enqueued", *["running", "retrying"] * 2, "running", "finished"]
    assert states(jobs, done.job_id) == expected


async def test_a_retry_after_a_time_limit_is_told(gallery, jobs):
    gallery.broker.add_middlewares(SimpleRetryMiddleware())
    done = await gallery.run("late")
    assert states(jobs, done.job_id) == ["enqueued", "running", "retrying", "running", "finished"]


async def test_what_a_middleware_sends_after_a_retry_belongs_to_the_job_s_user(gallery):
    class Sends(TaskiqMiddleware):
        async def on_error(self, message, result, exception):
            await gallery.paint.kicker().with_task_id("next").kiq("next")

    gallery.broker.add_middlewares(Sends(), SimpleRetryMiddleware())
    await gallery.run("flaky", 1)
    assert (await record("next")).owner == "7"


async def test_the_last_run_that_is_granted_fails_the_job(gallery):
    gallery.broker.add_middlewares(SimpleRetryMiddleware())
    done = await gallery.run("flaky", 99)
    assert (word(done), done.attempt, gallery.calls) == ("failed error", 3, [1, 2, 3])


async def test_a_retry_that_a_scheduler_sends_later_waits_as_long(gallery):
    source = Source()
    gallery.broker.add_middlewares(SmartRetryMiddleware(default_delay=900, schedule_source=source))
    waiting = await gallery.run("flaky", 1)
    assert waiting.state == "retrying"
    assert 890 < waiting.lease_until / 1e6 - 86_400 - time.time() < 910
    (planned,) = source.schedules.values()
    await TaskiqScheduler(gallery.broker, [source]).on_ready(source, planned)
    await gallery.broker.work()
    done = await record(waiting.job_id)
    assert (done.state, done.attempt, done.owner) == ("finished", 2, "7")


async def test_a_retry_that_cannot_be_sent_is_none(gallery, monkeypatch):
    gallery.broker.add_middlewares(SimpleRetryMiddleware())
    sent = await gallery.kiq("flaky", 1)
    message = gallery.broker.sent.pop()

    async def kick(message):
        raise ConnectionError

    monkeypatch.setattr(gallery.broker, "kick", kick)
    with pytest.raises(taskiq.SendTaskError):
        await gallery.broker.work(message)
    assert word(await record(sent.task_id)) == "failed not_sent"


async def test_the_next_run_of_a_cancelled_job_is_not_begun(gallery, monkeypatch, settings):
    settings.IMMORTUS_INLINE = False
    gallery.broker.add_middlewares(SimpleRetryMiddleware())
    kick, at_sending, write = gallery.broker.kick, [], MemoryStore.update

    async def noting(message):
        at_sending.append(get_store().get_many(["one"]).jobs.get("one"))
        await kick(message)

    def slowly(store, *args, **kwargs):
        time.sleep(0.1)
        return write(store, *args, **kwargs)

    await gallery.kiq("looks", job_id="one")
    monkeypatch.setattr(gallery.broker, "kick", noting)
    run = asyncio.create_task(gallery.broker.work())
    await until(lambda: gallery.calls)
    await sync_to_async(tracking.cancel)("one")
    monkeypatch.setattr(MemoryStore, "update", slowly)
    await run
    assert [word(each) for each in at_sending] == ["cancelled cancelled"]
    assert gallery.calls == ["looks"]


async def test_a_job_that_sends_itself_again_is_not_over_before_its_body_is(gallery, jobs):
    done = await gallery.run("resends")
    assert states(jobs, done.job_id) == ["enqueued", "running", "retrying", "running", "finished"]
    at_work = [each["state"] for each in jobs.documents if each["message"] == "still at work"]
    assert at_work[0] == "running"


async def test_a_message_that_is_put_back_is_no_failure(gallery, jobs):
    done = await gallery.run("again")
    assert (done.state, done.attempt) == ("finished", 3)
    assert states(jobs, done.job_id) == ["enqueued", *["running", "enqueued"] * 2, "running", "finished"]


async def test_a_retry_of_a_message_without_a_header_is_the_job_s_next_attempt(gallery):
    gallery.broker.add_middlewares(SimpleRetryMiddleware())
    await gallery.kiq("flaky", 1, job_id="one")
    message = json.loads(gallery.broker.sent.pop())
    del message["labels"][HEADER], message["labels_types"][HEADER]
    await gallery.broker.work(json.dumps(message).encode())
    await gallery.broker.work()
    assert ((await record("one")).state, (await record("one")).attempt) == ("finished", 2)


# Workers in the sender's process


@pytest.mark.parametrize("await_inplace", [True, False])
async def test_a_broker_in_memory_runs_jobs_and_leaves_no_trace_in_their_sender(jobs, await_inplace):
    broker = InMemoryBroker(await_inplace=await_inplace)
    task = broker.task(task_name="in memory")(tracked(publish_result=True)(lambda path: path))
    with started_by(ANN):
        sent = await task.kiq("cat")
        after = tracked_here()
    await broker.wait_all()
    done = await record(sent.task_id)
    assert (done.state, done.result, done.owner, after) == ("finished", "cat", "7", (None, None))
    await broker.shutdown()


def tracked_here():
    from immortus_channels.writer.run import current_run  # noqa: PLC0415 - of this test alone

    return current_run.get(), here.get()


def test_only_brokers_in_memory_are_eager(module, monkeypatch):
    queue = queues.by_name("taskiq")
    assert not queue.is_eager()
    monkeypatch.setattr(queue, "tasks", {})
    assert not queue.is_eager()
    InMemoryBroker().task(task_name="in memory")(tracked(lambda: None))
    assert queue.is_eager()


async def live(broker, executor):
    """Have a worker begin and end at once."""
    finish = asyncio.Event()
    finish.set()
    with executor as pool:
        await Receiver(broker, pool, max_async_tasks=1, run_startup=False).listen(finish)


async def test_a_worker_writes_what_is_left_before_it_ends(gallery, monkeypatch):
    drained = []
    monkeypatch.setattr(queues.by_name("taskiq")._port, "tracker", SimpleNamespace(drain=lambda: drained.append(1)))
    await live(gallery.broker, ThreadPoolExecutor(1))
    assert drained == [1]


@pytest.mark.parametrize(("executor", "warnings"), [(ThreadPoolExecutor, 0), (ProcessPoolExecutor, 1)])
async def test_a_worker_with_a_pool_of_processes_says_what_it_cannot_follow(gallery, caplog, executor, warnings):
    await live(gallery.broker, executor(1))
    assert sum("pool of processes" in line.message for line in caplog.records) == warnings


# What breaks


@pytest.mark.parametrize("broken", ["prepare", "enter", "tell", "header_in", "end"])
async def test_a_job_does_what_it_does_whatever_breaks_around_it(gallery, monkeypatch, broken):
    def breaks(*_, **__):
        msg = "broken"
        raise RuntimeError(msg)

    owners = {"prepare": sendings, "enter": deliveries, "tell": deliveries.Delivery, "end": Received}
    monkeypatch.setattr(owners.get(broken, adapter), broken, breaks)
    gallery.broker.add_middlewares(SimpleRetryMiddleware())
    sent = await gallery.kiq("paint", "cat")
    await gallery.broker.work()
    result = gallery.broker.results[sent.task_id]
    assert (result.is_err, result.return_value, gallery.calls) == (False, "cat:5", ["cat"])


@pytest.mark.parametrize("label", ["", "[]", "{", None])
def test_a_label_that_is_no_header_counts_as_none(label):
    assert header_in({HEADER: label}) is None


# Tasks


def test_tasks_are_known_by_their_names(module):
    queue = queues.by_name("taskiq")
    assert queue.options_of(f"{GALLERY}:paint").publish_result
    assert queue.options_of(f"{GALLERY}:plain") is None
    assert queue.name_of(module.paint) == f"{GALLERY}:paint"
    assert queue.name_of(module) is None
    assert f"{GALLERY}:paint" in queue.tracked_names()
    assert f"{GALLERY}:plain" not in queue.tracked_names()


def test_tasks_that_were_declared_before_are_found(module, monkeypatch):
    queue = queues.by_name("taskiq")
    monkeypatch.setattr(queue, "tasks", {})
    queue.connect(queue._port)
    assert f"{GALLERY}:paint" in queue.tracked_names()


async def test_a_mark_above_the_decorator_is_one_as_well(gallery):
    task = tracked(gallery.plain)
    sent = await gallery.kiq("plain", job_id="one")
    assert sent.task_id == "one"
    assert (await record("one")).state == "enqueued"
    await gallery.broker.work()
    assert gallery.broker.results["one"].return_value == "one"
    assert task is gallery.plain


# What is checked


def found(*brokers, **labels):
    tasks = [broker.task(task_name=f"{at}", **labels)(tracked(lambda: None)) for at, broker in enumerate(brokers)]
    return [each.id.rpartition(".")[2] for each in problems(tasks)]


def test_a_retry_that_no_middleware_makes_is_found():
    assert found(ToyBroker(), retry_on_error=True) == ["W066"]
    assert found(ToyBroker()) == found(ToyBroker(), retry_on_error=False) == []
    for middleware in (SimpleRetryMiddleware(), SmartRetryMiddleware()):
        assert found(ToyBroker().with_middlewares(middleware), retry_on_error=True) == []


def test_a_delay_that_redis_does_not_keep_is_found():
    redis = pytest.importorskip("taskiq_redis")
    stream = redis.RedisStreamBroker("redis://localhost:1")
    assert found(stream.with_middlewares(SmartRetryMiddleware())) == ["W067"]
    assert found(ToyBroker().with_middlewares(SmartRetryMiddleware())) == []
    kept = redis.RedisStreamBroker("redis://localhost:1")
    assert found(kept.with_middlewares(SmartRetryMiddleware(schedule_source=Source()))) == []


def test_a_worker_that_ends_when_it_is_idle_is_found():
    redis = pytest.importorskip("taskiq_redis")
    assert found(redis.ListQueueBroker("redis://localhost:1", socket_timeout=5)) == ["W068"]
    assert found(redis.ListQueueBroker("redis://localhost:1", socket_timeout=None)) == []
    assert found(redis.RedisStreamBroker("redis://localhost:1", socket_timeout=5)) == []


def test_jobs_that_end_with_their_request_are_found(settings):
    settings.DEBUG = False
    broker = InMemoryBroker()
    assert found(broker, broker) == ["W069"]
    settings.DEBUG = True
    assert found(broker) == []


def test_the_brokers_of_tracked_tasks_are_checked(module):
    module.broker.task(retry_on_error=True)(tracked(lambda: None))
    assert {each.id for each in queues.by_name("taskiq").problems()} == {"immortus_channels.W066"}
