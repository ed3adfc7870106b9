"""What Huey does with a job, beside the suite's cases: its messages are run here, by Huey's own methods."""

from __future__ import annotations

import contextvars
import subprocess
import sys
import time
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.template import engines
from django.test import RequestFactory
from huey import CancelExecution, MemoryHuey, RetryTask, crontab
from huey.api import TaskWrapper, chord, group
from huey.consumer import Consumer
from huey.exceptions import ConfigurationError as HueyConfigurationError
from huey.exceptions import TaskTimeout
from huey.signals import SIGNAL_CANCELED

from immortus_channels import JobFailed, current_job, get_job, job_info, queues, started_by, tracked, tracking
from immortus_channels.exceptions import ConfigurationError
from immortus_channels.queues.results import identify
from immortus_channels.stores import get_store
from immortus_channels.testing import recorded_jobs
from immortus_channels.urls import immortus_jobs

urlpatterns = [*immortus_jobs()]
pytestmark = pytest.mark.urls(__name__)
ROOT = Path(__file__).parents[2]
ANN = SimpleNamespace(pk=7)
_names = count()


@pytest.fixture(autouse=True)
def jobs():
    with recorded_jobs() as jobs:
        yield jobs


@pytest.fixture
def huey():
    return MemoryHuey(f"huey-{next(_names)}")


@pytest.fixture
def paint(huey):
    """A tracked task that does what it is told: what `to` has named, or it returns its argument."""

    @huey.task()
    @tracked(params=True, publish_result=True)
    def paint(what=None, **_):
        return _bodies[what]() if what in _bodies else what

    return paint


_bodies = {}


def to(body):
    """Return the name by which a message asks for a function; to be called, or an exception to be raised."""
    name = f"body {next(_names)}"
    _bodies[name] = body if callable(body) else raises(body)
    return name


def work(huey, *, until=None):
    """Run what waits, as a worker and its scheduler do; what is due `until` then, too."""
    while True:
        while (message := huey.dequeue()) is not None:
            contextvars.copy_context().run(huey.execute, message, until)
        due = huey.read_schedule(until)
        if not due:
            return
        for message in due:
            huey.enqueue(message)


LATER = datetime(2100, 1, 1)  # noqa: DTZ001 - Huey's times have no zone


def record(result):
    job_id = identify(result)[0]
    return get_store().get_many([job_id]).jobs.get(job_id)


def raises(error):
    def raise_it():
        raise error

    return raise_it


# Ends


def test_a_job_is_told_from_its_sending_to_its_end(huey, paint, jobs):
    with started_by(ANN):
        result = paint("sea")
    work(huey)
    job = record(result)
    assert jobs.states(result.id) == ["enqueued", "running", "finished"]
    assert (job.job_class, job.queue, job.owner) == (f"{__name__}.paint", "huey", "7")
    assert (job.result, dict(job.params)) == ("sea", {"what": "sea"})
    assert result() == "sea"


def ends():
    yield "an exception", ValueError("secret"), "failed", "error"
    yield "a reason", JobFailed("no_paint", "No blue."), "failed", "no_paint"
    yield "a time limit", TaskTimeout(), "failed", "time_limit"
    yield "its own cancel", CancelExecution(), "cancelled", "cancelled"
    yield "an exit", SystemExit(1), "failed", "error"


@pytest.mark.parametrize(("error", "state", "code"), [pytest.param(*end, id=name) for name, *end in ends()])
def test_what_a_task_raises_ends_its_job(huey, paint, error, state, code):
    result = paint(to(error))
    try:
        work(huey)
    except SystemExit:
        assert code == "error"
    job = record(result)
    assert (job.state, job.error.code) == (state, code)


def test_the_context_of_a_job_ends_with_it(huey, paint):
    results = [paint(to(error)) for error in (ValueError(), CancelExecution(), RetryTask(delay=60))]
    seen = []
    for _ in results:
        huey.execute(huey.dequeue())
        seen.append(current_job().id)
    assert seen == [""] * 3


def test_a_lock_that_is_taken_refuses_the_job(huey):
    @huey.task()
    @huey.lock_task("easel")
    @tracked
    def paint_alone():
        pytest.fail("it is locked")

    result = paint_alone()
    with huey.lock_task("easel"):
        work(huey)
    assert (record(result).state, record(result).error.code) == ("failed", "rejected")


