"""Celery's class-based style, and jobs that run eagerly, as in the tests of a project."""

from __future__ import annotations

import builtins
from contextlib import nullcontext, suppress

import pytest
from celery import Celery, _state, chain, chord
from celery.exceptions import Ignore, Reject, Retry, SoftTimeLimitExceeded
from django.contrib.auth.models import User
from django.db import transaction
from django.test import RequestFactory

from immortus_channels import current_job, get_job, job_info, started_by, tracked
from immortus_channels.api.strategy import TrackingStrategy
from immortus_channels.celery import TrackedTask
from immortus_channels.exceptions import ConfigurationError, JobCancelled, JobFailed, JobNotFound, JobRunning
from immortus_channels.jobs.job import State
from immortus_channels.queues.celery import CeleryQueue
from immortus_channels.stores import get_store
from immortus_channels.tracking.strategies import Calling
from immortus_channels.urls import immortus_jobs
from immortus_channels.writer.run import current_run

urlpatterns = [*immortus_jobs()]
request = RequestFactory().post("/start")
app = Celery("tests.celery", set_as_current=False)
"""Its tasks are not shared: other tests look at what every app has."""


class Rows(TrackingStrategy):
    rows: dict[str, int] = {}  # noqa: RUF012 - shared on purpose, as a table would be

    def job_started(self, job_id):
        self.rows[job_id] = 0

    def update_percentage(self, job_id, percentage):
        self.rows[job_id] = percentage

    def completed(self, job_id):
        return self.rows.get(job_id) == 100

    def meta(self, job_id):
        return {"percentage": self.rows.get(job_id, 0), "rows": 1}


class OfTable(TrackedTask):
    abstract = True
    tracking_strategy = Rows


@app.task(shared=False, bind=True)
def untracked_step(self, how="returns"):
    if how == "retries" and self.request.retries < 2:
        raise self.retry(countdown=0)
    if how == "fails":
        raise RuntimeError


@app.task(shared=False, bind=True)
@tracked
def gives_way(self, how):
    raise self.replace(untracked_step.si(how))


@app.task(shared=False, bind=True, base=OfTable)
def own_table(self, until=100):
    assert isinstance(self.strategy, Calling)
    self.strategy.update_percentage(self.job_id, until)
    return self.job_id


@app.task(shared=False, bind=True, base=TrackedTask)
def plain(self, value=None):
    current_job().update(current=1, total=2)
    return self.job_id


@app.task(shared=False)
@tracked
def marked(value=0):
    for _ in current_job().track(range(3)):
        pass
    return value + 1


@app.task(shared=False)
@tracked
def leaves(by):
    raise getattr(builtins, by)


@app.task(shared=False, bind=True)
@tracked
def writes_down(self, state):
    self.update_state(state=state)
    raise Ignore


class Careless(TrackedTask):
    abstract = True

    def on_success(self, *_):
        raise RuntimeError


@app.task(shared=False, base=Careless)
@tracked(publish_result=True)
def careless():
    return 5


@app.task(shared=False)
@tracked
def fails_oddly(code):
    raise JobFailed({"enum": State.LOST, "none": None, "object": object()}[code], "A sentence.")


@app.task(shared=False)
@tracked
def fails(value=0):
    raise JobFailed("not_an_image", "No image.")  # noqa: EM101 - as tasks write it


@app.task(shared=False)
@tracked
def crashes(value=0):
    msg = "a secret"
    raise RuntimeError(msg)


@app.task(shared=False)
@tracked
def cancels_itself():
    get_job(current_job().job_id).cancel()
    current_job().checkpoint()


class OwnError(Exception):
    """What a task makes of whatever it meets. Celery cannot pickle it, and tells of another in its place."""

    def __init__(self, *, why):
        super().__init__(why)


def meets(error):
    raise error


@app.task(shared=False)
@tracked
def wraps(met, *, asked=False):
    if asked:
        get_job(current_job().job_id).cancel()
    try:
        meets(met)
    except Exception as caught:
        raise OwnError(why="wrapped") from caught


@app.task(shared=False)
@tracked
def ignores():
    raise Ignore


@app.task(shared=False, bind=True, max_retries=2)
@tracked
def retries(self):
    if current_job().attempt < 3:
        raise self.retry(countdown=0)


tried = []


