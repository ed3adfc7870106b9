"""RQ's own ways, with a real Redis and real workers, in so far as the suite for all queues does not know them."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
import uuid
from datetime import UTC, datetime, timedelta
from importlib import import_module
from types import SimpleNamespace

import pytest
from django.db import transaction

from immortus_channels import JobFailed, current_job, queues, started_by, tracked, tracking
from immortus_channels.exceptions import ConfigurationError
from immortus_channels.jobs import namespaces
from immortus_channels.jobs.job import State
from immortus_channels.keys import key_of
from immortus_channels.loading import Later
from immortus_channels.queues import adapters
from immortus_channels.queues.port import Port
from immortus_channels.queues.results import identify
from immortus_channels.queues.tracked import places
from immortus_channels.stores import get_store
from immortus_channels.tracking import reader
from tests.toys import eventually

pytestmark = pytest.mark.redis
# Their import connects the adapter, in every test of this process.
rq = Later("rq")
rq_job = Later("rq.job")
rq_command = Later("rq.command")
rq_cron = Later("rq.cron")
rq_scheduler = Later("rq.scheduler")
rq_exceptions = Later("rq.exceptions")
rq_group = Later("rq.group")
rq_decorators = Later("rq.decorators")
rq_serializers = Later("rq.serializers")
rq_worker = Later("rq.worker")
rq_scheduler_package = Later("rq_scheduler")
rq_servers = Later("immortus_channels.queues.rq.servers")
USER = SimpleNamespace(pk=7)


@pytest.fixture(scope="module", autouse=True)
def the_adapter():
    """The adapter, which other tests are not to meet."""
    pytest.importorskip("rq")
    found = next(queue for queue in adapters._ports if queue.name == "rq")
    if found in queues.connected:
        queues.connected.remove(found)
    return found


@pytest.fixture
def adapter(the_adapter, monkeypatch):
    monkeypatch.setattr(queues, "connected", [the_adapter])
    monkeypatch.setattr("immortus_channels.queues.tracked.places", set(MARKED))
    return the_adapter


@pytest.fixture
def rq_queue(adapter, redis_server, settings):
    """A queue of RQ's, in a Redis where the jobs are as well, so that a forked process finds them."""
    redis = pytest.importorskip("redis").Redis.from_url(f"{redis_server.url[:-1]}5")
    redis.flushdb()
    settings.IMMORTUS_STORE = {"BACKEND": "redis", "OPTIONS": {"url": f"{redis_server.url[:-1]}6"}}
    settings.IMMORTUS_INLINE = False
    yield rq.Queue(uuid.uuid4().hex, connection=redis)
    redis.close()


@pytest.fixture
def work(rq_queue):
    """Have a worker do all that is there: by itself, or, `forking`, in a work horse for each job."""

    def work(*, forking=False, max_jobs=None, **options):
        kind = rq.Worker if forking else rq.SimpleWorker
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        worker = kind([rq_queue], connection=rq_queue.connection, **options)
        worker.work(burst=True, max_jobs=max_jobs, logging_level=logging.CRITICAL)
        for number, handler in before.items():
            signal.signal(number, handler)
        return worker

    return work


@pytest.fixture
def states(monkeypatch):
    """What is told of a job, in this process: its states, each followed by another one."""
    told = {}
    update = type(get_store()).update

    def note(self, job_id, *arguments, **keywords):
        before, after = update(self, job_id, *arguments, **keywords)
        if after is not None and told.setdefault(job_id, [""])[-1] != after.state:
            told[job_id].append(after.state)
        return before, after

    monkeypatch.setattr(type(get_store()), "update", note)
    return lambda job: [str(state) for state in told.get(job.id, [])[1:]]


def record(job):
    tracking.drain()
    return get_store().get_many([job if isinstance(job, str) else job.id]).jobs.get(getattr(job, "id", job))


def end_of(job):
    found = record(job)
    return str(found.state), found.error and found.error.code, found.attempt


# What the jobs do


def untracked(value=None):
    return value