@pytest.mark.parametrize("retry", [True, False])
def test_a_rate_limit_puts_a_job_off_or_refuses_it(huey, jobs, retry):
    @huey.task()
    @huey.rate_limit("easel", limit=1, per=3600, retry=retry)
    @tracked
    def paint_rarely():
        pass

    paint_rarely()
    result = paint_rarely()
    work(huey)
    assert jobs.states(result.id)[-1] == ("retrying" if retry else "failed")


def test_a_decorator_between_may_meet_what_the_body_raises(huey, jobs):
    def forgiving(function):
        def call():
            try:
                function()
            except ValueError:
                return "scratched"

        call.__module__, call.__name__, call.__dict__ = __name__, "forgive", {**vars(function)}
        return call

    @huey.task()
    @forgiving
    @tracked(publish_result=True)
    def scratch():
        raise ValueError

    result = scratch()
    work(huey)
    assert (record(result).state, record(result).result) == ("finished", "scratched")


def test_a_result_that_cannot_be_stored_is_no_success(huey, paint, caplog):
    result = paint(to(lambda: lambda: None))
    with pytest.raises(Exception, match="local"):
        work(huey)
    assert record(result).state == "failed"


def test_a_job_is_finished_even_if_what_follows_cannot_be_sent(huey, paint, monkeypatch):
    result, _ = huey.enqueue(paint.s("sea").then(paint))
    message = huey.dequeue()
    monkeypatch.setattr(huey.storage, "enqueue", lambda *_: raises(OSError("no queue"))())
    with pytest.raises(OSError, match="no queue"):
        huey.execute(message)
    assert record(result).state == "finished"
    assert record(result).result == "sea"


def test_a_message_that_expired_is_told(huey, paint):
    result = paint("sea", expires=timedelta(seconds=-1))
    work(huey)
    assert (record(result).state, record(result).error.code) == ("cancelled", "expired")


def test_a_task_that_is_unknown_to_the_consumer_is_told(huey, paint, monkeypatch, caplog):
    result, last = huey.enqueue(paint.s("sea").then(paint))
    paint.unregister()
    Consumer(huey, workers=0, periodic=False).start()
    with pytest.raises(Exception, match="not found in TaskRegistry"):
        huey.dequeue()
    assert {record(one.id).error.code for one in (result, last)} == {"unknown_task"}


def test_a_web_server_that_looks_at_the_queue_tells_nothing(huey, paint, caplog):
    result = paint("sea")
    paint.unregister()
    assert huey.pending() == []
    assert record(result.id).state == "enqueued"


# Retries


def test_a_retry_is_told_once_with_the_time_it_is_due(huey, jobs):
    @huey.task(retries=1, retry_delay=60)
    @tracked
    def fail():
        raise ValueError

    result = fail()
    work(huey)
    before = record(result)
    work(huey, until=LATER)
    assert before.state == "retrying"
    assert 50 < before.lease_until / 1e6 - 86_400 - before.started_at / 1e6 < 70
    assert jobs.states(result.id) == ["enqueued", "running", "retrying", "running", "failed"]


@pytest.mark.parametrize("raised", [RetryTask(), CancelExecution(retry=True)])
def test_a_task_may_ask_to_run_again(huey, jobs, raised):
    @huey.task()
    @tracked
    def again():
        if current_job().attempt == 1:
            raise raised

    result = again()
    work(huey)
    assert jobs.states(result.id) == ["enqueued", "running", "retrying", "running", "finished"]


def test_a_cancel_that_the_task_raises_is_no_end_while_retries_are_left(huey, jobs):
    @huey.task(retries=1)
    @tracked
    def cancels():
        raise CancelExecution

    result = cancels()
    work(huey)
    assert jobs.states(result.id) == ["enqueued", "running", "retrying", "running", "cancelled"]


def test_a_retry_that_cannot_be_sent_fails_the_job(huey, monkeypatch):
    @huey.task(retries=1)
    @tracked
    def fail():
        raise ValueError

    result = fail()
    message = huey.dequeue()
    monkeypatch.setattr(huey.storage, "enqueue", lambda *_: raises(OSError("no queue"))())
    with pytest.raises(OSError, match="no queue"):
        huey.execute(message)
    assert record(result).state == "failed"


def test_a_retry_has_the_owner_of_the_first_run(huey):
    owners = []

    @huey.task(retries=1)
    @tracked
    def fail():
        owners.append(record(paint_child()).owner)
        raise ValueError

    @huey.task()
    @tracked
    def paint_child():
        """Sent by a job."""

    with started_by(ANN):
        fail()
    work(huey)
    assert owners == ["7", "7"]


# Sending


