"""Which namespace is in force, with a function of the project's own."""

from __future__ import annotations

import uuid

import pytest
from django.http import HttpResponse
from django.test import Client, RequestFactory, override_settings
from django.utils.functional import SimpleLazyObject

from immortus_channels import (
    JobNotFound,
    JobRepository,
    JobState,
    TrackingStrategy,
    access_token,
    current_job,
    get_job,
    started_by,
)
from immortus_channels.access import quotas
from immortus_channels.exceptions import ConfigurationError
from immortus_channels.jobs import namespaces
from immortus_channels.jobs.events import Origin
from immortus_channels.jobs.job import Job
from immortus_channels.jobs.owner import current_owner
from immortus_channels.middleware import JobOwnerMiddleware
from immortus_channels.queues.celery import CeleryQueue, result_backend
from immortus_channels.queues.celery.adapter import current_app
from immortus_channels.queues.messages import owner_header, to_header
from immortus_channels.tracking import strategies
from immortus_channels.urls import immortus_jobs

pytestmark = pytest.mark.urls(__name__)
urlpatterns = immortus_jobs()

BY_NAME, BY_TIME = uuid.uuid5(uuid.NAMESPACE_URL, "import-17"), uuid.uuid1()
"""Ids that two tenants may make alike."""
entered = ""
"""What the project's own code has entered, in a worker or a shell."""


def by_header(source):
    if source is None:
        return entered
    return source.headers.get("X-Tenant", "") if hasattr(source, "headers") else dict(source["headers"])[b"x-tenant"]


def of_requests_alone(source):
    return source.headers["X-Tenant"]


@pytest.fixture
def tenants(settings):
    settings.IMMORTUS_NAMESPACE = f"{__name__}.by_header"


@pytest.fixture
def enter(monkeypatch):
    return lambda namespace: monkeypatch.setattr(f"{__name__}.entered", namespace)


@pytest.fixture
def as_a(tenants):
    with namespaces.running_in("a"):
        yield


def test_without_the_setting_there_are_none():
    assert not namespaces.are_used()
    assert namespaces.scope() is None
    assert namespaces.here("17") == "17"
    with namespaces.inside("a"):
        assert namespaces.current() == ""


def test_without_a_namespace_no_header_and_no_record_names_one():
    origin, job = Origin(send_id="s", owner="1"), Job(job_id="17", owner="1")
    assert to_header(origin) == {"send_id": "s", "owner": "1", "staff_only": False, "cancel": "ask"}
    assert owner_header(origin) == {"owner": "1", "staff_only": False}
    assert job.to_record() == '{"job_id":"17","owner":"1"}'
    assert job.shown is job


@pytest.mark.usefixtures("tenants")
def test_a_request_is_in_the_namespace_that_the_function_names():
    request, told = RequestFactory().get("/", headers={"X-Tenant": "a"}), []
    JobOwnerMiddleware(lambda _: told.append(namespaces.here("17")) or HttpResponse())(request)
    assert told == ["a\x1f17"]
    assert namespaces.current() == ""


@pytest.mark.parametrize("answer", [None, 17, "x" * 64, "a\x1fb", "a\0"])
def test_what_cannot_be_a_namespace_is_refused(settings, answer):
    settings.IMMORTUS_NAMESPACE = lambda _: answer
    with pytest.raises(ConfigurationError, match="not a namespace"):
        namespaces.current()


@pytest.mark.usefixtures("as_a")
def test_a_runs_namespace_holds_until_its_code_enters_another(enter):
    assert namespaces.current() == "a"
    enter("b")
    assert namespaces.current() == "b"
    enter("")
    assert namespaces.current() == "a"


def test_a_function_of_requests_alone_keeps_no_run_from_its_namespace(settings):
    settings.IMMORTUS_NAMESPACE = of_requests_alone
    with namespaces.running_in("a"):
        assert namespaces.current() == "a"


@pytest.mark.django_db
@pytest.mark.usefixtures("tenants")
def test_each_namespace_creates_and_finds_its_own_job_of_an_id():
    for name in ("a", "b"):
        with namespaces.running_in(name):
            JobRepository().create("17", kept=name)
    for name in ("a", "b"):
        with namespaces.running_in(name):
            job = JobRepository().find("17")
            assert (job.id, job.data["kept"]) == ("17", name)
            assert [each.id for each in JobState.all()] == ["17"]
    with pytest.raises(JobNotFound, match="'17'"):
        get_job("17")
    assert JobState.all() == []


@pytest.mark.django_db
@pytest.mark.usefixtures("as_a")
def test_a_job_that_runs_without_a_queue_starts_others_in_its_namespace():
    JobRepository().create("17")
    job = get_job("17")
    namespaces.leave(namespaces.enter(""))
    with job.running() as running:
        assert (running.id, current_job().id, get_job("17").id) == ("17", "17", "17")
        JobRepository().create("18")
    assert get_job("18").state == "enqueued"
    assert get_job("17").state == "finished"


