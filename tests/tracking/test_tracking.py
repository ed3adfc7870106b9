from __future__ import annotations

import asyncio
import contextlib
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, connections, transaction

from immortus_channels import queues, tracking, writer
from immortus_channels.api.repository import get_job
from immortus_channels.api.strategy import TrackingStrategy
from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.jobs.events import (
    Cancelled,
    CancelRequested,
    Enqueued,
    Failed,
    Finished,
    Origin,
    Overdue,
    Planned,
    Reported,
    Retrying,
    Started,
    Updated,
)
from immortus_channels.jobs.job import Job, State
from immortus_channels.queues.tracked import TaskOptions
from immortus_channels.stores import get_store
from immortus_channels.stores.base import Reading
from immortus_channels.tracking import queue_cancels, reader
from immortus_channels.tracking.soon import soon
from immortus_channels.tracking.strategies import load
from immortus_channels.writer.run import current_run
from tests.toys import Ticks, ToyQueue, eventually

RUN = {"run_id": "r"}
HOOKS = ("enqueued", "started", "finished", "failed", "retrying", "cancelled", "lost")


class Diary(TrackingStrategy):
    """Writes down what is called, and says what it is told to."""

    def __init__(self):
        self.calls = []
        self.errors = []
        self.says = {}
        self.done = True
        self.inside = lambda _: None

    def meta(self, job_id):
        self.calls.append("meta")
        return dict(self.says)

    def completed(self, job_id):
        self.calls.append("completed")
        return self.done

    def count(self, job_id, **says):
        self.says.update(says)

    def _hook(self, name, job_id):
        self.calls.append(name)
        self.inside(job_id)

    @property
    def hooks(self):
        return [call for call in self.calls if call in HOOKS]


def hook(name):
    def called(self, job_id, error=None):
        if error is not None:
            self.errors.append((error.code, error.message))
        self._hook(name, job_id)

    return called


for _name in HOOKS:
    setattr(Diary, f"job_{_name}", hook(_name))


@pytest.fixture
def diary():
    load.cache_clear()
    yield load(Diary)
    load.cache_clear()


@pytest.fixture
def queue(monkeypatch):
    queue = ToyQueue(told=TaskOptions(strategy=Diary), silent=TaskOptions())
    monkeypatch.setattr(queues, "connected", [queue])
    return queue


@pytest.fixture
def memory(settings):
    settings.IMMORTUS_STORE = {"BACKEND": "tests.toys.FlakyStore"}
    return get_store()


@pytest.fixture
def with_thread(monkeypatch):
    """Writes by the thread, as outside tests."""
    monkeypatch.setattr(writer, "is_inline", lambda: False)
    monkeypatch.setattr(writer, "_writer", None)
    yield
    writer.drain()


@pytest.fixture
def job_id():
    return uuid.uuid4().hex


@pytest.fixture
def tell(job_id):
    """Publish an event of the job."""

    def publish(kind, *, job_class="told", run_id="", **fields):
        return tracking.publish(kind(job_id=job_id, job_class=job_class, run_id=run_id, **fields))

    return publish


@pytest.fixture
def record(job_id):
    def read():
        return get_store().get_many([job_id]).jobs.get(job_id)

    return read


@pytest.fixture
def run(job_id):
    """A run of the job in this process, as a queue adapter begins it."""
    run = tracking.make_run(job_id=job_id, job_class="told", run_id="r", origin=None)
    token = current_run.set(run)
    yield run
    current_run.reset(token)
    writer.get_writer().detach(run)


def age_lease(job, seconds=-1):
    get_store().renew({job.job_id: job.lease_holder}, seconds)


pytestmark = pytest.mark.usefixtures("queue", "diary")


# Hooks, meta, write


@pytest.mark.case(17)
@pytest.mark.usefixtures("memory")
def test_the_hook_comes_first_then_meta_then_completed_then_the_write(tell, diary, record):
    seen = []
    tell(Enqueued)
    tell(Started, run_id="r")
    diary.calls.clear()
    diary.inside = lambda _: (seen.append(record().state), diary.says.update(p=100))
    job = tell(Finished, run_id="r")
    assert diary.calls == ["finished", "meta", "completed"]
    assert seen == [State.RUNNING]
    assert (job.state, job.strategy_meta) == (State.FINISHED, {"p": 100})


@pytest.mark.case(1)
@pytest.mark.usefixtures("memory")
@pytest.mark.parametrize("mode", ["inline", "with_thread"])
def test_a_hook_knows_the_job_as_the_change_makes_it_the_first_one_too(tell, diary, job_id, request, mode):
    if mode == "with_thread":
        request.getfixturevalue(mode)
    seen = []
    diary.inside = lambda _: seen.append((diary.job(job_id).state, diary.job(job_id).owner, get_job(job_id).params))
    origin = Origin(owner="7", params={"path": "cat.jpg"})
    tell(Enqueued, origin=origin)
    tell(Started, run_id="r", origin=origin)
    tell(Failed, run_id="r")
    assert seen == [(state, "7", {"path": "cat.jpg"}) for state in ("enqueued", "running", "failed")]
    assert tracking.job_in_hook(job_id) is None