@tracked(publish_result=True, params=True)
def returns(value=None):
    current_job().set_meta(own_id=current_job().id)
    return value


@tracked
def raises():
    raise ValueError


@tracked
async def awaits():
    await asyncio.sleep(0)
    current_job().update(percentage=50)


@tracked(publish_result=True)
def fails_first():
    if current_job().attempt == 1:
        raise ValueError
    return current_job().attempt


@tracked
def always_asks_again():
    return rq.Retry(max=1)


@tracked
def sleeps(seconds):
    time.sleep(seconds)


@tracked
def is_shut_down():
    raise rq_exceptions.ShutDownImminentException("", {})  # noqa: EM101 - as RQ's worker for Heroku does


@tracked
def has_itself_stopped(*, terminate, seconds=30):
    job = rq.get_current_job()
    if terminate:
        queues.connected[0].cancel(record(job), terminate=True)
    else:
        rq_command.send_stop_job_command(job.connection, job.id)
    time.sleep(seconds)
    raise RuntimeError


@tracked
def kills_itself(times=99):
    if current_job().attempt <= times:
        os.kill(os.getpid(), signal.SIGKILL)


@tracked
def fails_by_itself():
    code = "no_paint"
    raise JobFailed(code, "The painter ran out of blue.")


@tracked
def cancels_itself():
    tracking.cancel(current_job().id)
    tracking.drain()
    for _ in current_job().track(range(100)):
        time.sleep(0.02)


@tracked
def starts_another():
    job = rq.get_current_job()
    child = rq.Queue(job.origin, connection=job.connection).enqueue(returns)
    current_job().set_meta(child=child.id)


class Painter:
    def __init__(self, colour="blue"):
        self.colour = colour

    @tracked(params=True, publish_result=True)
    def paint(self, wall):
        return f"{wall} is {self.colour}"


called_back = []


def calls_back(job, connection, *arguments):
    called_back.append(current_job().id)


def calls_back_badly(job, connection, *arguments):
    raise RuntimeError


MARKED = {place for place in places if place.startswith(f"{__name__}.")}
places.difference_update(MARKED)  # for the checks, in other tests, they would be tasks of no queue


# Sending


def test_a_job_has_the_id_the_class_and_the_owner_of_its_sending(rq_queue, work):
    with started_by(USER):
        job = rq_queue.enqueue(returns, 5)
    assert identify(job) == (job.id, f"{__name__}.returns")
    assert (record(job).state, record(job).owner, record(job).queue) == (State.ENQUEUED, "7", "rq")
    work()
    assert end_of(job) == ("finished", None, 1)
    assert (record(job).result, record(job).params, record(job).meta["own_id"]) == (5, {"value": 5}, job.id)


def test_an_untracked_function_leaves_no_trace(rq_queue, work):
    job = rq_queue.enqueue(untracked)
    assert job.meta == {}
    work()
    assert record(job) is None
    with pytest.raises(ConfigurationError, match=r"untracked' is not tracked"):
        identify(job)


def test_a_function_given_by_its_path_is_told_as_any_other(rq_queue):
    job = rq_queue.enqueue(f"{__name__}.returns", 5)
    assert (record(job).state, record(job).params) == (State.ENQUEUED, {"value": 5})


def test_whose_job_it_is_travels_to_where_its_function_is_known(rq_queue, tmp_path, monkeypatch, work):
    (tmp_path / "far_away.py").write_text(
        "from immortus_channels import tracked\n@tracked(params=True)\ndef paint(wall=1): pass\ndef other(): pass"
    )
    with started_by(USER):
        jobs = [rq_queue.enqueue("far_away.paint"), rq_queue.enqueue("far_away.other")]
    assert [record(job) for job in jobs] == [None, None]
    monkeypatch.syspath_prepend(tmp_path)
    work()
    assert (record(jobs[0]).owner, end_of(jobs[0])) == ("7", ("finished", None, 1))
    assert record(jobs[1]) is None


