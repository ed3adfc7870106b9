"""What Celery's result backend still knows of a job that is on nobody's record here."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from celery import Celery
from celery.exceptions import TimeLimitExceeded, WorkerLostError
from django.contrib.auth.models import User

from immortus_channels import JobFailed, queues
from immortus_channels.api.strategy import TrackingStrategy
from immortus_channels.http import unrecorded
from immortus_channels.jobs.events import Failed, Finished
from immortus_channels.jobs.job import State
from immortus_channels.queues.celery import CeleryQueue, adapter
from immortus_channels.queues.tracked import TaskOptions
from immortus_channels.stores import get_store


class Open(TrackingStrategy):
    def allows(self, user, job):
        return True


@pytest.fixture
def results(monkeypatch):
    """Put Celery's results into a backend; a function that writes one."""

    def use(url):
        app = Celery("tests", backend=url, set_as_current=False)
        monkeypatch.setattr(adapter, "current_app", app)
        return app.backend

    return use


def store(backend, state, result=None):
    job_id = uuid.uuid4().hex
    backend.store_result(job_id, result, state)
    return job_id


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("SUCCESS", State.FINISHED),
        ("FAILURE", State.FAILED),
        ("REVOKED", State.ENQUEUED),
        ("REJECTED", State.ENQUEUED),
        ("RECEIVED", State.ENQUEUED),
        ("STARTED", State.RUNNING),
        ("RETRY", State.RETRYING),
        ("IGNORED", State.FINISHED),
        ("PROGRESS", State.RUNNING),
        ("Painting the 3rd tile", State.RUNNING),
    ],
)
def test_a_result_tells_the_state_and_nothing_that_may_be_secret(results, word, state):
    secret = RuntimeError("a secret") if word in ("FAILURE", "REVOKED", "RETRY") else "a secret"
    job_id = store(results("cache+memory://"), word, secret)
    job = CeleryQueue().fetch(job_id)
    assert (job.job_id, job.state, job.result) == (job_id, state, None)
    assert "a secret" not in job.text


def test_a_backend_that_knows_the_task_names_it(results):
    backend = results("cache+memory://")
    backend.app.conf.result_extended = True
    job_id = uuid.uuid4().hex
    request = SimpleNamespace(task="shop.paint", args=(), kwargs={}, hostname="w", retries=0, delivery_info={})
    backend.store_result(job_id, None, "SUCCESS", request=request)
    assert CeleryQueue().fetch(job_id).job_class == "shop.paint"


def test_a_task_that_was_revoked_may_yet_be_run_so_that_is_no_end(results):
    job = CeleryQueue().fetch(store(results("cache+memory://"), "REVOKED", RuntimeError()))
    assert (job.is_over, job.cancel_requested) == (False, True)


@pytest.mark.case(15)
def test_the_word_that_unknown_jobs_have_too_tells_nothing(results):
    assert CeleryQueue().fetch(store(results("cache+memory://"), "PENDING")) is None


def test_a_job_that_the_backend_has_never_heard_of_is_unknown(results):
    results("cache+memory://")
    assert CeleryQueue().fetch("nobody") is None


@pytest.mark.parametrize("url", ["disabled://", None, "rpc://"])
def test_without_a_backend_that_others_can_read_nothing_is_known(results, url):
    """A lookup in `rpc://` would declare a queue of its own, and find nothing in it."""
    results(url)
    queue = CeleryQueue()
    assert (queue.keeps_records(), queue.fetch("nobody"), queue.end_of("nobody", "", since=0)) == (False, None, None)


def test_nothing_is_known_of_tasks_that_run_where_they_are_sent(results, recwarn):
    backend = results("cache+memory://")
    backend.app.conf.task_always_eager = True
    assert CeleryQueue().fetch("nobody") is None
    assert not recwarn.list
    backend.app.conf.task_store_eager_result = True
    assert CeleryQueue().fetch(store(backend, "SUCCESS")).state is State.FINISHED


# How a run ended


def now():
    return time.time_ns() // 1000


@pytest.mark.parametrize(
    ("word", "result", "kind", "fields"),
    [
        ("SUCCESS", "a secret", Finished, {"report": None}),
        ("FAILURE", RuntimeError("a secret"), Failed, {"code": "error", "message": ""}),
        ("FAILURE", TimeLimitExceeded(5), Failed, {"code": "time_limit"}),
        ("FAILURE", WorkerLostError("x"), Failed, {"code": "worker_lost"}),
        ("FAILURE", JobFailed("too_big", "Too big."), Failed, {"code": "too_big", "message": "Too big."}),
    ],
)
def test_a_success_or_failure_is_how_the_run_ended_that_began_before_it(results, word, result, kind, fields):
    backend, began = results("cache+memory://"), now()
    job_id = store(backend, word, result)
    end = CeleryQueue().end_of(job_id, "paint", since=began)
    assert (type(end), end.job_id, end.job_class, end.run_id) == (kind, job_id, "paint", "")
    assert {name: getattr(end, name) for name in fields} == fields
    assert "a secret" not in repr(end)