def test_a_job_that_is_due_later_is_told_once(huey, paint, jobs):
    result = paint.schedule(("sea",), delay=3600)
    work(huey)
    job = record(result)
    assert job.state == "enqueued"
    assert 3500 < job.lease_until / 1e6 - 86_400 - job.enqueued_at / 1e6 < 3700
    work(huey, until=LATER)
    assert jobs.states(result.id) == ["enqueued", "running", "finished"]


def test_a_job_that_is_cancelled_before_it_is_due_is_not_told_again(huey, paint, jobs):
    result = paint.schedule(("sea",), delay=3600)
    work(huey)
    tracking.cancel(result.id)
    work(huey, until=LATER)
    assert jobs.states(result.id) == ["enqueued", "cancelled"]


@pytest.mark.parametrize("utc", [True, False])
def test_it_is_known_whether_times_are_local(paint, monkeypatch, utc):
    task = MemoryHuey("tokyo", utc=utc).task(name="tokyo")(paint.func)
    with monkeypatch.context() as in_tokyo:
        in_tokyo.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        job = record(task.schedule(delay=3600))
    time.tzset()
    assert 3500 < job.lease_until / 1e6 - 86_400 - job.enqueued_at / 1e6 < 3700


def test_the_caller_may_choose_the_id(huey, paint, jobs):
    result = paint("sea", id="order-7")
    work(huey)
    paint("sky", id="order-7")
    work(huey)
    assert result.id == "order-7"
    assert jobs.states("order-7") == ["enqueued", "running", "finished", "enqueued", "running", "finished"]
    assert record(result).attempt == 2


def test_a_message_that_could_not_be_sent_may_be_sent_again(huey, paint, monkeypatch, jobs):
    message = paint.s("sea")
    with monkeypatch.context() as broken:
        broken.setattr(huey.storage, "enqueue", lambda *_: raises(OSError("no queue"))())
        with pytest.raises(OSError, match="no queue"):
            huey.enqueue(message)
    assert record(message).lease_until / 1e6 - record(message).enqueued_at / 1e6 == 60
    huey.enqueue(message)
    assert record(message).lease_until / 1e6 - record(message).enqueued_at / 1e6 > 80_000
    work(huey)
    assert jobs.states(message.id) == ["enqueued", "running", "finished"]


def test_what_a_schedule_starts_is_for_staff_only(huey):
    @huey.periodic_task(crontab())
    @tracked
    def nightly():
        seen.append(current_job().id)

    seen = []
    for message in huey.read_periodic(None):
        huey.enqueue(message)
    with started_by(ANN):
        by_hand = nightly()
    work(huey)
    assert len(seen) == 2
    scheduled, by_ann = record(seen[0]), record(by_hand)
    assert (scheduled.owner, scheduled.staff_only, scheduled.state) == (None, True, "finished")
    assert (by_ann.owner, by_ann.staff_only) == ("7", False)


def test_a_job_runs_at_once_in_immediate_mode(jobs):
    huey = MemoryHuey(immediate=True)

    @huey.task(retries=1)
    @tracked(publish_result=True)
    def paint_now():
        if current_job().attempt == 1:
            raise ValueError
        return "sea"

    result = paint_now()
    assert jobs.states(result.id) == ["enqueued", "running", "retrying", "running", "finished"]
    assert record(result).result == "sea"


def test_huey_is_eager_where_all_tracked_tasks_run_at_once(huey, paint, monkeypatch):
    queue = queues.by_name("huey")
    monkeypatch.setattr(queue, "tasks", {"paint": paint})
    before = queue.is_eager()
    huey.immediate = True
    assert (before, queue.is_eager()) == (False, True)


# Followers


def test_a_pipeline_is_planned_and_its_last_job_is_the_one_to_render(huey, paint, jobs):
    with started_by(ANN):
        pipeline = huey.enqueue(paint.s("sea").then(paint))
    *_, last = pipeline
    assert identify(pipeline) == (last.id, f"{__name__}.paint")
    assert record(last).owner == "7"
    work(huey)
    assert jobs.states(last.id) == ["enqueued", "running", "finished"]
    assert record(last).owner == "7"


@pytest.mark.parametrize("is_tracked", [True, False])
def test_what_was_to_follow_a_failure_is_cancelled(huey, paint, is_tracked):
    first = (lambda: tracked(bad)) if is_tracked else (lambda: bad)

    def bad():
        raise ValueError

    pipeline = huey.enqueue(huey.task(retries=1)(first()).s().then(paint, 1).then(paint, 2))
    *_, second, third = list(pipeline)
    huey.execute(huey.dequeue())
    assert {record(each).state for each in (second, third)} == {"enqueued"}
    work(huey)
    for each in (second, third):
        assert (record(each).state, record(each).error.code) == ("cancelled", "upstream")