def test_a_method_is_tracked_and_named_after_its_class(rq_queue, work):
    job = rq_queue.enqueue(Painter().paint, "north")
    assert identify(job)[1] == f"{__name__}.Painter.paint"
    assert record(job).params == {"wall": "north"}
    work()
    assert record(job).result == "north is blue"


def test_what_the_sender_put_into_meta_stays_and_is_not_shared(rq_queue, work):
    meta = {"colour": "blue"}
    jobs = [rq_queue.enqueue(returns, n, meta=meta) for n in range(2)]
    assert meta == {"colour": "blue"}
    work()
    assert [(record(job).result, end_of(job)) for job in jobs] == [(n, ("finished", None, 1)) for n in range(2)]
    assert all(job.get_meta()["colour"] == "blue" for job in jobs)


@pytest.mark.parametrize("is_above", [True, False])
def test_the_mark_may_stand_under_rq_s_decorator_or_above(rq_queue, work, is_above):
    def decorated(value=None):
        return value

    decorated.__qualname__ = "decorated"
    mark, decorate = tracked(publish_result=True), rq_decorators.job(rq_queue, connection=rq_queue.connection)
    globals()["decorated"] = function = mark(decorate(decorated)) if is_above else decorate(mark(decorated))
    job = function.enqueue(3)
    assert record(job).state is State.ENQUEUED
    work()
    assert (end_of(job), record(job).result) == (("finished", None, 1), 3)
    assert queues.name_of(function) == f"{__name__}.decorated"


def test_a_job_that_is_due_later_waits_until_a_day_after_that(rq_queue):
    jobs = [
        rq_queue.enqueue_in(timedelta(days=2), returns),
        rq_queue.enqueue_at(datetime.now(UTC) + timedelta(days=2), returns),
    ]
    for job in jobs:
        waits = record(job).lease_until / 1e6 - time.time()
        assert (record(job).state, waits) == (State.ENQUEUED, pytest.approx(3 * 86_400, abs=5))


def test_the_scheduler_sends_it_once_more_and_tells_nothing(rq_queue, states, work):
    with started_by(USER):
        job = rq_queue.enqueue_in(timedelta(seconds=-1), returns)
    scheduler = rq_scheduler.RQScheduler([rq_queue], connection=rq_queue.connection)
    scheduler.acquire_locks()
    scheduler.enqueue_scheduled_jobs()
    scheduler.release_locks()
    work()
    assert (states(job), record(job).owner) == (["enqueued", "running", "finished"], "7")


def test_what_a_cron_sends_is_for_staff_alone(rq_queue):
    job = rq_cron.CronJob(func=returns, queue_name=rq_queue.name, interval=60).enqueue(rq_queue.connection)
    assert (record(job).state, record(job).owner, record(job).staff_only) == (State.ENQUEUED, None, True)
    assert not record(rq_queue.enqueue(returns)).staff_only


@pytest.mark.filterwarnings("ignore:datetime.datetime.utc:DeprecationWarning")
def test_what_rq_scheduler_sends_is_for_staff_alone(rq_queue, states, work):
    pytest.importorskip("rq_scheduler")
    scheduler = rq_scheduler_package.Scheduler(queue=rq_queue, connection=rq_queue.connection)
    with started_by(USER):
        job = scheduler.schedule(datetime.now(UTC), returns, interval=60)
    for _ in range(2):
        with started_by(None):
            scheduler.enqueue_job(rq_queue.fetch_job(job.id))
        work()
    assert states(job) == ["enqueued", "running", "finished"] * 2
    assert (record(job).owner, record(job).staff_only) == (None, True)


def test_the_header_fits_what_rq_writes_as_json(rq_queue, states, work):
    queue = rq.Queue(rq_queue.name, connection=rq_queue.connection, serializer=rq_serializers.JSONSerializer)
    with started_by(USER):
        job = queue.enqueue(returns, 5)
    work(serializer=rq_serializers.JSONSerializer)
    assert (states(job), record(job).owner) == (["enqueued", "running", "finished"], "7")