@pytest.mark.parametrize("word", ["SUCCESS", "FAILURE"])
def test_the_end_of_an_earlier_run_is_none_of_this_one(results, word):
    job_id = store(results("cache+memory://"), word, RuntimeError() if word == "FAILURE" else None)
    assert CeleryQueue().end_of(job_id, "paint", since=now() + 1) is None


@pytest.mark.parametrize("word", ["REVOKED", "RETRY", "STARTED", "PENDING", "PROGRESS", "REJECTED", "IGNORED"])
def test_no_other_word_is_how_a_run_ended(results, word):
    secret = RuntimeError() if word in ("REVOKED", "RETRY") else None
    assert CeleryQueue().end_of(store(results("cache+memory://"), word, secret), "paint", since=0) is None


def test_a_record_that_does_not_say_when_it_was_made_does_not_count(results, monkeypatch):
    backend = results("cache+memory://")
    for when in (None, 5):
        told = {"status": "SUCCESS", "result": None, "date_done": when}
        monkeypatch.setattr(type(backend), "get_task_meta", lambda *_, told=told, **__: told)
        assert CeleryQueue().end_of("j", "paint", since=0) is None


@pytest.mark.parametrize(
    "when",
    [
        "2026-11-30T12:00:00",
        "2026-11-30T13:00:00+01:00",
        "2026-11-30T12:00:00Z",
        datetime(2026, 11, 30, 12, tzinfo=UTC),
        datetime(2026, 11, 30, 12, tzinfo=UTC).replace(tzinfo=None),
    ],
)
def test_times_are_in_utc_where_the_backend_does_not_say(results, monkeypatch, when):
    backend, noon = results("cache+memory://"), int(datetime(2026, 11, 30, 12, tzinfo=UTC).timestamp() * 1_000_000)
    told = {"status": "SUCCESS", "result": None, "date_done": when}
    monkeypatch.setattr(type(backend), "get_task_meta", lambda *_, **__: told)
    assert CeleryQueue().end_of("j", "paint", since=noon) is not None
    assert CeleryQueue().end_of("j", "paint", since=noon + 1) is None


def test_a_record_is_read_anew_each_time(results):
    backend, began = results("cache+memory://"), now()
    job_id = store(backend, "SUCCESS")
    assert backend.get_task_meta(job_id)["status"] == "SUCCESS"
    backend.forget(job_id)
    assert CeleryQueue().end_of(job_id, "paint", since=began) is None


@pytest.mark.parametrize(("publishes", "result"), [(True, {"pages": 3}), (False, None)])
def test_the_result_is_published_where_the_task_says_so(results, monkeypatch, publishes, result):
    monkeypatch.setattr(CeleryQueue, "options_of", lambda *_: TaskOptions(publish_result=publishes))
    backend, began = results("cache+memory://"), now()
    report = CeleryQueue().end_of(store(backend, "SUCCESS", {"pages": 3}), "paint", since=began).report
    assert (report and report.result) == result


# A backend that does not answer


def test_a_backend_that_breaks_is_logged_and_knows_nothing(results, settings, monkeypatch, caplog):
    monkeypatch.setattr(queues, "connected", [CeleryQueue()])
    backend = results("cache+memory://")
    monkeypatch.setattr(type(backend), "get_task_meta", lambda *_, **__: 1 / 0)
    settings.IMMORTUS_TRACKING_STRATEGY = Open
    assert unrecorded.fetch(None, "j", "") is None
    assert [record.job_id for record in caplog.records] == ["j"]


def test_what_it_tells_is_shown_and_not_written_down(results, settings, monkeypatch):
    monkeypatch.setattr(queues, "connected", [CeleryQueue()])
    settings.IMMORTUS_STORE, settings.IMMORTUS_TRACKING_STRATEGY = {"BACKEND": "memory"}, Open
    job_id = store(results("cache+memory://"), "SUCCESS")
    staff = User(pk=1, username="boss", is_staff=True, is_superuser=True)
    assert unrecorded.fetch(staff, job_id, "").state is State.FINISHED
    assert get_store().get_many([job_id]).jobs == {}
