"""A class of one's own for the jobs of a task: the same behaviour in both processes, and nobody else's jobs."""

from __future__ import annotations

import uuid

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.template import engines

from immortus_channels import queues, tracking
from immortus_channels.api.job_state import MAX_LISTED, JobState
from immortus_channels.api.repository import current_job
from immortus_channels.exceptions import JobNotFound
from immortus_channels.jobs.events import Cancelled, Enqueued, Failed, Finished, Origin, Report, Reported, Started
from immortus_channels.jobs.job import State
from immortus_channels.queues.tracked import TaskOptions
from immortus_channels.stores import get_store
from immortus_channels.writer.run import current_run
from tests.toys import ToyQueue


class RunMarathon(JobState):
    task = "races.tasks.run_marathon"

    @property
    def miles_left(self):
        return 26.2 - self.get_progress_metric("miles_run", 0)


class ByTask(JobState):
    class task:  # noqa: N801 - stands for a queue's task object
        toy_name = "races.tasks.run_marathon"


@pytest.fixture(autouse=True)
def _queue(monkeypatch):
    monkeypatch.setattr(queues, "connected", [ToyQueue(**{RunMarathon.task: TaskOptions(), "other": TaskOptions()})])


@pytest.fixture(autouse=True, params=["memory", pytest.param("database", marks=pytest.mark.django_db)])
def _store(request, settings):
    settings.IMMORTUS_STORE = {"BACKEND": request.param}
    if request.param == "memory":
        get_store()._records.clear()


def start(job_class=RunMarathon.task, owner="7", **origin):
    job_id = uuid.uuid4().hex
    origin = Origin(send_id=job_id, owner=owner, **origin)
    for kind, run_id in ((Enqueued, ""), (Started, "r")):
        tracking.publish(kind(job_id=job_id, job_class=job_class, run_id=run_id, origin=origin))
    return job_id


def end(job_id, kind):
    tracking.publish(kind(job_id=job_id, job_class=RunMarathon.task, run_id="r"))


@pytest.mark.parametrize("kind", [RunMarathon, ByTask])
def test_a_job_of_the_class_is_found_by_its_id(kind):
    job = kind.find(start(params={"runner": "Ada"}))
    assert type(job) is kind
    assert job.params == {"runner": "Ada"}


def test_a_job_of_another_class_is_not_found():
    with pytest.raises(JobNotFound):
        RunMarathon.find(start("other"))
    with pytest.raises(JobNotFound):
        RunMarathon.find("nobody")


def test_without_a_task_jobs_of_every_class_are_found():
    assert JobState.find(start("other")).job_class == "other"


def test_somebody_elses_job_is_not_found():
    job_id = start(owner="7")
    assert RunMarathon.find(job_id, user=User(pk=7))
    with pytest.raises(JobNotFound):
        RunMarathon.find(job_id, user=User(pk=8))
    with pytest.raises(JobNotFound):
        RunMarathon.find(job_id, user=None)
    assert RunMarathon.find(job_id).owner == "7"


@pytest.mark.case(36)
def test_metrics_keep_their_json_type_and_are_the_same_in_both_processes():
    job_id = start()
    values = {"miles_run": 0.2, "wet": True, "shoes": None, "name": "Ödön", "laps": [1, {"a": 2}]}
    run = tracking.make_run(job_id=job_id, job_class=RunMarathon.task, run_id="r", origin=None)
    token = current_run.set(run)
    tracking.begin(run)
    try:
        job = current_job(RunMarathon)
        for name, value in values.items():
            job.set_progress_metric(name, value)
        assert job.progress_metrics == values
        assert job.miles_left == 26.0
        end_report, _ = run.take()
    finally:
        current_run.reset(token)
    tracking.publish(Reported(job_id=job_id, run_id="r", report=end_report))
    outside = RunMarathon.find(job_id)
    assert outside.progress_metrics == values
    assert outside.get_progress_metric("wet") is True
    assert outside.miles_left == 26.0
    assert {name: outside.document[name] for name in values} == values


@pytest.mark.case(40)
def test_metrics_are_set_from_outside_too():
    job = RunMarathon.find(start())
    job.set_progress_metric("miles_run", 3)
    assert RunMarathon.find(job.job_id).get_progress_metric("miles_run") == 3


def test_a_metric_that_was_never_set_is_the_default():
    assert RunMarathon.find(start()).get_progress_metric("pace", 5) == 5
    assert RunMarathon().get_progress_metric("pace") is None


def test_a_later_attempt_sees_what_an_earlier_one_has_set():
    job_id = start()
    tracking.publish(Reported(job_id=job_id, run_id="r", report=Report(meta={"miles_run": 3})))
    run = tracking.make_run(job_id=job_id, job_class=RunMarathon.task, run_id="r2", origin=None)
    token = current_run.set(run)
    tracking.begin(run)
    try:
        assert current_job(RunMarathon).get_progress_metric("miles_run") == 3
    finally:
        current_run.reset(token)
        tracking.end(run, Finished)


@pytest.mark.parametrize(
    ("kind", "predicate"),
    [(None, "is_working"), (Finished, "is_success"), (Failed, "is_error"), (Cancelled, "is_error")],
)
def test_exactly_one_of_three_holds(kind, predicate):
    job_id = start()
    if kind is not None:
        end(job_id, kind)
    job = RunMarathon.find(job_id)
    assert [name for name in ("is_working", "is_success", "is_error") if getattr(job, name)] == [predicate]