def test_jobs_in_one_pipeline_are_told_one_by_one(rq_queue, states, work):
    with started_by(USER):
        jobs = rq_queue.enqueue_many([rq_queue.prepare_data(returns, (n,)) for n in range(5)])
    work()
    assert [(record(job).result, record(job).owner) for job in jobs] == [(n, "7") for n in range(5)]
    assert {tuple(states(job)) for job in jobs} == {("enqueued", "running", "finished")}


def test_a_unique_job_that_rq_refuses_does_not_touch_the_first(rq_queue, work):
    job = rq_queue.enqueue(returns, 1, job_id="nightly", unique=True)
    assert record(job).state is State.ENQUEUED
    work()
    before = record(job)
    with pytest.raises(rq_exceptions.DuplicateJobError):
        rq_queue.enqueue(returns, 2, job_id="nightly", unique=True)
    assert record(job) == before
    assert before.state is State.FINISHED


def test_an_id_that_is_used_again_is_a_new_life(rq_queue, work):
    name = uuid.uuid4().hex
    for n in range(2):
        job = rq_queue.enqueue(returns, n, job_id=name)
        work()
    assert (end_of(job), record(job).result) == (("finished", None, 2), 1)


# Jobs that wait for others


@pytest.mark.parametrize("many", [False, True])
def test_a_job_that_waits_for_another_is_its_sender_s(rq_queue, states, work, many):
    with started_by(USER):
        first = rq_queue.enqueue(returns, 1)
        if many:
            second = rq_queue.enqueue_many([rq_queue.prepare_data(returns, (2,), depends_on=first)])[0]
        else:
            second = rq_queue.enqueue(returns, 2, depends_on=first)
    if not many or second.get_status() == "deferred":
        assert (record(second).state, record(second).owner) == (State.ENQUEUED, "7")
    rq_queue.enqueue(untracked, depends_on=first)
    work()
    assert states(second) == ["enqueued", "running", "finished"]
    assert (record(second).owner, record(second).result) == ("7", 2)


def test_a_job_waits_on_for_one_that_failed_unless_it_allows_that(rq_queue, work):
    first = rq_queue.enqueue(raises)
    waits = rq_queue.enqueue(returns, depends_on=first)
    goes_on = rq_queue.enqueue(returns, depends_on=rq_job.Dependency([first], allow_failure=True))
    work()
    assert [end_of(job)[0] for job in (first, waits, goes_on)] == ["failed", "enqueued", "finished"]


def test_a_job_that_a_job_starts_is_its_owner_s(rq_queue, work):
    with started_by(USER):
        job = rq_queue.enqueue(starts_another)
    work()
    assert record(record(job).meta["child"]).owner == "7"


# Ends


def test_a_coroutine_function_is_run_and_followed(rq_queue, work):
    job = rq_queue.enqueue(awaits)
    work(forking=True)  # before RQ 3 the loop stays open
    assert (end_of(job), record(job).document["percentage"]) == (("finished", None, 1), 100)


def test_a_job_that_keeps_no_result_is_finished_all_the_same(rq_queue, work):
    job = rq_queue.enqueue(returns, result_ttl=0)
    work()
    assert not job.exists(job.id, job.connection)
    assert end_of(job) == ("finished", None, 1)


def test_that_rq_drops_the_record_of_a_run_is_no_cancel(rq_queue, monkeypatch, work):
    told = []
    monkeypatch.setattr(Port, "ended", lambda _, kind, *arguments, **fields: told.append(kind))
    rq_queue.enqueue(returns, result_ttl=0)
    work()
    assert told == []


def test_a_job_may_say_itself_why_it_failed(rq_queue, work):
    job = rq_queue.enqueue(fails_by_itself)
    work()
    assert end_of(job) == ("failed", "no_paint", 1)


def test_a_retry_is_told_with_its_time(rq_queue, states, work):
    now, later = (
        rq_queue.enqueue(fails_first, retry=rq.Retry(max=1, interval=interval)) for interval in (0, 2 * 86_400)
    )
    work()
    assert states(now) == ["enqueued", "running", "retrying", "running", "finished"]
    assert (end_of(now), record(now).result) == (("finished", None, 2), 2)
    assert end_of(later) == ("retrying", None, 1)
    assert record(later).lease_until / 1e6 - time.time() == pytest.approx(3 * 86_400, abs=5)


