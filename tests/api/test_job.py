from __future__ import annotations

import threading
import uuid

import pytest
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import include, path

from immortus_channels import queues, tracking
from immortus_channels.api.job import JobHandle
from immortus_channels.api.job_state import JobState
from immortus_channels.api.repository import JobRepository, current_job, get_job
from immortus_channels.api.strategy import TrackingStrategy
from immortus_channels.exceptions import (
    DocumentTooLarge,
    InvalidValue,
    JobCancelled,
    JobNotFound,
    ReservedMetaKey,
    StoreUnavailable,
)
from immortus_channels.jobs.events import Cancelled, Enqueued, Failed, Finished, Origin
from immortus_channels.jobs.job import State
from immortus_channels.queues.tracked import TaskOptions
from immortus_channels.stores import get_store
from immortus_channels.tracking.strategies import Calling
from immortus_channels.writer import values
from immortus_channels.writer.run import current_run
from tests.toys import ToyQueue

_job_urls = ([path("jobs/<str:job_id>/", lambda *_, **__: HttpResponse(), name="job")], "immortus")
urlpatterns = [path("immortus/", include(_job_urls))]


@pytest.fixture(autouse=True)
def _queue(monkeypatch):
    monkeypatch.setattr(queues, "connected", [ToyQueue(task=TaskOptions())])


@pytest.fixture
def job_id():
    return uuid.uuid4().hex


@pytest.fixture(params=["memory", pytest.param("database", marks=pytest.mark.django_db)])
def store(request, settings):
    settings.IMMORTUS_STORE = {"BACKEND": request.param}
    return get_store()


@pytest.fixture
def memory(settings):
    settings.IMMORTUS_STORE = {"BACKEND": "tests.toys.FlakyStore"}
    return get_store()


@pytest.fixture
def run(job_id):
    """The job, running in this thread."""
    origin = Origin(owner="7", params={"path": "/a"}, data={"given": 1})
    run = tracking.make_run(job_id=job_id, job_class="task", run_id="r", origin=origin)
    token = current_run.set(run)
    tracking.begin(run)
    yield run
    current_run.reset(token)
    tracking.end(run, Finished)


@pytest.fixture
def outside(run):
    """The running job as another process has it."""
    token = current_run.set(None)
    yield get_job(run.job_id)
    current_run.reset(token)


# Outside a job


def test_outside_a_job_everything_may_be_called_and_does_nothing():
    job = current_job()
    assert list(job.track("abc", total=5, message="x")) == ["a", "b", "c"]
    job.update(current=1, total=2, advance=3, percentage=4, message="x")
    job.set_meta(a=1)
    job.set_progress_metric("a", 1)
    job.set_result(5)
    job.data["a"] = 1
    job.checkpoint()
    job.cancel()
    assert (job.job_id, job.attempt, dict(job.params), dict(job.data), job.cancel_requested) == ("", 1, {}, {}, False)
    assert type(job.strategy) is TrackingStrategy
    assert repr(job) == "<JobHandle outside a job>"


def test_what_a_job_is_cannot_be_said_outside_one(memory):
    with pytest.raises(JobNotFound):
        _ = current_job().state


def test_a_thread_that_a_task_starts_uses_the_tasks_job_object(memory, run):
    job, found = current_job(), []
    thread = threading.Thread(target=lambda: (found.append(current_job().job_id), job.update(advance=2)))
    thread.start()
    thread.join()
    assert found == [""]
    assert run.take()[0].current == 2


# As an object


class Walk(JobState):
    pass


class Marathon(JobState):
    message = "Before the start"


@pytest.mark.parametrize("name", ["current", "total", "advance", "percentage", "message"])
def test_progress_that_is_set_as_an_attribute_names_its_method(name):
    for job in (JobHandle("a"), JobState("a"), Walk("a")):
        with pytest.raises(AttributeError, match=rf"write job\.update\({name}=…\)"):
            setattr(job, name, 5)


def test_an_attribute_that_reports_nothing_is_refused_as_mistyped():
    for job in (JobHandle("a"), JobState("a")):
        with pytest.raises(AttributeError, match=r"job\.mesage = ….*update\(…\) or set_meta\(mesage=…\)"):
            job.mesage = "x"