def test_the_jobs_of_a_class_are_listed_newest_first_and_no_others():
    first, _, last = start(), start("other"), start()
    assert [job.job_id for job in RunMarathon.all()] == [last, first]
    assert {type(job) for job in RunMarathon.all()} == {RunMarathon}


@pytest.mark.parametrize("nobody", [None, AnonymousUser(), User(username="unsaved")])
def test_nobody_has_no_jobs_whoever_owns_those_that_there_are(nobody):
    start(owner="7")
    start(owner=None)
    assert RunMarathon.filter(owner=nobody) == []


def test_a_listing_is_filtered_and_goes_page_by_page():
    mine, theirs, done = start(owner="7"), start(owner="8"), start(owner="7")
    end(done, Finished)
    assert [job.job_id for job in RunMarathon.filter(owner=User(pk=8))] == [theirs]
    assert [job.job_id for job in RunMarathon.filter(owner=7, states=["running"])] == [mine]
    assert [job.job_id for job in RunMarathon.filter(states=[State.FINISHED])] == [done]
    assert len(RunMarathon.filter()) == 3
    (newest,) = RunMarathon.all(limit=1)
    assert newest.job_id == done
    assert [job.job_id for job in RunMarathon.all(before=newest.document["version"])] == [theirs, mine]


def test_a_listing_is_bounded_whatever_is_asked(monkeypatch):
    asked = []
    monkeypatch.setattr(
        type(get_store()), "list", lambda self, wanted, *, limit, before=None: asked.append(limit) or []
    )
    RunMarathon.all(limit=1_000_000)
    assert set(asked) == {MAX_LISTED}


def test_listing_jobs_finds_a_silent_one_out_and_writes_that_only_once():
    silent, running = start(), start()
    get_store().renew({silent: "r"}, -1)
    assert {job.job_id: job.document["stalled"] for job in RunMarathon.all()} == {silent: True, running: False}
    versions = {job.job_id: job.record.version for job in RunMarathon.all()}
    assert {job.job_id: job.record.version for job in RunMarathon.filter(states=["running"])} == versions


def test_a_job_is_listed_by_the_state_that_it_is_found_to_be_in():
    job_id = start()
    for _ in ("stalled", "lost"):
        get_store().renew({job_id: "r"}, -1)
        found = RunMarathon.filter(owner=7, states=["lost"])
    assert [(job.job_id, job.state) for job in found] == [(job_id, State.LOST)]
    assert not RunMarathon.filter(states=["running"])


def test_nobody_elses_silence_is_looked_for():
    other = start("other")
    get_store().renew({other: "r"}, -1)
    RunMarathon.all()
    assert not get_store().get_many([other]).jobs[other].stalled


MINE = """{% for job in jobs %}{{ job.job_id }}: {{ job.state }}, {% with job.document as it %}\
{% if it.percentage is None %}no progress info{% else %}{{ it.percentage }} %{% endif %}, \
from {{ it.started_at|default_if_none:"-" }} to {{ it.finished_at|default_if_none:"-" }}, \
attempt {{ it.attempt }}{% if it.result %}, <a href="{{ it.result.url }}">result</a>{% endif %}
{% endwith %}{% endfor %}"""


@pytest.mark.case(50)
def test_a_page_of_a_user_s_jobs_shows_where_each_stands_on_every_load():
    waits, runs, done = start(), start(), start()
    start(owner="8")
    tracking.publish(Reported(job_id=runs, run_id="r", report=Report(step=1, current=3, total=10)))
    tracking.publish(Reported(job_id=done, run_id="r", report=Report(result={"url": "/races/1"})))
    end(done, Finished)

    def page():
        jobs = sorted(RunMarathon.filter(owner=7), key=lambda job: [waits, runs, done].index(job.job_id))
        return engines["django"].from_string(MINE).render({"jobs": jobs}).splitlines()

    times = {
        job.job_id: (job.document["started_at"], job.document["finished_at"]) for job in RunMarathon.filter(owner=7)
    }
    link = '<a href="/races/1">result</a>'
    expected = [
        f"{waits}: running, no progress info, from {times[waits][0]} to -, attempt 1",
        f"{runs}: running, 30.0 %, from {times[runs][0]} to -, attempt 1",
        f"{done}: finished, 100.0 %, from {times[done][0]} to {times[done][1]}, attempt 1, {link}",
    ]
    assert page() == expected
    assert page() == expected


@pytest.mark.parametrize("states", [["queued"], "queued"])
def test_a_word_that_is_no_state_is_said_with_those_that_are(states):
    with pytest.raises(ValueError, match=r"'queued' is not a state; .* enqueued, running, retrying, .*, lost"):
        RunMarathon.filter(states=states)


def test_a_single_state_stands_for_itself():
    job_id = start()
    assert [job.job_id for job in RunMarathon.filter(states="running")] == [job_id]


@pytest.mark.parametrize(("name", "value"), [("limit", -1), ("limit", "3"), ("limit", 2.5), ("before", "3")])
def test_what_bounds_a_listing_is_a_whole_number(name, value):
    with pytest.raises(ValueError, match=rf"{name}={value!r}: give a whole number, 0 or more"):
        RunMarathon.filter(**{name: value})


def test_a_listing_of_none_is_empty():
    start()
    assert RunMarathon.all(limit=0) == []