def test_a_run_that_asks_for_more_than_are_allowed_fails_the_job(rq_queue, states, work):
    job = rq_queue.enqueue(always_asks_again)
    work()
    assert states(job) == ["enqueued", "running", "retrying", "running", "failed"]
    assert end_of(job) == ("failed", "error", 2)


def test_a_job_that_repeats_goes_back_and_is_not_retrying(rq_queue, states, work):
    now, later = (rq_queue.enqueue(returns, repeat=rq.Repeat(times=1, interval=each)) for each in (0, 2 * 86_400))
    work()
    assert states(now) == ["enqueued", "running", "enqueued", "running", "finished"]
    assert end_of(now) == ("finished", None, 2)
    assert end_of(later) == ("enqueued", None, 1)
    assert record(later).lease_until / 1e6 - time.time() == pytest.approx(3 * 86_400, abs=5)


def test_callbacks_run_inside_of_the_job(rq_queue, work):
    called_back.clear()
    jobs = [
        rq_queue.enqueue(returns, on_success=rq.Callback(calls_back)),
        rq_queue.enqueue(raises, on_failure=rq.Callback(calls_back)),
    ]
    work()
    assert called_back == [job.id for job in jobs]
    assert not current_job().id


def test_a_callback_that_fails_fails_the_job_as_rq_has_it(rq_queue, work):
    job = rq_queue.enqueue(returns, on_success=rq.Callback(calls_back_badly))
    work()
    assert (str(job.get_status().value), end_of(job)) == ("failed", ("failed", "error", 1))


def test_a_time_limit_is_one_also_where_the_task_runs_again(rq_queue, states, work):
    job = rq_queue.enqueue(sleeps, 30, job_timeout=1, retry=rq.Retry(max=1))
    work()
    assert states(job) == ["enqueued", "running", "retrying", "running", "failed"]
    assert end_of(job) == ("failed", "time_limit", 2)


def test_a_run_that_its_worker_gives_up_to_end_is_lost_to_it(rq_queue, work):
    job = rq_queue.enqueue(is_shut_down)
    work()
    assert end_of(job) == ("failed", "worker_lost", 1)


def test_a_function_that_is_unknown_where_it_runs_fails_the_job(rq_queue, tmp_path, monkeypatch, work):
    (tmp_path / "gone.py").write_text("from immortus_channels import tracked\n@tracked\ndef paint(): pass")
    monkeypatch.syspath_prepend(tmp_path)
    gone = import_module("gone")

    job = rq_queue.enqueue(gone.paint)
    monkeypatch.delattr(gone, "paint")
    work()
    assert end_of(job) == ("failed", "unknown_task", 1)


def test_a_queue_that_is_not_async_runs_the_job_where_it_is_sent(rq_queue):
    queue = rq.Queue("here", connection=rq_queue.connection, is_async=False)
    with started_by(USER):
        jobs = queue.enqueue(returns, 5), queue.enqueue(raises)
    assert [end_of(job) for job in jobs] == [("finished", None, 1), ("failed", "error", 1)]
    assert (record(jobs[0]).result, record(jobs[0]).owner) == (5, "7")
    assert not current_job().id


# Work horses


def test_a_work_horse_tells_all_before_it_is_gone(rq_queue, work):
    with started_by(USER):
        jobs = [rq_queue.enqueue(returns, 5), rq_queue.enqueue(raises), rq_queue.enqueue(starts_another)]
    work(forking=True)
    assert [end_of(job)[:2] for job in jobs] == [("finished", None), ("failed", "error"), ("finished", None)]
    child = record(record(jobs[2]).meta["child"])
    assert (record(jobs[0]).result, child.state, child.owner) == (5, State.FINISHED, "7")