def test_what_was_to_follow_a_revoked_job_is_cancelled(huey, paint):
    first, last = huey.enqueue(paint.s("sea").then(paint))
    first.revoke()
    work(huey)
    assert (record(first).state, record(last).error.code) == ("cancelled", "upstream")


def test_a_chord_is_its_callback(huey, paint, jobs):
    @huey.task()
    @tracked
    def gather(values):
        return sum(values)

    result = huey.enqueue(chord([paint.s(1), paint.s(2)], gather))
    assert identify(result)[0] == result.callback.id
    assert record(result).state == "enqueued"
    work(huey)
    assert jobs.states(result.callback.id) == ["enqueued", "running", "finished"]


def test_the_task_that_meets_an_error_has_its_owner(huey, paint, jobs):
    @huey.task()
    @tracked
    def fail():
        raise ValueError

    with started_by(ANN):
        message = fail.s().error(paint)
        huey.enqueue(message)
    work(huey)
    assert (record(message.on_error).state, record(message.on_error).owner) == ("finished", "7")


# Cancels


def test_a_cancelled_job_is_cancelled_by_huey_itself(huey, paint, jobs, caplog):
    heard = []
    huey.signal(SIGNAL_CANCELED)(lambda _, task: heard.append(task.id))
    pipeline = huey.enqueue(paint.s(to(AssertionError("it ran"))).then(paint, 2))
    first, last = pipeline
    message = huey.dequeue()  # a worker has it
    tracking.cancel(first.id)
    huey.execute(message)
    assert heard == [first.id]
    assert jobs.states(first.id) == ["enqueued", "cancelled"]
    assert record(last).state == "cancelled"
    assert len(huey) == 0


def test_a_job_that_is_asked_to_stop_is_not_run_again(huey, jobs):
    @huey.task(retries=3)
    @tracked
    def works():
        tracking.cancel(current_job().id)
        list(current_job().track(range(2)))
        pytest.fail("it went on")

    result = works()
    work(huey)
    assert jobs.states(result.id) == ["enqueued", "running", "cancelled"]


def test_a_waiting_job_that_is_cancelled_is_revoked_by_huey_too(huey, paint):
    queue, result, ours = queues.by_name("huey"), paint("sea"), paint("sky", id="order-7")
    for each in (result, ours):
        queue.cancel(record(each), terminate=False)
    assert huey.is_revoked(result)
    assert not huey.is_revoked(ours)


def test_ending_its_process_is_not_in_huey_s_power(huey, paint):
    result = paint("sea")
    queues.by_name("huey").cancel(record(result), terminate=True)
    assert not huey.is_revoked(result)


# Marks


def test_any_task_can_be_tracked_once_it_is_made(huey):
    @huey.task()
    def sketch():
        return current_job().id

    tracked(sketch)
    result = sketch()
    work(huey)
    assert (record(result).state, result()) == ("finished", result.id)


def test_a_coroutine_function_is_refused_by_huey(huey):
    with pytest.raises(HueyConfigurationError, match="async"):

        @huey.task()
        @tracked
        async def paint_later():
            pass


def test_a_task_of_another_wrapper_is_tracked_too(huey):
    class Wrapper(TaskWrapper):
        pass

    huey.task_wrapper_class = Wrapper

    @huey.task(name="its.own")
    @tracked
    def sketch():
        pass

    assert identify(sketch())[1] == f"{__name__}.its.own"
    assert f"{__name__}.its.own" in queues.tracked_names()


def test_an_untracked_task_leaves_no_trace(huey, jobs):
    @huey.task(retries=1)
    def sketch():
        raise ValueError

    result = sketch()
    message = huey.dequeue()
    huey.execute(message)
    work(huey)
    assert jobs.documents == []
    assert not [name for name in vars(message) if "immortus" in name]
    with pytest.raises(ConfigurationError, match="is not tracked; write @tracked under its decorator"):
        identify(result)


def test_what_huey_returns_is_rendered(huey, paint):
    result = paint("sea")
    info = job_info(RequestFactory().get("/"), result)
    assert (info["job_id"], info["job_class"], info["label"]) == (result.id, f"{__name__}.paint", "Paint")
    assert identify(result.task) == identify(result)
    assert queues.name_of(paint) == f"{__name__}.paint"
    assert get_job(result.id).state == "enqueued"