@app.task(shared=False, autoretry_for=(Exception,), retry_kwargs={"max_retries": 3, "countdown": 0})
@tracked
def is_tried_again(*, wraps):
    tried.append(current_job().job_id)
    get_job(current_job().job_id).cancel()
    try:
        current_job().checkpoint()
    except JobCancelled as met:
        if not wraps:
            raise
        raise OwnError(why="wrapped") from met


@app.task(shared=False)
@tracked
def starts_another():
    return marked.delay().id


@app.task(shared=False)
@tracked
def adds_up(values):
    return sum(values)


@app.task(shared=False)
@tracked(publish_result=True)
def publishes():
    return {"url": "/x"}


@app.task(shared=False)
@tracked(publish_result=True)
def runs_its_own_job_again():
    with pytest.raises(JobRunning), current_job().running():
        pytest.fail("it runs twice")
    return "its own result"


@app.task(shared=False)
@tracked(publish_result=True)
def publishes_a_large_id():
    return {"id": 653247040368672769, "ids": [2**53 - 1, -(2**53)]}


@app.task(shared=False)
def untracked():
    return current_job().job_id


class Old(TrackedTask):
    name = "tests.old"

    def run(self, value):
        return value * 2


old = app.register_task(Old())
app.finalize()


@pytest.fixture(autouse=True)
def _eager(settings, monkeypatch):
    """Everything runs where it is sent from, on jobs in memory."""
    settings.IMMORTUS_STORE = {"BACKEND": "memory"}
    for name, value in {"task_always_eager": True, "task_eager_propagates": False}.items():
        monkeypatch.setitem(app.conf, name, value)
    before = getattr(_state._tls, "current_app", None)
    app.set_current()
    yield
    _state._tls.current_app = before


def record(job_id):
    return get_store().get_many([job_id]).jobs[job_id]


# TrackedTask


def test_the_base_class_alone_tracks_and_tells_the_task_its_job():
    result = plain.delay()
    assert result.result == result.id
    assert (record(result.id).state, record(result.id).current) == (State.FINISHED, 1)


def test_a_class_based_task_is_tracked():
    result = old.delay(4)
    assert result.result == 8
    assert (record(result.id).state, record(result.id).job_class) == (State.FINISHED, "tests.old")


@pytest.mark.case(11)
def test_an_inherited_strategy_serves_and_is_published_after_each_method():
    result = own_table.delay()
    assert record(result.id).document["rows"] == 1
    assert record(result.id).state is State.FINISHED


def test_a_strategy_that_is_not_done_keeps_the_job_running():
    job_id = own_table.delay(until=40).id
    assert (record(job_id).state, record(job_id).document["percentage"]) == (State.RUNNING, 40.0)
    own_table.strategy.update_percentage(job_id, 100)
    own_table.strategy.publish_meta(job_id)
    assert record(job_id).state is State.FINISHED


def test_outside_a_run_the_task_has_its_strategy_and_no_job():
    assert type(own_table.strategy) is Rows
    assert type(plain.strategy) is TrackingStrategy
    assert plain.job_id is None


def test_the_class_of_a_task_has_its_strategy_too(settings):
    assert (type(OfTable.strategy), type(Old.strategy)) == (Rows, TrackingStrategy)
    tracked(old, strategy=Rows)
    try:
        assert Old.strategy is old.strategy is own_table.strategy
    finally:
        del old.__immortus__
    settings.IMMORTUS_TRACKING_STRATEGY = Rows
    assert (type(Old.strategy), type(TrackedTask.strategy)) == (Rows, Rows)


def test_an_id_given_by_hand_is_the_jobs():
    plain.apply_async(task_id="mine")
    assert record("mine").state is State.FINISHED