@pytest.mark.usefixtures("memory")
@pytest.mark.parametrize(
    ("events", "hooks"),
    [
        ([(Enqueued, {}), (Started, RUN), (Finished, RUN)], ["enqueued", "started", "finished"]),
        ([(Enqueued, {})] * 2, ["enqueued"]),
        ([(Planned, {}), (Enqueued, {"origin": Origin(send_id="s")})], ["enqueued"]),
        ([(Started, RUN)] * 2, ["started"]),
        ([(Started, RUN), (Failed, RUN), (Failed, RUN)], ["started", "failed"]),
        ([(Started, RUN), (Retrying, RUN), (Started, {"run_id": "q"})], ["started", "retrying", "started"]),
        ([(Enqueued, {}), (CancelRequested, {}), (Cancelled, {})], ["enqueued", "cancelled"]),
        ([(Started, RUN), (Updated, {"current": 5}), (Reported, RUN)], ["started"]),
        ([(Started, {"run_id": "old"}), (Started, RUN), (Finished, {"run_id": "old"})], ["started", "started"]),
        ([(Updated, {"current": 5}), (CancelRequested, {}), (Overdue, {})], []),
    ],
)
def test_each_change_of_state_calls_its_hook_once(tell, diary, events, hooks):
    for kind, fields in events:
        tell(kind, **fields)
    assert diary.hooks == hooks


@pytest.mark.usefixtures("memory", "with_thread")
@pytest.mark.parametrize("kind", [Failed, Cancelled])
def test_what_is_told_twice_without_waiting_calls_its_hook_once(job_id, tell, diary, kind):
    tell(Started, run_id="r")
    for _ in range(2):
        tracking.publish(kind(job_id=job_id, job_class="told", run_id="r"), wait=0)
        writer.drain()
    assert len(diary.hooks) == 2


def test_a_hook_is_called_once_also_when_the_write_meets_another(memory, tell, diary, record, monkeypatch):
    tell(Started, run_id="r")
    diary.calls.clear()
    update, tries = memory.update, []

    def contended(job_id, change, **known):
        def changed(job, now):
            tries.append(1)
            if len(tries) == 1:
                super(type(memory), memory).update(job_id, lambda job, now: _with_current(job, 3))
            return change(job, now)

        return update(job_id, changed, **known)

    monkeypatch.setattr(memory, "update", contended)
    tell(Finished, run_id="r")
    assert len(tries) == 2
    assert diary.calls == ["finished", "meta", "completed"]
    assert (record().state, record().current) == (State.FINISHED, 3)


def _with_current(job, current):
    return replace(job, current=current, version=job.version + 1)


@pytest.mark.case(2)
@pytest.mark.usefixtures("memory")
def test_the_failed_hook_is_told_what_the_viewer_will_see(tell, diary):
    tell(Started, run_id="r")
    tell(Failed, run_id="r", code="not_an_image", message="No image.")
    assert diary.errors == [("not_an_image", "No image.")]


@pytest.mark.case(8)
@pytest.mark.usefixtures("memory")
def test_a_hook_that_raises_is_logged_and_changes_nothing_else(tell, diary, caplog):
    diary.inside = lambda _: 1 / 0
    diary.says = {"p": 1}
    job = tell(Enqueued)
    assert (job.state, job.strategy_meta) == (State.ENQUEUED, {"p": 1})
    assert len(caplog.records) == 1
    assert "job_enqueued" in caplog.text


@pytest.mark.case(16)
@pytest.mark.usefixtures("memory")
def test_meta_that_raises_keeps_the_last_good_one(tell, diary, caplog, monkeypatch):
    diary.says = {"p": 1}
    tell(Enqueued)
    monkeypatch.setattr(Diary, "meta", lambda self, job_id: 1 / 0)
    job = tell(Started, run_id="r")
    assert (job.state, job.strategy_meta) == (State.RUNNING, {"p": 1})
    assert len(caplog.records) == 1


@pytest.mark.usefixtures("memory")
def test_an_integer_in_meta_that_browsers_would_round_is_shown_as_text(tell, diary, caplog):
    diary.says = {"id": 653247040368672769, "small": 1}
    assert tell(Enqueued).document["id"] == "653247040368672769"
    assert tell(Started, run_id="r").document["small"] == 1
    assert [line.levelname for line in caplog.records] == ["WARNING"]