def test_a_killed_work_horse_is_told_by_its_worker(rq_queue, work):
    gone, comes_back = rq_queue.enqueue(kills_itself), rq_queue.enqueue(kills_itself, 1, retry=rq.Retry(max=1))
    work(forking=True)
    assert end_of(gone) == ("failed", "worker_lost", 1)
    assert end_of(comes_back) == ("finished", None, 2)


@pytest.mark.parametrize("terminate", [True, False])
def test_a_job_that_is_stopped_is_cancelled(rq_queue, work, terminate):
    job = rq_queue.enqueue(has_itself_stopped, terminate=terminate, retry=rq.Retry(max=3))
    work(forking=True)
    assert (str(job.get_status().value), end_of(job)) == ("stopped", ("cancelled", "cancelled", 1))


def test_a_worker_that_cannot_stop_a_job_calls_it_stopped_if_it_raises(rq_queue, work):
    job = rq_queue.enqueue(has_itself_stopped, terminate=False, seconds=1)
    work()
    assert (str(job.get_status().value), end_of(job)) == ("stopped", ("cancelled", "cancelled", 1))


def test_a_work_horse_waits_for_a_slow_store_before_it_is_gone(rq_queue, monkeypatch, work):
    update = type(get_store()).update

    def slowly(self, job_id, *arguments, **keywords):
        if os.getpid() != here:
            time.sleep(0.8)
        return update(self, job_id, *arguments, **keywords)

    here = os.getpid()
    monkeypatch.setattr(type(get_store()), "update", slowly)
    job = rq_queue.enqueue(returns)
    work(forking=True)
    assert end_of(job) == ("finished", None, 1)


# Cancels


def test_a_cancel_reaches_rq_which_then_does_not_run_the_job(rq_queue, work):
    job, late = rq_queue.enqueue(returns), rq_queue.enqueue_in(timedelta(hours=1), returns)
    for each in (job, late):
        tracking.cancel(each.id)
        assert eventually(lambda each=each: each.get_status() == "canceled")
    work()
    assert [end_of(each) for each in (job, late)] == [("cancelled", "cancelled", 1)] * 2


@pytest.mark.parametrize("call", ["cancel", "delete"])
def test_what_rq_drops_by_itself_is_cancelled(rq_queue, call):
    job = rq_queue.enqueue(returns)
    getattr(job, call)()
    assert end_of(job) == ("cancelled", "cancelled", 1)


def test_rq_s_own_cancel_of_a_job_that_is_over_changes_nothing(rq_queue, work):
    job = rq_queue.enqueue(returns)
    work()
    job.refresh()
    job.cancel()
    assert end_of(job) == ("finished", None, 1)


def test_a_cancelled_job_that_a_worker_has_already_does_not_run(rq_queue, adapter, monkeypatch, work):
    called_back.clear()
    monkeypatch.setattr(adapter, "cancel", lambda *_, **__: None)
    job = rq_queue.enqueue(returns, retry=rq.Retry(max=3), on_success=rq.Callback(calls_back))
    follower = rq_queue.enqueue(returns, depends_on=job)
    tracking.cancel(job.id)
    work()
    assert end_of(job) == ("cancelled", "cancelled", 1)
    assert (called_back, str(job.get_status().value), end_of(follower)[0]) == ([], "failed", "enqueued")


def test_a_job_that_was_asked_to_stop_is_not_run_again(rq_queue, work):
    job = rq_queue.enqueue(cancels_itself, retry=rq.Retry(max=3, interval=3600))
    work()
    job.refresh()
    assert (str(job.get_status().value), end_of(job)) == ("failed", ("cancelled", "cancelled", 1))


@pytest.mark.parametrize("by", ["requeue", "enqueue_job"])
def test_a_failed_job_that_is_sent_again_stays_its_owner_s(rq_queue, states, work, by):
    with started_by(USER):
        job = rq_queue.enqueue(fails_first)
    work()
    with started_by(SimpleNamespace(pk=1)):
        if by == "requeue":
            job.requeue()
        else:
            rq_queue.enqueue_job(rq_queue.fetch_job(job.id))
    assert end_of(job) == ("enqueued", None, 2)
    work()
    assert states(job) == ["enqueued", "running", "failed", "enqueued", "running", "finished"]
    assert (end_of(job), record(job).owner) == (("finished", None, 2), "7")