@pytest.mark.django_db
def test_on_commit_the_result_has_its_id_before_the_job_is_sent(django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        results = [plain.delay_on_commit(5), plain.apply_async_on_commit((5,), task_id="mine")]
        with pytest.raises(JobNotFound):
            get_job(results[0].id)
    assert [record(result.id).state for result in results] == [State.FINISHED] * 2
    assert results[1].id == "mine"


@pytest.mark.django_db(transaction=True)
def test_on_commit_the_job_belongs_to_whoever_sent_it_then():
    with transaction.atomic():
        with started_by(User(pk=7)):
            result = plain.delay_on_commit()
        with started_by(User(pk=8)):
            other = plain.apply_async_on_commit()
    assert [record(r.id).owner for r in (result, other)] == ["7", "8"]


@pytest.mark.case(7)
@pytest.mark.django_db(transaction=True)
def test_a_transaction_that_is_rolled_back_sends_nothing():
    with transaction.atomic():
        result = plain.delay_on_commit()
        transaction.set_rollback(True)
    with pytest.raises(JobNotFound):
        get_job(result.id)


# Eager jobs


OUTCOMES = [
    (marked, (State.FINISHED, None), ()),
    (fails, (State.FAILED, "not_an_image"), JobFailed),
    (crashes, (State.FAILED, "error"), RuntimeError),
    (cancels_itself, (State.CANCELLED, "cancelled"), JobCancelled),
]


@pytest.mark.case(6)
@pytest.mark.parametrize(("task", "outcome", "raises"), OUTCOMES)
def test_an_eager_job_ends_as_any_other(task, outcome, raises):
    task.apply_async(task_id="j")
    assert_ended("j", outcome)


@pytest.mark.parametrize(("task", "outcome", "raises"), OUTCOMES[1:])
def test_an_eager_job_whose_error_reaches_its_sender_ends_as_any_other(monkeypatch, task, outcome, raises):
    monkeypatch.setitem(app.conf, "task_eager_propagates", 1)
    with pytest.raises(raises):
        task.apply_async(task_id="j")
    assert_ended("j", outcome)


@pytest.mark.parametrize("propagates", [False, True])
@pytest.mark.parametrize(
    ("met", "asked", "outcome"),
    [
        (JobCancelled("j"), True, (State.CANCELLED, "cancelled")),
        (JobCancelled("j"), False, (State.FAILED, "error")),
        (JobCancelled("another"), True, (State.FAILED, "error")),
        (JobFailed("not_an_image"), False, (State.FAILED, "not_an_image")),
        (SoftTimeLimitExceeded(), False, (State.FAILED, "time_limit")),
        (Reject("no"), False, (State.FAILED, "error")),
        (Ignore(), True, (State.FAILED, "error")),
        (Retry(), True, (State.FAILED, "error")),
    ],
    ids=repr,
)
def test_a_task_that_wraps_what_it_meets_ends_its_job_by_that(monkeypatch, propagates, met, asked, outcome):
    monkeypatch.setitem(app.conf, "task_eager_propagates", propagates)
    with pytest.raises(OwnError) if propagates else nullcontext():
        wraps.apply((met,), {"asked": asked}, task_id="j")
    assert_ended("j", outcome)


def assert_ended(job_id, outcome):
    job = record(job_id)
    assert (job.state, job.error and job.error.code) == outcome
    assert job.attempt == 1
    assert "secret" not in job.text
    assert current_run.get() is None


@pytest.mark.parametrize(("code", "shown"), [("enum", "lost"), ("none", "error"), ("object", "error")])
def test_a_job_that_fails_with_any_code_at_all_has_failed(code, shown):
    job = record(fails_oddly.delay(code).id)
    assert (job.state, job.error.code, job.error.message) == (State.FAILED, shown, "A sentence.")


@app.task(shared=False, throws=(KeyError,))
@tracked
def expects_more():
    raise KeyError


@app.task(shared=False)
def is_untracked():
    pass


def test_the_ends_that_a_job_chooses_are_no_errors_in_celerys_log(caplog):
    caplog.set_level("INFO", "celery.app.trace")
    for task in (fails, cancels_itself, expects_more, crashes):
        task.delay()
    levels = [line.levelname for line in caplog.records if line.name == "celery.app.trace"]
    assert levels == ["INFO", "INFO", "INFO", "ERROR"]


def test_what_a_task_expects_is_extended_once_and_only_where_it_is_tracked():
    app.finalize()
    for _ in range(2):
        CeleryQueue()._on_finalize(app)
    assert expects_more.throws == (KeyError, JobFailed, JobCancelled)
    assert is_untracked.throws == ()


def test_an_eager_job_that_was_ignored_is_finished():
    assert record(ignores.delay().id).state is State.FINISHED


@pytest.mark.parametrize("left_by", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_an_eager_job_that_is_left_with_what_is_no_exception_has_failed(left_by, caplog):
    with pytest.raises(left_by):
        leaves.apply_async((left_by.__name__,), task_id="j")
    assert_ended("j", (State.FAILED, "error"))
    assert any(entry.name == "immortus_channels" and entry.job_id == "j" for entry in caplog.records)


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        ("FAILURE", (State.FAILED, "error")),
        ("REVOKED", (State.CANCELLED, "cancelled")),
        ("PROGRESS", (State.FINISHED, None)),
    ],
)
def test_what_an_eager_job_wrote_down_before_it_was_ignored_decides(state, outcome):
    writes_down.apply_async((state,), task_id="j")
    assert_ended("j", outcome)