@pytest.mark.usefixtures("memory")
def test_what_a_strategy_cannot_even_be_asked_for_costs_no_event(tell, diary, monkeypatch):
    monkeypatch.setattr(Diary, "completed", property(lambda self: 1 / 0))
    monkeypatch.setattr(Diary, "job_started", property(lambda self: 1 / 0))
    monkeypatch.setattr(Diary, "__repr__", lambda self: 1 / 0)
    tell(Enqueued)
    assert tell(Started, run_id="r").state is State.RUNNING
    assert tell(Finished, run_id="r").state is State.FINISHED


@pytest.mark.django_db
@pytest.mark.usefixtures("memory")
def test_a_hook_s_broken_query_does_not_poison_the_caller_s_transaction(tell, diary, caplog):
    User.objects.create(username="x")
    diary.inside = lambda _: User.objects.create(username="x")
    with transaction.atomic():
        tell(Enqueued)
        assert User.objects.count() == 1
    assert isinstance(caplog.records[0].exc_info[1], IntegrityError)


@pytest.mark.django_db
@pytest.mark.usefixtures("memory")
def test_what_a_hook_writes_belongs_to_the_callers_transaction(tell, diary):
    diary.inside = lambda job_id: User.objects.create(username=job_id)
    with contextlib.suppress(RuntimeError), transaction.atomic():
        tell(Enqueued)
        assert User.objects.count() == 1
        raise RuntimeError
    assert User.objects.count() == 0


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("memory")
async def test_in_an_event_loop_hooks_may_still_use_the_database_and_the_context(tell, diary, run):
    seen = []
    diary.inside = lambda _: seen.append((User.objects.count(), current_run.get()))
    tell(Enqueued)
    assert seen == [(0, run)]


@pytest.mark.case(8)
@pytest.mark.usefixtures("memory", "with_thread")
def test_a_store_that_is_down_calls_the_usual_hook_once_and_writes_later(memory, tell, diary, record):
    memory.failures = 3
    began = time.monotonic()
    assert tell(Enqueued) is None
    assert tell(Started, run_id="r") is None
    assert time.monotonic() - began < 0.9
    assert diary.hooks == ["enqueued", "started"]
    memory.failures = 0
    assert eventually(lambda: record() is not None and record().state is State.RUNNING)


@pytest.mark.usefixtures("memory")
def test_what_means_nothing_for_the_job_asks_the_strategy_nothing(tell, diary):
    tell(Started, run_id="r")
    diary.calls.clear()
    tell(Started, run_id="r")
    assert diary.calls == []


@pytest.mark.usefixtures("with_thread")
def test_two_questions_to_a_slow_store_share_the_half_second(memory, tell, diary, record):
    memory.pause = 0.4
    began = time.monotonic()
    assert tell(Enqueued) is None
    assert time.monotonic() - began < 0.7
    memory.pause = 0
    assert eventually(lambda: record() is not None)


@pytest.mark.usefixtures("with_thread")
def test_a_caller_waits_half_a_second_in_all_for_a_store_that_hangs(memory, tell, diary):
    memory.open.clear()
    began = time.monotonic()
    assert tell(Enqueued) is None
    assert time.monotonic() - began < 0.8
    memory.open.set()


def test_publishing_never_raises(memory, tell, monkeypatch, caplog):
    monkeypatch.setattr(memory, "update", lambda *_, **__: 1 / 0)
    assert tell(Enqueued, job_class="silent") is None
    monkeypatch.setattr(tracking.publisher, "get_writer", lambda: 1 / 0)
    assert tell(Enqueued) is None
    assert len(caplog.records) == 2


@pytest.mark.usefixtures("memory")
def test_a_sentence_is_cut_to_what_a_document_has_room_for(tell):
    tell(Started, run_id="r")
    message = tell(Failed, run_id="r", message="ä" * 40_000).error.message
    assert (len(message), message[-1]) == (500, "…")


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("with_thread")
def test_inside_atomic_on_sqlite_nobody_waits_and_the_write_comes_later(tell, record):
    with transaction.atomic():
        User.objects.create(username="holds the write lock")
        began = time.monotonic()
        assert tell(Enqueued, job_class="silent") is None
        assert time.monotonic() - began < 0.2
    assert eventually(lambda: record() is not None)


# Done or not done


@pytest.mark.usefixtures("memory")
def test_a_job_not_yet_completed_goes_on_without_a_lease_until_it_is(tell, diary, record, job_id, settings):
    tell(Started, run_id="r")
    diary.done = False
    job = tell(Finished, run_id="r")
    assert (job.state, job.lease_until, job.started_at is not None) == (State.RUNNING, None, True)
    settings.IMMORTUS_RECHECK_INTERVAL = 0.05
    assert tracking.read([job_id])[job_id].state is State.RUNNING
    diary.done = True
    time.sleep(0.06)
    assert tracking.read([job_id])[job_id].state is State.FINISHED
    assert diary.hooks == ["started", "finished"]


