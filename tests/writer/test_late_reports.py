"""What is said of a job after its end is not shown, and is not lost in silence."""

from __future__ import annotations

import threading

import pytest
from celery import Celery, _state

from immortus_channels import JobRepository, current_job, get_job, queues, tracked
from immortus_channels.api.strategy import TrackingStrategy
from immortus_channels.celery import TrackedTask
from immortus_channels.jobs.job import State
from tests.toys import ToyQueue

app = Celery("tests.afterthoughts", set_as_current=False)


class Rows(TrackingStrategy):
    rows = 0

    def meta(self, job_id):
        return {"rows": type(self).rows}

    def count(self, job_id):
        type(self).rows += 1


class Speaks(TrackedTask):
    abstract = True
    tracking_strategy = Rows

    def on_success(self, retval, task_id, args, kwargs):
        current_job().set_meta(by="on_success")

    def on_failure(self, exc, task_id, args, kwargs, einfo):
        current_job().set_meta(by="on_failure")

    def after_return(self, status, retval, task_id, args, kwargs, einfo):
        for number in range(3):
            current_job().set_meta(after=number)


@app.task(shared=False, base=Speaks)
def speaks(*, fails=False):
    if fails:
        raise RuntimeError


@app.task(shared=False, bind=True, base=TrackedTask, tracking_strategy=Rows)
def counts(self):
    current_job().complete()
    self.strategy.count(self.job_id)


@app.task(shared=False)
@tracked(publish_result=True)
def completes_itself():
    current_job().complete()
    return "too late"


@pytest.fixture(autouse=True)
def _eager(settings, monkeypatch):
    settings.IMMORTUS_STORE = {"BACKEND": "memory"}
    monkeypatch.setitem(app.conf, "task_always_eager", 1)
    monkeypatch.setattr(_state._tls, "current_app", app)


@pytest.fixture
def noted(caplog):
    """The ids of the jobs of which it was logged that they said something too late."""
    return lambda: [line.job_id for line in caplog.records if "after its end" in line.getMessage()]


@pytest.fixture
def job(monkeypatch):
    monkeypatch.setattr(queues, "connected", [ToyQueue()])
    return JobRepository().create()


@pytest.mark.parametrize(("fails", "by"), [(False, "on_success"), (True, "on_failure")])
def test_a_celery_hook_before_the_end_is_shown_and_one_after_it_is_logged(noted, fails, by):
    job_id = speaks.delay(fails=fails).id
    assert get_job(job_id).record.meta == {"by": by}
    assert noted() == [job_id]


def test_a_result_that_comes_after_the_end_is_one_line(noted):
    job_id = completes_itself.delay().id
    assert get_job(job_id).record.result is None
    assert noted() == [job_id]


def test_what_a_strategy_says_after_the_end_is_shown(noted):
    job_id = counts.delay().id
    assert get_job(job_id).document["rows"] == Rows.rows > 0
    assert not noted()


def say_meta(job):
    job.set_meta(a=1)


def say_message(job):
    job.update(message="Late")


def say_result(job):
    job.set_result(0)


def loop(job):
    list(job.track(range(3)))


SAYINGS = [say_meta, say_message, say_result]


@pytest.mark.parametrize("say", [*SAYINGS, loop])
def test_a_thread_that_outlives_its_job_is_one_line(job, noted, say):
    with job.running() as inside:
        kept = type(inside)(job.job_id, run=inside._side)
    before = get_job(job.job_id).document
    for _ in range(2):
        thread = threading.Thread(target=say, args=[kept])
        thread.start()
        thread.join()
    assert get_job(job.job_id).document == before
    assert noted() == [job.job_id]


@pytest.mark.parametrize("goes_on", [False, True])
def test_a_loop_is_logged_once_if_it_goes_on_after_the_end_of_its_job(job, noted, goes_on):
    with job.running() as inside:
        loop = inside.track(range(3))
        next(loop)
    if goes_on:
        next(loop)
    loop.close()
    assert noted() == [job.job_id] * goes_on


@pytest.mark.parametrize("say", SAYINGS)
@pytest.mark.parametrize("state", [State.FINISHED, State.FAILED, State.CANCELLED])
def test_what_is_said_from_outside_after_the_end_is_one_line(job, noted, say, state):
    {State.FINISHED: job.complete, State.FAILED: job.fail, State.CANCELLED: job.cancel}[state]()
    before = get_job(job.job_id).document
    for _ in range(2):
        say(get_job(job.job_id))
    assert get_job(job.job_id).document == before
    assert noted() == [job.job_id]


def test_the_line_names_the_task_where_there_is_one(job, caplog):
    completes_itself.delay()
    job.complete()
    say_meta(get_job(job.job_id))
    of_task, of_none = (line.getMessage() for line in caplog.records if "after its end" in line.getMessage())
    assert of_task.startswith(f"A job of {completes_itself.name!r} said something")
    assert of_none.startswith("A job without a task said something")


def test_data_is_kept_after_the_end_too(job, noted):
    job.complete()
    get_job(job.job_id).data["was_it_nice"] = "yes"
    assert get_job(job.job_id).data["was_it_nice"] == "yes"
    assert not noted()


def test_what_is_said_before_the_end_is_no_line(job, noted):
    with job.running() as inside:
        for say in (*SAYINGS, loop):
            say(inside)
    get_job(job.job_id).update()
    assert get_job(job.job_id).record.meta == {"a": 1}
    assert not noted()