def test_an_eager_job_whose_on_success_raises_has_finished():
    with suppress(RuntimeError):  # Celery lets its sender see it, before 5.7 also where that is not asked for
        careless.apply_async(task_id="j")
    assert_ended("j", (State.FINISHED, None))
    assert record("j").result == 5


def test_an_eager_job_has_its_progress_and_its_times():
    document = get_job(marked.delay().id).document
    assert (document["current"], document["total"], document["percentage"]) == (3, 3, 100.0)
    assert document["enqueued_at"]
    assert document["started_at"]
    assert document["finished_at"]


@pytest.mark.parametrize("wraps", [False, True])
def test_an_eager_job_that_is_cancelled_is_not_tried_again(wraps):
    tried.clear()
    result = is_tried_again.delay(wraps=wraps)
    assert_ended(result.id, (State.CANCELLED, "cancelled"))
    assert tried == [result.id]


@pytest.mark.case(4)
def test_an_eager_retry_is_the_next_attempt_of_the_same_job():
    job = record(retries.delay().id)
    assert (job.state, job.attempt) == (State.FINISHED, 3)


def test_a_result_is_published_where_the_task_says_so():
    assert record(publishes.delay().id).result == {"url": "/x"}
    assert record(marked.delay().id).result is None


def test_a_block_of_its_own_job_in_a_task_is_refused_and_the_task_goes_on():
    job = record(runs_its_own_job_again.delay().id)
    assert (job.state, job.attempt, job.result) == (State.FINISHED, 1, "its own result")


def test_an_integer_that_browsers_would_round_is_text_in_a_task_s_result(caplog):
    job = record(publishes_a_large_id.delay().id)
    assert job.result == {"id": "653247040368672769", "ids": [2**53 - 1, str(-(2**53))]}
    assert [line.levelname for line in caplog.records if line.name == "immortus_channels"] == ["WARNING"]


def test_a_job_started_inside_a_job_inherits_its_owner():
    with started_by(User(pk=7)):
        result = starts_another.delay()
    assert record(result.result).owner == "7"
    assert record(result.id).state is State.FINISHED


@pytest.mark.urls(__name__)
def test_job_info_names_an_eager_job_s_class_and_refuses_an_untracked_task():
    assert job_info(request, marked.delay())["job_class"] == marked.name
    with pytest.raises(ConfigurationError, match=r"untracked' is not tracked.*@tracked"):
        job_info(request, untracked.delay())


@pytest.mark.parametrize(("how", "state"), [("returns", "finished"), ("retries", "finished"), ("fails", "failed")])
def test_an_eager_job_that_an_untracked_task_replaces_goes_on_as_that(how, state):
    with suppress(RuntimeError):
        gives_way.apply_async([how], task_id=f"gives-way-{how}")
    assert get_job(f"gives-way-{how}").state == state


@pytest.mark.case(54)
def test_an_untracked_task_leaves_no_trace():
    result = untracked.delay()
    assert result.result == ""
    with pytest.raises(JobNotFound):
        get_job(result.id)


def test_each_link_of_an_eager_chain_is_a_job():
    result = chain(marked.s(1), marked.s(), marked.s()).apply_async()
    ids = [result.id, result.parent.id, result.parent.parent.id]
    assert [record(job_id).state for job_id in ids] == [State.FINISHED] * 3
    assert result.get() == 4


def test_an_eager_chain_breaks_at_the_link_that_fails():
    with pytest.raises(RuntimeError):
        chain(marked.s(1).set(task_id="a"), crashes.s().set(task_id="b"), marked.s().set(task_id="c")).apply_async()
    assert (record("a").state, record("b").state) == (State.FINISHED, State.FAILED)
    assert get_store().get_many(["c"]).jobs.get("c") is None or record("c").is_over


def test_an_eager_chord_ends_with_the_job_of_its_body():
    result = chord([marked.s(1), marked.s(2)], adds_up.s()).apply_async()
    assert result.get() == 5
    assert (record(result.id).state, record(result.id).job_class) == (State.FINISHED, adds_up.name)