@pytest.mark.usefixtures("memory")
def test_a_question_that_raises_is_no_reason_to_keep_a_job_running(tell, monkeypatch):
    monkeypatch.setattr(Diary, "completed", lambda self, job_id: 1 / 0)
    tell(Started, run_id="r")
    assert tell(Finished, run_id="r").state is State.FINISHED


@pytest.mark.usefixtures("memory")
@pytest.mark.parametrize("kind", [Failed, Cancelled])
def test_when_the_queue_says_failed_or_cancelled_the_strategy_has_no_say(tell, diary, kind):
    tell(Started, run_id="r")
    diary.done = False
    assert tell(kind, run_id="r").is_over
    assert "completed" not in diary.calls


# Runs


@pytest.mark.usefixtures("memory")
def test_a_run_is_begun_reported_and_ended_with_everything_it_said(run, record):
    tracking.begin(run)
    assert record().state is State.RUNNING
    run.update(current=1, total=2)
    run.set_meta({"a": 1})
    job = tracking.end(run, Finished)
    assert (job.state, job.current, job.meta) == (State.FINISHED, 1, {"a": 1})


@pytest.mark.usefixtures("with_thread")
@pytest.mark.parametrize(
    ("job_class", "to_begin", "to_end"),
    [
        ("silent", ["update", "get_many"], ["update"]),
        ("told", ["get_many", "update", "get_many"], ["get_many", "update"]),
    ],
)
def test_the_end_of_a_run_is_written_without_a_second_read(memory, job_id, job_class, to_begin, to_end):
    run = tracking.make_run(job_id=job_id, job_class=job_class, run_id="r", origin=None)
    tracking.begin(run)
    assert memory.calls == to_begin
    memory.calls.clear()
    assert tracking.end(run, Finished).state is State.FINISHED
    assert memory.calls == to_end


@pytest.mark.usefixtures("memory")
def test_a_run_of_a_job_that_was_cancelled_while_it_waited_is_refused(run, tell, record):
    tell(Enqueued)
    tell(CancelRequested)
    tracking.begin(run)
    assert run.refused
    assert record().state is State.CANCELLED


OF_HUEY = {"waits": [], "runs": [(Started, RUN)], "is over": [(Started, RUN), (Finished, RUN)]}


@pytest.mark.usefixtures("memory")
@pytest.mark.parametrize("events", OF_HUEY.values(), ids=OF_HUEY)
def test_a_run_under_the_id_of_another_queues_job_goes_on_untracked(job_id, tell, record, diary, caplog, events):
    for kind, fields in [(Enqueued, {}), *events]:
        tell(kind, queue="huey", origin=Origin(send_id="s", owner="7", queue="huey", params={"a": 1}), **fields)
    before, hooks = record(), [*diary.hooks]
    run = tracking.make_run(job_id=job_id, job_class="told", run_id="q", origin=None, queue="rq")
    tracking.begin(run)
    assert (run.is_foreign, run.refused, run.origin, run.params) == (True, False, None, {}), "it learns nothing of it"
    assert run not in writer.get_writer()._runs.all()
    run.update(current=1, total=2)
    run.strategy.count(job_id, percentage=20)
    assert tracking.end(run, Finished) is None
    assert (record(), diary.hooks) == (before, hooks)
    assert [line.levelname for line in caplog.records] == ["WARNING"]
    assert f"The id {job_id!r} is that of a job of huey, so a task of rq" in caplog.text


@pytest.mark.usefixtures("memory")
def test_what_a_run_says_before_it_knows_whose_job_it_is_is_refused(job_id, tell, record):
    tell(Enqueued, queue="huey")
    run = tracking.make_run(job_id=job_id, job_class="told", run_id="q", origin=None, queue="rq")
    run.started(None)
    before = record()
    assert tracking.publish(writer.report_of(run)) == before
    tracking.end(run, Failed)
    assert record() == before


@pytest.mark.usefixtures("memory")
def test_that_an_id_is_another_queues_is_logged_once_for_all_jobs(caplog):
    for _ in range(3):
        job_id = uuid.uuid4().hex
        for queue in ("huey", "rq", "rq"):
            tracking.publish(Enqueued(job_id=job_id, job_class="silent", queue=queue, origin=Origin(send_id=queue)))
        assert tracking.read([job_id])[job_id].queue == "huey"
    assert len(caplog.records) == 1


@pytest.mark.usefixtures("memory")
def test_meta_is_told_after_every_method_called_through_the_runs_strategy(run, record):
    tracking.begin(run)
    run.strategy.count(run.job_id, percentage=20)
    assert record().document["percentage"] == 20.0
    run.strategy.count(run.job_id, percentage=40)
    assert tracking.end(run, Reported).document["percentage"] == 40.0