def test_a_template_does_not_take_a_job_s_value_out_of_huey(huey, paint):
    plain = huey.task(name="plain")(lambda: "a value")
    result, untracked = paint("sea"), plain()
    work(huey)
    template = engines["django"].from_string("{% load immortus %}{% immortus_job job %} {{ untracked }}")
    text = template.render({"job": result, "untracked": untracked})
    assert f'job-id="{result.id}"' in text
    assert "a value" in text
    assert result() == "sea"


def test_a_template_can_show_the_jobs_of_a_map(huey, paint):
    results, chord_result = paint.map([1, 2]), huey.enqueue(chord([paint.s(3)], paint))
    template = "{% load immortus %}{% for job in jobs %}{% immortus_job job %}{% endfor %}{% immortus_job chord %}"
    text = engines["django"].from_string(template).render({"jobs": results, "chord": chord_result})
    assert [each.id in text for each in (*results, chord_result.callback)] == [True] * 3


def test_a_group_is_refused_as_it_has_no_job_of_its_own(huey, paint):
    with pytest.raises(ConfigurationError, match="A group has no job of its own"):
        identify(huey.enqueue(group([paint.s(1), paint.s(2)])))


# What may not break


def test_a_job_does_as_it_would_untracked_if_tracking_breaks(huey, paint, monkeypatch, caplog):
    broken = raises(RuntimeError("tracking is broken"))
    for name in ("sent", "begin", "ended"):
        monkeypatch.setattr("immortus_channels.queues.port.Port." + name, lambda *_, **__: broken())
    result, bad, revoked = paint("sea"), paint(to(ValueError("secret"))), paint("sky")
    revoked.revoke()
    work(huey)
    assert result() == "sea"
    with pytest.raises(Exception, match="secret"):
        bad()
    assert "tracking is broken" in caplog.text


def test_other_receivers_and_hooks_hear_what_they_always_did(huey, paint):
    heard = []
    huey.signal()(lambda signal, task, *_: heard.append(signal))
    huey.pre_execute()(lambda task: heard.append("pre"))
    huey.post_execute()(lambda task, value, error: heard.append(value))
    paint("sea")
    work(huey)
    assert heard == ["enqueued", "executing", "pre", "sea", "complete"]


def test_huey_s_own_methods_may_be_called_by_keyword(huey, paint, caplog):
    huey.enqueue(task=paint.s("sea"))
    message = huey.dequeue()
    huey.execute(task=message, timestamp=None)
    assert record(message).state == "finished"
    huey._emit("varnished", message, 1, 2, by="Ann")
    assert "Tracking failed" not in caplog.text


def test_a_message_takes_nothing_of_ours_along(huey, paint):
    message = paint.s("sea")
    before = huey.serialize_task(message)
    huey.enqueue(message)
    assert huey.storage.dequeue() == before


def test_huey_is_imported_without_writer_and_store():
    code = """
import django, sys; django.setup()
import huey
from immortus_channels import queues
assert queues.by_name("huey"), queues.connected
rooms = {name.split(".")[1] for name in sys.modules if name.startswith("immortus_channels.")}
assert not rooms & {"jobs", "stores", "writer", "push", "tracking", "conf"}, rooms
"""
    settings = {"DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], env=settings, check=True)


def test_tasks_that_are_older_than_the_app_are_found():
    code = """
import huey
from immortus_channels import tracked
app = huey.MemoryHuey("old")
@app.task()
@tracked
def marked(): pass
@app.task()
def plain(): pass
tracked(plain)
import django; django.setup()
from immortus_channels import queues
assert queues.tracked_names() == {"__main__.marked", "__main__.plain"}, queues.tracked_names()
"""
    settings = {"DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], env=settings, check=True)


# SIGTERM


def test_a_run_that_is_interrupted_has_lost_its_worker(huey, paint):
    result = paint(to(KeyboardInterrupt()))
    work(huey)
    assert (record(result).state, record(result).error.code) == ("failed", "worker_lost")


def test_a_thread_s_run_counts_as_interrupted_when_the_process_ends(huey, paint, monkeypatch):
    at_exit = []
    monkeypatch.setattr("atexit.register", lambda *call: at_exit.append(call))

    def interrupted(*, returns):
        def body():
            contextvars.Context().run(huey.notify_interrupted_tasks)
            if not returns:
                call, *arguments = at_exit.pop()
                contextvars.Context().run(call, *arguments)

        return paint(to(body))

    results = [interrupted(returns=True), interrupted(returns=False)]
    work(huey)
    for call, *arguments in at_exit:
        call(*arguments)
    assert [record(result).state for result in results] == ["finished", "failed"]