def test_a_class_of_a_project_has_the_attributes_it_likes():
    job = Marathon("a")
    job.pace, job.message = 5, "Declared"
    assert (job.pace, job.message) == (5, "Declared")
    with pytest.raises(AttributeError):
        job.state = "finished"


def test_handles_of_the_same_job_are_equal(store, job_id):
    with JobRepository().create(id=job_id).running() as job:
        assert {job, get_job(job_id), current_job(), JobState(job_id)} == {JobHandle(job_id)}
    assert JobHandle("a") != JobHandle("b")
    assert JobHandle("a") != "a"


def test_jobs_of_two_namespaces_differ_whatever_their_ids(settings):
    jobs = []
    for namespace in ("acme", "zoo"):
        settings.IMMORTUS_NAMESPACE = lambda _, namespace=namespace: namespace
        jobs.append(JobHandle("import-17"))
    assert jobs[0] != jobs[1]


# In a running job


def test_in_a_job_everything_is_about_its_run(store, run, job_id):
    job = current_job()
    assert (job.job_id, job.job_class, job.attempt) == (job_id, "task", 1)
    assert (job.params, dict(job.data)) == ({"path": "/a"}, {"given": 1})
    assert (job.state, job.owner, job.document["job_id"]) == (State.RUNNING, "7", job_id)
    assert isinstance(job.strategy, Calling)


def test_what_a_running_job_says_is_in_its_document_at_the_end(store, run, job_id):
    job = current_job()
    for _ in job.track(range(3), message="Go"):
        job.update(advance=1)
    job.set_meta(miles=1)
    job.set_progress_metric("pace", 5)
    job.set_result({"url": "/x"})
    document = tracking.end(run, Finished).document
    wanted = {"current": 3, "total": 3, "message": "Go", "miles": 1, "pace": 5, "result": {"url": "/x"}}
    assert {key: document[key] for key in wanted} == wanted


@pytest.mark.parametrize("end", [lambda job: job.fail("no_credit", "No credit."), lambda job: job.complete()])
def test_a_waiting_job_that_was_ended_from_outside_is_not_run(store, job_id, end):
    origin = Origin(send_id="s1", owner="7")
    tracking.publish(Enqueued(job_id=job_id, job_class="task", origin=origin))
    end(get_job(job_id))
    ended = get_job(job_id).document
    run = tracking.make_run(job_id=job_id, job_class="task", run_id="r1", origin=origin)
    tracking.begin(run)
    assert run.refused
    assert get_job(job_id).document == ended


def test_what_is_changed_in_place_changes_nothing_and_hides_nothing(memory, run, job_id):
    job = current_job()
    job.data["rows"] = []
    job.data["rows"].append({1, 2})  # which JSON cannot hold
    job.data["given_by"] = {"name": "a"}
    dict(job.data)["given_by"]["name"] = object()
    job.params["path"] = object()
    job.set_result(5)
    assert dict(job.data) == {"given": 1, "rows": [], "given_by": {"name": "a"}}
    ended = tracking.end(run, Finished)
    assert (ended.state, ended.result, ended.params) == (State.FINISHED, 5, {"path": "/a"})
    assert ended.data == {"given": 1, "rows": [], "given_by": {"name": "a"}}


def test_data_beyond_the_limit_is_refused_elsewhere_as_well(memory, outside):
    outside.data["a"] = "x" * 100_000
    with pytest.raises(DocumentTooLarge, match="'b'"):
        outside.data["b"] = "x" * 40_000
    assert outside.data.keys() == {"given", "a"}


@pytest.mark.parametrize("name", ["state", "owner", "document", "job_class", "record"])
def test_outside_a_job_what_only_a_job_has_says_so(name):
    with pytest.raises(JobNotFound, match="outside a job"):
        getattr(current_job(), name)


def test_data_cannot_be_deleted_and_the_error_says_what_to_do_instead(memory, outside):
    with pytest.raises(TypeError, match=r"job.data\['given'\] = None"):
        del outside.data["given"]


def test_data_of_a_job_elsewhere_is_a_copy_too(memory, outside):
    outside.data["rows"] = [1]
    outside.data["rows"].append(2)
    assert outside.data["rows"] == [1]