@pytest.mark.usefixtures("memory")
def test_publish_meta_inside_the_run_and_outside_tells_what_is_new(run, diary, record):
    tracking.begin(run)
    diary.says["a"] = 1
    diary.publish_meta(run.job_id)
    assert record().document["a"] == 1
    token = current_run.set(None)
    diary.says["a"] = 2
    diary.publish_meta(run.job_id)
    current_run.reset(token)
    assert record().document["a"] == 2
    assert record().state is State.RUNNING or diary.done


@pytest.mark.usefixtures("memory")
def test_publish_meta_of_an_unknown_job_makes_none(diary, record, job_id):
    diary.publish_meta(job_id)
    assert record() is None


def test_publish_meta_never_raises(memory, diary, job_id, monkeypatch, caplog):
    monkeypatch.setattr(tracking.publisher, "get_writer", lambda: 1 / 0)
    diary.publish_meta(job_id)
    assert len(caplog.records) == 1


@pytest.mark.usefixtures("memory")
def test_renewing_moves_the_lease_of_its_holder(job_id, tell, record):
    tell(Started, run_id="r")
    before = record().lease_until
    tracking.renew(job_id, "another", 500)
    assert record().lease_until == before
    tracking.renew(job_id, "r", 500)
    assert record().lease_until > before


def test_an_end_waits_for_the_store_no_longer_than_it_is_told_to(memory, with_thread, job_id, record):
    run = tracking.make_run(job_id=job_id, job_class="silent", run_id="r", origin=None)
    tracking.begin(run)
    memory.open.clear()
    began = time.monotonic()
    assert tracking.end(run, Finished, wait=0) is None
    assert time.monotonic() - began < 0.2
    memory.open.set()
    assert eventually(lambda: record().state is State.FINISHED)


# On an event loop, which runs on meanwhile


@pytest.fixture
def in_service(with_thread, settings):
    """As outside tests: writes by the thread, and none by the caller."""
    settings.IMMORTUS_INLINE = False


KINDS = pytest.mark.parametrize("job_class", ["silent", "told"])


@KINDS
@pytest.mark.parametrize("mode", ["inline", "in_service"])
@pytest.mark.usefixtures("memory")
async def test_an_event_is_published_from_an_event_loop(job_id, job_class, diary, request, mode):
    if mode == "in_service":
        request.getfixturevalue(mode)
    about = {"job_id": job_id, "job_class": job_class, "origin": Origin(send_id="s", owner="7")}
    job = await tracking.apublish(Enqueued(**about))
    assert (job.state, job.owner) == (State.ENQUEUED, "7")
    run = tracking.make_run(**about, run_id="r")
    await tracking.abegin(run, known=job)
    assert (run.attempt, run.refused, run.origin.owner) == (1, False, "7")
    run.set_meta({"a": 1})
    assert eventually(lambda: get_store().get_many([job_id]).jobs[job_id].meta == {"a": 1}), "it is attached"
    assert diary.hooks == (["enqueued", "started"] if job_class == "told" else [])
    writer.get_writer().detach(run)


@KINDS
@pytest.mark.django_db(transaction=True)
async def test_under_a_test_runner_a_loop_may_have_events_in_the_database(job_id, job_class):
    job = await tracking.apublish(Enqueued(job_id=job_id, job_class=job_class))
    assert job.state is State.ENQUEUED
    run = tracking.make_run(job_id=job_id, job_class=job_class, run_id="r", origin=None)
    await tracking.abegin(run)
    assert run.known is not None
    writer.get_writer().detach(run)


@KINDS
@pytest.mark.usefixtures("in_service")
async def test_an_event_loop_runs_on_while_the_store_takes_its_time(memory, job_id, job_class):
    memory.pause = 0.05
    run = tracking.make_run(job_id=job_id, job_class=job_class, run_id="r", origin=None)
    for step in (tracking.apublish(Enqueued(job_id=job_id, job_class=job_class)), tracking.abegin(run)):
        async with Ticks() as ticks:
            await step
        assert ticks.number > 5
    assert run.known is not None
    memory.pause = 0
    writer.get_writer().detach(run)


@KINDS
@pytest.mark.usefixtures("in_service")
async def test_an_event_loop_s_task_waits_for_a_store_that_hangs_once(memory, job_id, job_class, record):
    memory.open.clear()
    began = time.monotonic()
    async with Ticks() as ticks:
        assert await tracking.apublish(Enqueued(job_id=job_id, job_class=job_class)) is None
    assert 0.35 < time.monotonic() - began < 0.8
    assert ticks.number > 50
    began = time.monotonic()
    run = tracking.make_run(job_id=job_id, job_class=job_class, run_id="r", origin=None)
    await tracking.abegin(run)
    assert time.monotonic() - began < 0.3
    memory.open.set()
    assert eventually(lambda: record() is not None and record().state is State.RUNNING)
    writer.get_writer().detach(run)