# Which jobs


def test_a_group_has_no_job_of_its_own(rq_queue):
    group = rq_group.Group.create(connection=rq_queue.connection)
    jobs = group.enqueue_many(rq_queue, [rq_queue.prepare_data(returns)])
    assert record(jobs[0]).state is State.ENQUEUED
    with pytest.raises(ConfigurationError, match="one by one"):
        identify(group)


def test_marked_functions_are_rq_s_as_far_as_no_other_queue_has_them(adapter):
    assert f"{__name__}.returns" in adapter.tracked_names()
    assert adapter.options_of(f"{__name__}.returns").publish_result
    assert adapter.options_of(f"{__name__}.untracked") is None
    assert queues.name_of(returns) == f"{__name__}.returns"
    assert adapter.name_of(untracked) is None


# When tracking fails


@pytest.mark.parametrize("broken", ["prepare", "begin", "here", "ended"])
def test_a_hook_of_ours_that_fails_changes_nothing_for_rq(rq_queue, adapter, monkeypatch, work, broken):
    def fail(*_, **__):
        raise RuntimeError

    monkeypatch.setattr(Port, broken, fail)
    jobs = [rq_queue.enqueue(returns, 5), rq_queue.enqueue(raises)]
    cancelled = rq_queue.enqueue(returns)
    cancelled.cancel()
    work(forking=True)  # what is left behind in the context is gone with the work horse
    assert [str(job.get_status().value) for job in (*jobs, cancelled)] == ["finished", "failed", "canceled"]
    assert jobs[0].return_value(refresh=True) == 5


# RQ's own records


def test_a_job_that_is_not_on_record_is_shown_as_rq_has_it(rq_queue, adapter, work):
    with started_by(USER):
        waits, late, ends, fails = (
            rq_queue.enqueue(returns),
            rq_queue.enqueue_in(timedelta(hours=1), returns),
            rq_queue.enqueue(returns, at_front=True),
            rq_queue.enqueue(raises, at_front=True),
        )
    plain = rq_queue.enqueue(untracked)
    work(max_jobs=2)
    waits.cancel()
    shown = [adapter.fetch(job.id) for job in (waits, late, ends, fails)]
    assert [str(job.state) for job in shown] == ["cancelled", "enqueued", "finished", "failed"]
    assert {(job.owner, job.queue) for job in shown} == {("7", "rq")}
    assert [adapter.fetch(plain.id), adapter.fetch("nothing")] == [None, None]