def test_data_is_found_under_the_name_that_it_was_given(memory, outside):
    for key in (1, None, "a\0"):
        outside.data[key] = "one"
        assert outside.data[key] == "one"
        assert key in outside.data


def test_data_goes_round_and_never_into_the_document(store, run, job_id):
    current_job().data["pair"] = (1, {"a": None})
    assert dict(current_job().data) == {"given": 1, "pair": [1, {"a": None}]}
    assert tracking.end(run, Finished).data == {"given": 1, "pair": [1, {"a": None}]}
    assert "pair" not in get_job(job_id).document
    assert get_job(job_id).data["pair"] == [1, {"a": None}]
    assert len(get_job(job_id).data) == 2


def test_cancellation_reaches_a_running_job(memory, run, job_id):
    job = current_job()
    assert not job.cancel_requested
    get_job(job_id).cancel()
    assert job.cancel_requested
    with pytest.raises(JobCancelled):
        job.checkpoint()
    with pytest.raises(JobCancelled):
        list(job.track("abc"))


def test_getting_the_job_one_runs_in_gives_its_run(memory, run, job_id):
    get_job(job_id).update(current=3)
    assert run.take()[0].current == 3


def test_a_class_of_ones_own_is_given_for_the_current_job(memory, run):
    class Marathon(JobHandle):
        def half(self):
            self.update(percentage=50)

    current_job(Marathon).half()
    assert run.take()[0].percentage == 50
    assert current_job(Marathon).job_id == run.job_id


@pytest.mark.parametrize("number", [{"percentage": 40}, {"current": 4}, {"total": 9}, {"advance": 1}], ids=str)
def test_a_job_that_fails_after_its_loop_shows_its_message_and_no_full_bar(store, run, job_id, number):
    job = get_job(job_id)
    list(job.track("abc", message="Reading"))
    job.update(**number, message="Sorting")
    document = tracking.end(run, Failed, code="bad_row").document
    assert (document["state"], document["message"]) == ("failed", "Sorting")
    assert document["percentage"] == {"percentage": 40, "total": 0}.get(next(iter(number)))


def test_a_message_alone_leaves_the_bar_full(store, run, job_id):
    job = get_job(job_id)
    list(job.track("abc"))
    job.update(message="Nearly there")
    job.set_meta(a=1)
    assert tracking.end(run, Failed).document["percentage"] == 100.0


def test_the_count_of_the_next_loop_replaces_a_percentage_given_before(store, run, job_id):
    job = get_job(job_id)
    list(job.track("abc"))
    job.update(percentage=40)
    for _ in zip(job.track("abcd"), "x", strict=False):
        pass
    assert tracking.end(run, Failed).document["percentage"] == 25.0


def test_an_integer_that_browsers_round_never_reaches_them(store, run, job_id, monkeypatch):
    big, job = 653247040368672769, get_job(job_id)
    for give in (lambda: job.set_result({"id": big}), lambda: job.set_meta(id=big)):
        with pytest.raises(InvalidValue, match=str(big)):
            give()
    with pytest.raises(InvalidValue, match=str(big)):
        job.set_progress_metric("id", big)
    monkeypatch.setattr(values, "is_strict", lambda: False)
    job.set_result({"id": big})
    job.set_progress_metric("id", big)
    job.data["id"] = big
    document = tracking.end(run, Finished).document
    assert (document["result"], document["id"]) == ({"id": str(big)}, str(big))
    assert get_job(job_id).data["id"] == big


def test_the_name_of_a_metric_is_text_whatever_was_given(store, run, job_id):
    get_job(job_id).set_progress_metric(5, "five")
    assert tracking.end(run, Finished).document["5"] == "five"


# What is shown to whoever looks at the object


def test_a_job_shows_its_id_class_and_state_and_reads_nothing_for_that(memory, run, outside, job_id):
    calls = len(memory.calls)
    assert repr(outside) == f"<JobHandle '{job_id}' task running>"
    assert repr(current_job()) == "<JobHandle outside a job>"
    assert repr(JobHandle(42)) == "<JobHandle '42'>"
    assert repr(JobHandle(42).data) == "JobData(not read yet)"
    assert repr(outside.data) == "JobData({'given': 1})"
    assert repr(JobHandle().data) == "JobData({})"
    assert len(memory.calls) == calls
    assert (outside.id, JobHandle(42).id, JobHandle().id) == (job_id, "42", "")