@pytest.mark.django_db
@pytest.mark.usefixtures("tenants")
def test_a_user_owns_nothing_by_the_key_of_another_namespace(django_user_model):
    ann = django_user_model.objects.create(username="ann")
    with namespaces.running_in("a"), started_by(ann):
        JobRepository().create("17")
        assert get_job("17", user=ann).owner == str(ann.pk)
        with namespaces.running_in("b"):
            JobRepository().create("17")
    with namespaces.running_in("b"):
        assert get_job("17").owner == ""
        with pytest.raises(JobNotFound):
            get_job("17", user=ann)
        assert JobState.filter(owner=ann) == []
    with namespaces.running_in("a"):
        assert [job.id for job in JobState.filter(owner=ann)] == ["17"]


def test_the_owner_of_a_request_is_of_its_own_namespace(settings, django_user_model):
    settings.IMMORTUS_NAMESPACE = f"{__name__}.by_header"
    request, told = RequestFactory().get("/", headers={"X-Tenant": "a"}), []
    request.user = django_user_model(pk=17)

    def view(_):
        with namespaces.running_in("b"):
            told.append((namespaces.current(), current_owner()))
        return HttpResponse()

    JobOwnerMiddleware(view)(request)
    assert told == [("b", "a\x1f17")]


@pytest.mark.usefixtures("tenants")
def test_a_user_whom_the_view_has_not_touched_is_read_in_its_own_namespace(django_user_model):
    request, told = RequestFactory().get("/", headers={"X-Tenant": "a"}), []
    request.user = SimpleLazyObject(lambda: told.append(namespaces.current()) or django_user_model(pk=17))

    def view(_):
        with namespaces.running_in("b"):
            told.append(current_owner())
        return HttpResponse()

    JobOwnerMiddleware(view)(request)
    assert told == ["a", "a\x1f17"]


class Asked(TrackingStrategy):
    """Takes down what it is asked about."""

    said: list = []  # noqa: RUF012

    def job_finished(self, job_id):
        self.said.append(("finished", job_id, namespaces.current()))

    def meta(self, job_id):
        return {"told": [job_id, self.job(job_id).id]}

    def allows(self, user, job):
        self.said.append((job.job_id, job.owner, namespaces.current()))
        return True


@pytest.mark.django_db
@pytest.mark.usefixtures("tenants")
def test_a_strategy_is_asked_by_the_id_that_its_namespace_knows(monkeypatch):
    monkeypatch.setattr(strategies, "strategy_of", lambda *_: Asked())
    Asked.said.clear()
    with namespaces.running_in("a"):
        job = JobRepository().create("17")
    job.complete()
    assert Asked.said == [("finished", "17", "a")]
    assert job.document["told"] == ["17", "17"]
    Asked.said.clear()
    answer = Client(headers={"X-Tenant": "a"}).get("/immortus/verify/17")
    assert answer.json()["state"] == "finished"
    assert Asked.said == [("17", None, "a")]


@pytest.mark.django_db
@pytest.mark.usefixtures("tenants")
def test_a_token_names_jobs_and_user_of_one_namespace(django_user_model):
    ann = django_user_model.objects.create(username="ann")
    for name in ("a", "b"):
        with namespaces.running_in(name), started_by(ann):
            JobRepository().create("17")
    with namespaces.running_in("a"):
        headers = {"Authorization": f"Bearer {access_token('17', ann)}"}
    clients = [Client(headers={**headers, "X-Tenant": name}) for name in ("a", "b", "")]
    assert [client.get("/immortus/verify/17").status_code for client in clients] == [200, 404, 404]
    assert [client.post("/immortus/token").status_code for client in clients] == [200, 404, 404]


def test_accounts_of_two_namespaces_are_two(django_user_model):
    ann = django_user_model(pk=17)
    names = {quotas.key_of(ann, None, lambda: None, namespace) for namespace in ("", "a", "b")}
    assert len(names) == 3
    assert "user 17" in names


def test_a_queue_drops_only_what_no_other_namespace_can_mean(settings, monkeypatch):
    revoked, unique = [], str(uuid.uuid4())
    monkeypatch.setattr(current_app.control, "revoke", lambda task_id, **_: revoked.append(task_id))
    queue = CeleryQueue()
    queue.cancel(Job(job_id="17"), terminate=False)
    with override_settings(IMMORTUS_NAMESPACE=by_header):
        for job_id in ("17", "a\x1f17", f"a\x1f{unique}", f"a\x1f{BY_NAME}", f"a\x1f{BY_TIME}"):
            queue.cancel(Job(job_id=job_id), terminate=False)
    assert revoked == ["17", unique]


def test_a_queue_tells_no_end_of_what_another_namespace_may_mean(settings, monkeypatch):
    asked, unique = [], str(uuid.uuid4())
    monkeypatch.setattr(CeleryQueue, "keeps_records", lambda _: True)
    monkeypatch.setattr(result_backend, "end_of", lambda _, task_id, *args, **options: asked.append(task_id))
    settings.IMMORTUS_NAMESPACE = by_header
    for job_id in ("17", BY_NAME, BY_TIME, unique):
        CeleryQueue().end_of(f"a\x1f{job_id}", "shop.paint", since=0)
    assert asked == [unique]