@KINDS
@pytest.mark.usefixtures("in_service")
def test_an_event_is_written_though_its_event_loop_has_ended(memory, job_id, job_class, record, caplog):
    memory.open.clear()
    with pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(tracking.apublish(Enqueued(job_id=job_id, job_class=job_class)), 0.05))
    memory.open.set()
    assert eventually(lambda: record() is not None)
    writer.drain()
    assert caplog.records == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("memory", "in_service")
async def test_a_hook_that_a_loop_awaits_may_use_the_database_and_the_context(job_id, diary, run):
    seen = []
    diary.inside = lambda _: seen.append((User.objects.count(), current_run.get()))
    await tracking.apublish(Enqueued(job_id=job_id, job_class="told"))
    assert seen == [(0, run)]


@pytest.mark.usefixtures("in_service")
async def test_publishing_from_an_event_loop_never_raises(memory, job_id, monkeypatch, caplog):
    assert await tracking.apublish(Enqueued(job_id="", job_class="silent")) is None
    monkeypatch.setattr(tracking.publisher, "get_writer", lambda: 1 / 0)
    for job_class in ("silent", "told"):
        assert await tracking.apublish(Enqueued(job_id=job_id, job_class=job_class)) is None
    assert ["cannot be tracked" in line.getMessage() for line in caplog.records] == [True, False]


@pytest.mark.usefixtures("memory")
@pytest.mark.parametrize("queue", ["toy", "another"])
async def test_a_run_begun_on_a_loop_is_refused_or_goes_on_untracked(job_id, tell, record, queue):
    tell(Enqueued, queue="toy")
    tell(CancelRequested)
    before = record()
    run = tracking.make_run(job_id=job_id, job_class="told", run_id="r", origin=None, queue=queue)
    await tracking.abegin(run)
    assert (run.refused, run.is_foreign) == (queue == "toy", queue == "another")
    run.update(current=1)
    assert record() == before


# Reading


@pytest.mark.usefixtures("memory")
def test_reading_asks_a_strategy_at_most_once_an_interval_per_job(tell, diary, job_id, settings):
    tell(Started, run_id="r")
    diary.done, diary.says = False, {"a": 1}
    diary.calls.clear()
    settings.IMMORTUS_RECHECK_INTERVAL = 0.1
    assert tracking.read([job_id])[job_id].document["a"] == 1
    diary.says = {"a": 2}
    assert tracking.read([job_id])[job_id].document["a"] == 1
    assert diary.calls == ["meta", "completed"]
    time.sleep(0.11)
    assert tracking.read([job_id])[job_id].document["a"] == 2


@pytest.mark.usefixtures("memory")
def test_a_strategy_is_not_asked_about_what_is_over(tell, diary, job_id):
    tell(Started, run_id="r")
    tell(Finished, run_id="r")
    diary.calls.clear()
    tracking.read([job_id])
    tracking.recheck({job_id: "told"})
    assert diary.calls == []


def test_what_a_strategy_does_not_change_is_not_written(memory, tell, diary, job_id):
    diary.done, diary.says = False, {"a": 1}
    version = tell(Started, run_id="r").version
    memory.calls.clear()
    assert tracking.read([job_id])[job_id].version == version
    assert memory.calls == ["get_many"]


@pytest.mark.usefixtures("memory")
def test_unknown_jobs_are_absent():
    assert tracking.read(["nobody"]) == {}
    assert tracking.recheck({"nobody": "told"}) == {}


@pytest.mark.usefixtures("memory")
def test_whoever_reads_an_overdue_job_calls_it_stalled_and_later_lost(tell, diary, job_id, record):
    diary.done = False
    tell(Started, run_id="r")
    age_lease(record())
    job = tracking.read([job_id])[job_id]
    assert (job.state, job.stalled) == (State.RUNNING, True)
    age_lease(record())
    assert tracking.read([job_id])[job_id].error.code == "lost"
    assert diary.hooks == ["started", "lost"]


@pytest.mark.usefixtures("memory")
def test_a_sending_that_never_ended_is_not_sent(tell, diary, job_id, record):
    tell(Enqueued, origin=Origin(send_id="s"))
    age_lease(record())
    assert tracking.read([job_id])[job_id].error.code == "not_sent"
    assert diary.errors[0][0] == "not_sent"


@pytest.mark.usefixtures("memory", "with_thread")
def test_a_recheck_tells_versions_and_calls_the_lost_hook_of_overdue_jobs(tell, diary, job_id, record):
    diary.done = False
    tell(Started, run_id="r")
    assert tracking.recheck({job_id: "told"}) == {job_id: record().version}
    for _ in range(2):
        age_lease(record())
        tracking.recheck({job_id: "told"})
        writer.drain()
    assert record().state is State.LOST
    assert diary.hooks == ["started", "lost"]


@pytest.mark.usefixtures("memory")
def test_strategies_are_asked_and_what_is_new_is_stored(tell, diary, job_id, record):
    diary.done = False
    tell(Started, run_id="r")
    diary.says = {"a": 1}
    tracking.ask_strategies({job_id: "told"})
    assert record().strategy_meta == {"a": 1}