def test_so_does_the_job_that_runs_here(memory, run, job_id):
    assert repr(current_job()) == f"<JobHandle '{job_id}' task running>"
    assert repr(current_job().data) == "JobData({'given': 1})"


# From outside


def test_a_percentage_given_from_outside_is_shown_whatever_the_count_says(store, outside, job_id):
    outside.update(current=10, total=10)
    assert get_job(job_id).document["percentage"] == 100.0
    outside.update(percentage=40)
    assert get_job(job_id).document["percentage"] == 40.0
    outside.fail()
    assert get_job(job_id).document["percentage"] == 40.0


def test_a_message_that_is_no_text_is_refused_from_outside_too(memory, outside):
    with pytest.raises(TypeError, match="give text, lazily translated text or a number"):
        outside.update(message=b"x")
    outside.update(message=5)
    assert outside.document["message"] == "5"


def test_an_unknown_job_is_not_found(store):
    with pytest.raises(JobNotFound, match="'nobody' is known; it may have expired, or its task is not @tracked"):
        get_job("nobody")


def test_a_job_from_outside_reads_what_the_store_knows(store, outside, job_id):
    assert (outside.state, outside.owner, outside.attempt, outside.job_class) == (State.RUNNING, "7", 1, "task")
    assert outside.params == {"path": "/a"}
    assert outside.data["given"] == 1
    with pytest.raises(KeyError):
        outside.data["missing"]


@pytest.mark.case(40)
def test_updates_from_outside_are_changes_of_their_own(store, outside, job_id):
    outside.update(current=2, total=10, message="Go")
    outside.update(advance=3)
    outside.update(current=1)
    wanted = {"current": 5, "total": 10, "message": "Go"}
    assert {key: outside.document[key] for key in wanted} == wanted
    outside.update(total=4)
    outside.update(percentage=12.5)
    fresh = get_job(job_id).document
    assert (fresh["current"], fresh["total"], fresh["percentage"]) == (0, 4, 12.5)


def test_meta_data_and_result_may_be_set_from_outside(store, outside, job_id):
    outside.set_meta(a=1)
    outside.set_meta(b=2)
    outside.set_result([1])
    outside.data["d"] = (1,)
    fresh = get_job(job_id)
    assert (fresh.document["a"], fresh.document["b"], fresh.document["result"]) == (1, 2, [1])
    assert dict(fresh.data) == {"given": 1, "d": [1]}


def test_what_is_unfit_from_outside_is_refused_at_the_call(memory, outside):
    with pytest.raises(ReservedMetaKey):
        outside.set_meta(state="x")
    with pytest.raises(InvalidValue):
        outside.update(current=float("nan"))
    with pytest.raises(InvalidValue):
        outside.set_result(object())
    outside.set_meta(a="x" * 20_000)
    with pytest.raises(DocumentTooLarge):
        outside.set_meta(b="x" * 5_000)
    with pytest.raises(DocumentTooLarge):
        outside.set_result("x" * 5_000)
    with pytest.raises(DocumentTooLarge):
        outside.update(message="x" * 5_000)
    assert len(outside.document["a"]) == 20_000


def test_in_production_what_is_unfit_from_outside_is_left_out(memory, outside, monkeypatch, caplog):
    monkeypatch.setattr(values, "is_strict", lambda: False)
    outside.update(current=float("nan"), message="Go")
    outside.set_result(object())
    outside.set_meta(state="x", a=1)
    assert (outside.document["current"], outside.document["message"], outside.document["a"]) == (0, "Go", 1)
    assert len(caplog.records) == 3


def test_a_job_that_is_made_to_fail_with_any_code_at_all_has_failed(memory, outside):
    outside.fail(object(), "A sentence.")
    outside.refresh()
    assert (outside.state, outside.record.error.code) == (State.FAILED, "error")


@pytest.mark.parametrize("made", [JobHandle, current_job, None])
def test_meta_is_given_by_keywords(memory, outside, made):
    job = outside if made is None else made()
    with pytest.raises(TypeError, match=r"set_meta\(a=1\)"):
        job.set_meta({"a": 1})


