"""What Celery's result backend still knows of a job that is on nobody's record here."""

from __future__ import annotations

import uuid
from types import SimpleNamespace

import pytest
from celery import Celery

from immortus_channels import fetching, queues
from immortus_channels.jobs import State
from immortus_channels.queues.celery import CeleryQueue, adapter
from immortus_channels.stores import get_store
from immortus_channels.strategies import TrackingStrategy


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
        ("REVOKED", State.CANCELLED),
        ("STARTED", State.RUNNING),
        ("RETRY", State.RETRYING),
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


@pytest.mark.case(15)
@pytest.mark.parametrize("word", ["PENDING", "PROGRESS"])
def test_a_word_that_unknown_jobs_have_too_or_that_is_the_projects_own_tells_nothing(results, word):
    assert CeleryQueue().fetch(store(results("cache+memory://"), word)) is None


def test_a_job_that_the_backend_has_never_heard_of_is_unknown(results):
    results("cache+memory://")
    assert CeleryQueue().fetch("nobody") is None


def test_without_a_backend_nothing_is_known(results):
    results("disabled://")
    assert CeleryQueue().fetch("nobody") is None


def test_a_backend_that_breaks_is_logged_and_knows_nothing(results, settings, monkeypatch, caplog):
    monkeypatch.setattr(queues, "connected", [CeleryQueue()])
    backend = results("cache+memory://")
    monkeypatch.setattr(type(backend), "get_task_meta", lambda *_, **__: 1 / 0)
    settings.IMMORTUS_TRACKING_STRATEGY = Open
    assert fetching.fetch(None, "j", "") is None
    assert [record.job_id for record in caplog.records] == ["j"]


def test_what_it_tells_is_shown_and_not_written_down(results, settings, monkeypatch):
    monkeypatch.setattr(queues, "connected", [CeleryQueue()])
    settings.IMMORTUS_STORE, settings.IMMORTUS_TRACKING_STRATEGY = {"BACKEND": "memory"}, Open
    job_id = store(results("cache+memory://"), "SUCCESS")
    assert fetching.fetch(None, job_id, "").state is State.FINISHED
    assert get_store().get_many([job_id]).jobs == {}