def test_reading_says_when_the_store_is_down(memory):
    memory.failures = 1
    with pytest.raises(StoreUnavailable):
        tracking.read(["j"])


@pytest.mark.usefixtures("memory")
def test_touching_makes_a_job_newer_and_changes_nothing_else(tell, job_id, record):
    before = tell(Started, run_id="r")
    tracking.touch(job_id, before.version + 1_000_000_000)
    assert record().version > before.version + 1_000_000_000
    assert {**record().document, "version": 0} == {**before.document, "version": 0}


# Cancelling


@pytest.mark.usefixtures("memory")
def test_cancelling_an_unknown_job_is_none():
    assert tracking.cancel("nobody") is None


@pytest.mark.usefixtures("memory")
@pytest.mark.parametrize("before", [[(Enqueued, {})], [(Started, {"run_id": "r"}), (Retrying, {"run_id": "r"})]])
def test_a_job_that_waits_is_cancelled_at_once_and_its_queue_told(tell, job_id, queue, before, diary):
    for kind, fields in before:
        tell(kind, origin=Origin(queue="toy", send_id="s"), **fields)
    job = tracking.cancel(job_id)
    assert (job.state, job.error.code) == (State.CANCELLED, "cancelled")
    assert eventually(lambda: queue.cancelled == [(job_id, False)])
    assert diary.hooks[-1] == "cancelled"


@pytest.mark.usefixtures("memory")
@pytest.mark.parametrize(("policy", "told"), [("ask", []), ("terminate", [True])])
def test_a_running_job_is_asked_and_ended_only_where_its_task_allows(tell, job_id, queue, policy, told):
    tell(Started, run_id="r", origin=Origin(queue="toy", cancel=policy))
    job = tracking.cancel(job_id)
    assert (job.state, job.cancel_requested) == (State.RUNNING, True)
    assert eventually(lambda: [terminate for _, terminate in queue.cancelled] == told)
    assert tracking.cancel(job_id).version == job.version


@pytest.mark.usefixtures("with_thread")
def test_a_queue_hears_of_a_cancel_though_the_write_waits_for_the_caller(memory, tell, job_id, queue, monkeypatch):
    tell(Started, run_id="r", origin=Origin(queue="toy", cancel="terminate"))
    monkeypatch.setattr(memory, "waits_for_caller", lambda: True)
    assert tracking.cancel(job_id).cancel_requested
    assert eventually(lambda: queue.cancelled == [(job_id, True)])


@pytest.mark.usefixtures("memory")
def test_a_job_that_may_not_be_cancelled_or_is_over_stays_as_it_is(tell, job_id, queue):
    job = tell(Started, run_id="r", origin=Origin(queue="toy", cancel="never"))
    assert tracking.cancel(job_id) == job
    job = tell(Finished, run_id="r")
    assert tracking.cancel(job_id) == job
    assert queue.cancelled == []


@pytest.mark.usefixtures("memory")
def test_a_queue_that_cannot_be_told_is_logged(tell, job_id, queue, monkeypatch, caplog):
    monkeypatch.setattr(queue, "cancel", lambda *_, **__: 1 / 0)
    tell(Enqueued, origin=Origin(queue="toy", send_id="s"))
    assert tracking.cancel(job_id).state is State.CANCELLED
    assert eventually(lambda: "failed to drop" in caplog.text)


@pytest.mark.usefixtures("memory")
def test_a_job_that_is_cancelled_again_and_again_is_one_call_to_its_queue(tell, job_id, queue):
    tell(Started, run_id="r", origin=Origin(queue="toy", cancel="terminate"))
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: tracking.cancel(job_id), range(50)))
    tell(Retrying, run_id="r")
    assert eventually(lambda: queue.cancelled)
    time.sleep(0.05)
    assert queue.cancelled == [(job_id, True)]


@pytest.mark.usefixtures("memory")
def test_cancelling_many_jobs_while_their_queue_hangs_takes_few_threads(tell, queue, monkeypatch):
    told, hangs = [], threading.Event()

    def cancel(job, *, terminate):
        hangs.wait(5)
        told.append(job.job_id)

    monkeypatch.setattr(queue, "cancel", cancel)
    before = threading.active_count()
    jobs = [uuid.uuid4().hex for _ in range(20)]
    for job in jobs:
        tracking.publish(Enqueued(job_id=job, job_class="task", origin=Origin(queue="toy")))
        for _ in range(3):
            tracking.cancel(job)
    assert threading.active_count() <= before + queue_cancels.Recaller.MOST
    hangs.set()
    assert eventually(lambda: sorted(told) == sorted(jobs))