def test_meta_may_be_called_as_the_parameters_are(memory, outside):
    outside.set_meta(self=1, given=2)
    assert (outside.document["self"], outside.document["given"]) == (1, 2)


def test_a_falsy_result_from_outside_is_a_result(memory, outside):
    outside.set_result([1])
    outside.set_result(0)
    assert outside.document["result"] == 0


def test_an_update_of_an_unknown_job_makes_none(memory):
    job = JobHandle("nobody")
    job.update(current=1)
    job.set_meta(a=1)
    with pytest.raises(JobNotFound):
        _ = job.document


def test_what_was_read_stays_until_refreshed(memory, outside, run):
    tracking.publish(Cancelled(job_id=run.job_id, run_id="r"))
    assert outside.state is State.RUNNING
    outside.refresh()
    assert outside.state is State.CANCELLED


def test_cancelling_from_outside_is_seen_afterwards(store, job_id):
    tracking.publish(Enqueued(job_id=job_id, job_class="task", origin=Origin(send_id="s")))
    job = get_job(job_id)
    job.cancel()
    assert (job.state, job.cancel_requested) == (State.CANCELLED, True)


def test_a_store_that_is_down_says_so(memory):
    memory.failures = 1
    with pytest.raises(StoreUnavailable):
        get_job("j")


def test_from_outside_the_strategy_is_the_tasks(memory, outside):
    assert type(outside.strategy) is TrackingStrategy


@pytest.mark.urls(__name__)
def test_a_job_has_a_page_and_redirects_to_it(memory, outside, job_id):
    assert outside.page_url == f"/immortus/jobs/{job_id}/"
    assert redirect(outside).url == outside.page_url


def test_an_id_that_fits_no_path_has_its_page_by_query(settings):
    settings.ROOT_URLCONF = "tests.test_urls"
    assert JobHandle("a/b").get_absolute_url() == "/immortus/jobs/?job_id=a%2Fb"


@pytest.mark.urls("tests.api.test_job")
def test_outside_a_job_there_is_no_page():
    assert JobHandle().page_url is None


# Ending by hand


def test_a_job_is_completed_and_failed_from_anywhere(store, outside, job_id):
    outside.fail("bad_luck", "It was not to be.")
    assert (outside.state, outside.document["error"]) == (
        State.FAILED,
        {"code": "bad_luck", "message": "It was not to be."},
    )
    outside.complete()
    assert get_job(job_id).state is State.FAILED


def test_a_job_that_is_completed_by_its_own_run_says_everything_first(store, run, job_id):
    job = get_job(job_id)
    job.data["was_it_nice"] = "yes"
    job.set_meta(miles=26.2)
    job.complete()
    assert (job.state, job.document["miles"]) == (State.FINISHED, 26.2)
    tracking.end(run, Failed)
    assert get_job(job_id).state is State.FINISHED
    assert get_job(job_id).data["was_it_nice"] == "yes"


def test_failing_without_words_says_the_general_sentence(memory, outside):
    outside.fail()
    assert outside.document["error"] == {"code": "error", "message": "Something went wrong."}


def test_outside_any_job_ending_it_does_nothing(memory):
    current_job().complete()
    current_job().fail()


# Running without a queue: what ends it how stands in test_running.py


def test_the_job_in_the_block_is_the_current_one_and_the_same_class(store):
    class Import(JobHandle):
        pass

    made = JobRepository().create()
    with Import(made.job_id, record=made.record).running() as job:
        assert type(job) is Import
        assert current_job().job_id == job.job_id == made.job_id
        job.update(current=1, total=2)
    assert current_job().job_id == ""
    assert job.document["percentage"] == 100.0


def test_after_its_block_the_job_is_as_anybody_else_sees_it(memory):
    made = JobRepository().create()
    with made.running() as job:
        assert made.state is State.ENQUEUED
    assert made.state is job.state is State.FINISHED
    job.set_meta(late=1)
    assert "late" not in job.document


def test_what_others_add_to_the_jobs_data_is_seen_in_its_run(memory, run, job_id):
    JobRepository().create(id=job_id, classroom=5)
    assert JobRepository().find(job_id).data["classroom"] == 5
    assert current_job().data["classroom"] == 5