@pytest.mark.parametrize(
    ("function", "arguments", "end"),
    [(returns, (5,), "Finished"), (raises, (), "Failed"), (untracked, (), "Finished")],
)
def test_rq_is_asked_how_a_silent_job_ended(rq_queue, adapter, work, function, arguments, end):
    rq_queue.enqueue(returns)  # by which the process learns where the jobs are
    before = time.time_ns() // 1000
    job = rq_queue.enqueue(function, *arguments)
    job_class = f"{__name__}.{function.__name__}"
    assert adapter.end_of(job.id, job_class, since=before) is None
    work()
    answer = adapter.end_of(job.id, job_class, since=before)
    assert type(answer).__name__ == end
    assert (
        (answer.report and answer.report.result) == (5 if function is returns else None) if end == "Finished" else True
    )
    assert adapter.end_of(job.id, job_class, since=time.time_ns() // 1000) is None


def test_the_end_that_a_worker_without_us_brought_about_is_told(rq_queue, adapter, settings, monkeypatch, work):
    monkeypatch.setattr(reader, "LOOK", 0)
    job = rq_queue.enqueue(returns)
    assert record(job).state is State.ENQUEUED
    hooked = rq_worker.BaseWorker.perform_job, rq_job.Job.perform, rq_worker.BaseWorker.handle_job_success
    monkeypatch.setattr(rq_worker.BaseWorker, "perform_job", hooked[0].__wrapped__)
    monkeypatch.setattr(rq_job.Job, "perform", hooked[1].__wrapped__)
    monkeypatch.setattr(rq_worker.BaseWorker, "handle_job_success", hooked[2].__wrapped__)
    work()
    assert eventually(lambda: tracking.read([job.id])[job.id].state is State.FINISHED)


def test_records_of_another_namespace_are_not_this_job_s(rq_queue, adapter, settings, work):
    settings.IMMORTUS_NAMESPACE = lambda source: "north"
    with namespaces.inside("north"):
        job = rq_queue.enqueue(returns)
    key = key_of("north", job.id)
    assert (adapter.fetch(key).state, adapter.fetch(job.id)) == (State.ENQUEUED, None)
    adapter.cancel(get_store().get_many([key]).jobs[key], terminate=False)
    assert job.get_status() == "canceled"


# django-rq


@pytest.fixture
def django_rq(rq_queue, settings, redis_server):
    """The queues module of django-rq, with the queue of these tests in its settings."""
    pytest.importorskip("django_rq")
    settings.RQ_QUEUES = {rq_queue.name: {"URL": f"{redis_server.url[:-1]}5"}}
    return import_module("django_rq.queues")


@pytest.mark.django_db(transaction=True)
def test_what_waits_for_the_commit_is_sent_as_its_user_s(rq_queue, django_rq, work):
    queue, name = django_rq.get_queue(rq_queue.name), uuid.uuid4().hex
    with started_by(USER), transaction.atomic():
        assert queue.enqueue(returns, 5, job_id=name) is None
        assert record(name) is None
    assert (record(name).state, record(name).owner) == (State.ENQUEUED, "7")
    work()
    assert record(name).state is State.FINISHED
    queue.connection.close()


@pytest.mark.django_db(transaction=True)
def test_what_is_rolled_back_is_not_sent(rq_queue, django_rq):
    queue, name = django_rq.get_queue(rq_queue.name), uuid.uuid4().hex
    with transaction.atomic():
        queue.enqueue(returns, 5, job_id=name)
        transaction.set_rollback(True)
    assert (record(name), queue.count) == (None, 0)
    queue.connection.close()


def test_a_process_that_has_sent_nothing_finds_the_queues_of_the_settings(rq_queue, django_rq):
    job = rq_queue.enqueue(returns)
    fresh = rq_servers.Servers()
    assert fresh.are_known()
    assert fresh.find(job.id).id == job.id
    for queue in fresh._queues.values():
        queue.connection.close()


def test_a_process_that_knows_no_redis_is_asked_nothing():
    assert not rq_servers.Servers().are_known()


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({}, []),
        ({"RQ": {"WORKER_CLASS": "rq.worker.SimpleWorker", "COMMIT_MODE": "auto"}}, []),
        ({"RQ": {"WORKER_CLASS": "rq.SpawnWorker"}}, ["W050"]),
        ({"RQ": {"WORKER_CLASS": "no.such.Worker"}}, []),
        ({"RQ": {"COMMIT_MODE": "request_finished"}}, ["W051"]),
        ({"RQ": {"AUTOCOMMIT": False}}, ["W051"]),
        ({"TASKS": {"default": {"BACKEND": "django_tasks_rq.RQBackend"}}}, ["W052"]),
        (
            {
                "TASKS": {"default": {"BACKEND": "django_tasks_rq.RQBackend"}},
                "RQ": {"JOB_CLASS": "django_tasks_rq.Job"},
            },
            [],
        ),
    ],
)
def test_what_a_project_has_set_up_wrong_is_found(adapter, settings, options, found):
    for name, value in options.items():
        setattr(settings, name, value)
    assert [problem.id for problem in adapter.problems()] == [f"immortus_channels.{name}" for name in found]


def test_queues_that_are_all_not_async_are_eager(adapter, settings):
    settings.RQ_QUEUES = {"a": {"ASYNC": False}, "b": {"ASYNC": False}}
    import_module("django_rq")
    assert adapter.is_eager()
    settings.RQ_QUEUES["b"] = {}
    assert not adapter.is_eager()