def test_a_call_that_hangs_holds_up_no_other(queue, monkeypatch):
    told, hangs = [], threading.Event()

    def cancel(job, *, terminate):
        if job.job_id == "hangs":
            hangs.wait(5)
        told.append(job.job_id)

    monkeypatch.setattr(queue, "cancel", cancel)
    recaller = queue_cancels.Recaller()
    for job_id in ("hangs", "a", "b"):
        recaller.recall(queue, Job(job_id=job_id), terminate=False)
    assert eventually(lambda: sorted(told) == ["a", "b"])
    hangs.set()
    assert eventually(lambda: told[-1] == "hangs")


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_a_queue_opens_to_drop_a_job_is_closed(queue, monkeypatch):
    opened = []

    def cancel(job, *, terminate):
        User.objects.count()
        opened.append(connections["default"])

    monkeypatch.setattr(queue, "cancel", cancel)
    queue_cancels.Recaller().recall(queue, Job(job_id="a"), terminate=False)
    assert eventually(lambda: opened and opened[0].connection is None)


@pytest.mark.usefixtures("memory")
def test_a_queue_is_told_again_after_a_while_and_of_a_new_attempt_at_once(tell, job_id, queue, monkeypatch):
    origin = Origin(queue="toy", cancel="terminate")
    tell(Started, run_id="r", origin=origin)
    tracking.cancel(job_id)
    assert eventually(lambda: len(queue.cancelled) == 1)
    monkeypatch.setattr(queue_cancels, "AGAIN", 0)
    tracking.cancel(job_id)
    assert eventually(lambda: len(queue.cancelled) == 2)
    monkeypatch.setattr(queue_cancels, "AGAIN", 60)
    tell(Finished, run_id="r")
    tell(Started, run_id="s", origin=origin)
    tracking.cancel(job_id)
    assert eventually(lambda: len(queue.cancelled) == 3)


def test_a_queue_that_hangs_for_good_is_told_of_a_bounded_number(tell, queue, monkeypatch, caplog):
    hangs = threading.Event()
    monkeypatch.setattr(queue, "cancel", lambda *_, **__: hangs.wait(5))
    recaller = queue_cancels.Recaller()
    monkeypatch.setattr(recaller, "MOST", 1)
    monkeypatch.setattr(recaller, "PENDING", 2)
    for number in range(5):
        recaller.recall(queue, Job(job_id=f"job-{number}"), terminate=False)
    assert "is left out" in caplog.text
    hangs.set()


@pytest.mark.usefixtures("with_thread")
def test_a_cancellation_that_is_not_confirmed_in_time_says_so(memory, tell, job_id):
    tell(Started, run_id="r")
    threading.Timer(0.05, memory.open.set).start()
    assert tracking.cancel(job_id).cancel_requested
    memory.failures = 1
    with pytest.raises(StoreUnavailable):
        tracking.cancel(job_id)


@pytest.mark.case(43)
@pytest.mark.usefixtures("memory", "queue")
def test_a_cancellation_that_races_with_the_end_leaves_one_truth(job_id, tell, record):
    tell(Enqueued, job_class="silent")
    for number in range(20):
        run = {"job_class": "silent", "run_id": f"r{number}"}
        tell(Started, **run)
        barrier = threading.Barrier(2)
        acts = [lambda run=run: tell(Finished, **run), lambda: tracking.cancel(job_id)]
        both = [threading.Thread(target=lambda act=act: (barrier.wait(), act())) for act in acts]  # noqa: B023
        for thread in both:
            thread.start()
        for thread in both:
            thread.join()
        end = record()
        assert (end.state, end.document["completed"], end.error) == (State.FINISHED, True, None)
        tracking.cancel(job_id)
        assert record().text == end.text
        tell(Enqueued, job_class="silent", origin=Origin(send_id=f"again-{number}"))


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("with_thread")
def test_cancelling_is_confirmed_inside_a_request_in_a_transaction(tell, job_id):
    tell(Started, run_id="r", job_class="silent")
    with transaction.atomic():
        assert User.objects.count() == 0
        assert tracking.cancel(job_id).cancel_requested


def test_a_job_that_is_written_while_it_is_read_is_not_unknown(monkeypatch):
    """The read began before the write, whose thread is done with it by the time that it is answered."""
    waiting = {"a"}

    def read(ids):
        waiting.clear()
        return Reading(now=0)

    monkeypatch.setattr(reader, "get_writer", lambda: SimpleNamespace(held=waiting.intersection))
    monkeypatch.setattr(reader, "get_store", lambda: SimpleNamespace(get_many=read))
    with pytest.raises(StoreUnavailable):
        tracking.on_record(["a", "b"])
    assert tracking.on_record(["a"]).jobs == {}


def test_a_drain_makes_the_calls_that_wait_for_a_strategy_as_well():
    made = []
    soon.put(lambda: (time.sleep(0.1), made.append("call")))
    tracking.drain()
    assert made == ["call"]
