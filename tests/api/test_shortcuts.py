"""What starts a job answers with everything the browser needs, without any I/O, or says what is wrong."""

from __future__ import annotations

import json
import re
import sys
import uuid
from types import SimpleNamespace

import pytest
from celery import chain, chord, group, shared_task
from celery.result import AsyncResult
from django.template import engines
from django.test import RequestFactory
from django.urls import clear_url_caches, include, path, set_script_prefix
from django.utils.translation import gettext_lazy

from immortus_channels import queues, tracked
from immortus_channels.api.job import JobHandle
from immortus_channels.api.shortcuts import job_info, job_page_url, render_immortus
from immortus_channels.exceptions import ConfigurationError
from immortus_channels.jobs.job import Job
from immortus_channels.queues import classes
from immortus_channels.queues.celery import CeleryQueue
from immortus_channels.urls import immortus_jobs
from tests.toys import ToyQueue

urlpatterns = [*immortus_jobs()]
pytestmark = pytest.mark.urls(__name__)
request = RequestFactory().post("/start")


@shared_task(name="gallery.paint")
@tracked
def paint(*_):
    return None


@shared_task(name="shop.secret")
def untracked():
    return None


@pytest.fixture(autouse=True)
def _celery(monkeypatch):
    monkeypatch.setattr(queues, "connected", [CeleryQueue()])
    classes.remember("sent-1", "gallery.paint")
    classes.remember("sent-2", "shop.secret")


def test_a_result_becomes_202_with_the_place_to_look():
    response = render_immortus(request, paint.AsyncResult("sent-1"))
    assert response.status_code == 202
    assert response.headers["Location"] == "/immortus/verify/sent-1"
    assert response.headers["Cache-Control"] == "private, no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert json.loads(response.content) == {
        "job_id": "sent-1",
        "job_class": "gallery.paint",
        "label": "Paint",
        "verify_url": "/immortus/verify/sent-1",
        "page_url": "/immortus/jobs/sent-1/",
        "websocket_url": "/ws/immortus/sent-1/",
    }


@pytest.mark.parametrize(
    "job",
    [
        "a-1",
        AsyncResult("a-1"),
        SimpleNamespace(job_id="a-1"),
        Job(job_id="a-1"),
    ],
)
def test_anything_that_knows_its_job_id_is_a_job(job):
    assert job_info(request, job)["job_id"] == "a-1"
    assert job_info(request, job)["job_class"] is None


NUMBER = uuid.UUID(int=7)


@pytest.mark.parametrize(
    ("job", "job_id"),
    [
        (42, "42"),
        (0, "0"),
        (NUMBER, str(NUMBER)),
        (AsyncResult(NUMBER), str(NUMBER)),
        (AsyncResult(42), "42"),
        (JobHandle(NUMBER, record=Job(job_id=str(NUMBER))), str(NUMBER)),
        (SimpleNamespace(job_id=NUMBER), str(NUMBER)),
        (SimpleNamespace(job_id=0), "0"),
    ],
)
def test_a_uuid_and_a_whole_number_are_told_as_text(job, job_id):
    info = job_info(request, job)
    assert (info["job_id"], info["verify_url"]) == (job_id, f"/immortus/verify/{job_id}")
    assert job_page_url(job) == f"/immortus/jobs/{job_id}/"


def test_the_class_of_what_was_sent_under_a_uuid_is_known():
    classes.remember(str(NUMBER), "gallery.paint")
    assert job_info(request, AsyncResult(NUMBER))["job_class"] == "gallery.paint"


@pytest.mark.parametrize(
    "job", [Job(job_id="a-1", job_class="other.task"), SimpleNamespace(job_id="a", job_class="gallery.paint")]
)
def test_a_job_says_its_own_class(job):
    assert job_info(request, job)["job_class"] == job.job_class


@pytest.mark.parametrize(
    "canvas", [chain(paint.si(), paint.si()), chord([paint.si(), paint.si()], paint.si())], ids=["chain", "chord"]
)
def test_of_a_chain_and_of_a_chord_the_last_one_is_followed(canvas):
    result = canvas.freeze()
    assert job_info(request, result)["job_id"] == result.id


def test_a_group_is_no_one_job():
    with pytest.raises(ConfigurationError, match="chord"):
        render_immortus(request, group([paint.si()]).freeze())


def test_a_task_that_is_not_tracked_is_said_with_the_cure():
    with pytest.raises(ConfigurationError, match=r"'shop\.secret' is not tracked.*@tracked"):
        render_immortus(request, untracked.AsyncResult("sent-2"))


def test_a_task_known_here_only_by_name_may_be_tracked_where_it_runs():
    classes.remember("sent-3", "workers.paint")
    assert job_info(request, AsyncResult("sent-3"))["job_class"] == "workers.paint"


@pytest.mark.parametrize("job", ["sent-1", SimpleNamespace(job_id="sent-1")])
def test_of_a_bare_id_nothing_is_told_where_it_was_sent_either(job):
    assert job_info(request, job)["job_class"] is None


@pytest.mark.case(7)
def test_no_job_is_500():
    response = render_immortus(request, None)
    assert response.status_code == 500
    assert json.loads(response.content)["error"]["code"] == "not_started"


def test_no_job_is_logged_with_the_cure_of_a_task_that_tells_no_id(caplog):
    render_immortus(request, None)
    (line,) = caplog.records
    assert line.levelname == "WARNING"
    assert "base=TrackedTask" in line.getMessage()


@pytest.mark.parametrize(
    "job",
    [object(), "", "x" * 256, "a\0", True, 1.5, b"a", 10**255, SimpleNamespace(id="an order's"), SimpleNamespace(id=7)],
)
def test_what_is_no_job_is_said(job):
    with pytest.raises(TypeError, match="is not a job"):
        job_info(request, job)


@pytest.mark.parametrize("call", [lambda job: job_info(request, job), job_page_url], ids=["job_info", "job_page_url"])
@pytest.mark.parametrize(
    ("given", "cure"),
    [
        (None, "None is not a job: .* base=TrackedTask"),
        ([Job(job_id="a"), Job(job_id="b")], "one by one"),
        (("a", "b"), "one by one"),
        ("", "a variable that its view has not given"),
    ],
    ids=["None", "list", "tuple", "empty"],
)
def test_a_mistake_that_is_often_made_is_said_with_the_cure(call, given, cure):
    with pytest.raises(TypeError, match=cure):
        call(given)


def test_an_id_that_fits_no_path_goes_by_query():
    info = job_info(request, "a/b é")
    assert info["verify_url"] == "/immortus/verify?job_id=a%2Fb+%C3%A9"
    assert info["websocket_url"] == "/ws/immortus/"


def test_without_websockets_there_is_no_address(settings):
    settings.IMMORTUS_WEBSOCKET = False
    assert job_info(request, "a")["websocket_url"] is None


def test_addresses_stand_below_the_script_name():
    set_script_prefix("/app/")
    try:
        info = job_info(request, "a")
    finally:
        set_script_prefix("/")
    assert (info["verify_url"], info["websocket_url"]) == ("/app/immortus/verify/a", "/app/ws/immortus/a/")


async def test_an_async_view_may_call_it():
    assert render_immortus(request, paint.AsyncResult("sent-1")).status_code == 202


@pytest.mark.parametrize("job", ["a-1", AsyncResult("a-1"), Job(job_id="a-1")])
def test_whatever_is_a_job_has_a_page(job):
    assert job_page_url(job) == "/immortus/jobs/a-1/"


class CountingQueue(ToyQueue):
    """Returns a number for what it is sent, and has results that know their job."""

    def __init__(self):
        super().__init__("counting")

    def id_of(self, number):
        return f"counting-{number}"

    def job_of(self, given):
        return ("counting-7", "paint") if given is self else None


@pytest.fixture
def counting(monkeypatch):
    """Two queues, one of which returns numbers."""
    queue = CountingQueue()
    monkeypatch.setattr(queues, "connected", [CeleryQueue(), queue])
    return queue


def told(job, queue):
    """The id that each way to show a job tells."""
    template = engines["django"].from_string("{% load immortus %}{% immortus_job job queue=queue %}")
    return {
        json.loads(render_immortus(request, job, queue=queue).content)["job_id"],
        job_info(request, job, queue=queue)["job_id"],
        job_page_url(job, queue=queue).split("/")[3],
        re.search(r'job-id="([^"]*)"', template.render({"job": job, "queue": queue}))[1],
    }


@pytest.mark.parametrize(
    ("job", "queue", "job_id"),
    [
        (42, "counting", "counting-42"),
        ("42", "counting", "counting-42"),
        (0, "counting", "counting-0"),
        ("counting-42", "counting", "counting-42"),
        ("042", "counting", "042"),
        (-4, "counting", "-4"),
        (Job(job_id="7"), "counting", "7"),
        (42, "celery", "42"),
        (42, None, "42"),
    ],
)
def test_a_queue_s_number_becomes_the_id_by_the_queue_s_name(counting, job, queue, job_id):
    assert told(job, queue) == {job_id}


def test_what_knows_its_job_needs_no_name_of_a_queue(counting):
    assert told(counting, "counting") == told(counting, None) == {"counting-7"}


@pytest.mark.parametrize("queue", ["conting", ""])
@pytest.mark.parametrize("call", [render_immortus, job_info], ids=["render_immortus", "job_info"])
def test_the_name_of_a_queue_not_in_use_is_said_with_those_in_use(counting, call, queue):
    with pytest.raises(ConfigurationError, match=rf"queue='{queue}' is not .*: 'celery', 'counting'\."):
        call(request, 42, queue=queue)


def test_without_any_queue_in_use_that_is_said(monkeypatch):
    monkeypatch.setattr(queues, "connected", [])
    with pytest.raises(ConfigurationError, match="these are: none"):
        job_page_url(42, queue="celery")


def test_a_result_of_another_queue_than_the_named_one_is_refused(counting):
    with pytest.raises(TypeError, match="is not a job of counting"):
        job_info(request, paint.AsyncResult("sent-1"), queue="counting")


CALLS = [lambda: render_immortus(request, "a"), lambda: job_info(request, "a/b"), lambda: job_page_url("a")]


@pytest.mark.urls("tests.nowhere")
@pytest.mark.parametrize("call", CALLS, ids=["render_immortus", "job_info", "job_page_url"])
@pytest.mark.parametrize("patterns", [[], [path("shop/", include((immortus_jobs(), "shop")))]], ids=["none", "below"])
def test_where_the_urls_are_not_mounted_the_cure_is_said(monkeypatch, call, patterns):
    monkeypatch.setitem(sys.modules, "tests.nowhere", SimpleNamespace(urlpatterns=patterns))
    clear_url_caches()
    cure = r"not in 'tests\.nowhere', or stand below an app_name there\. .*`urlpatterns = \[\*immortus_jobs\(\), …\]`"
    with pytest.raises(ConfigurationError, match=cure):
        call()


@pytest.mark.parametrize(
    ("label", "said"),
    [("", "Process image"), (None, "Process image"), ("Cat", "Cat"), (gettext_lazy("Cancel"), "Cancel")],
)
def test_the_answer_says_what_a_bar_of_the_job_is_called(label, said):
    request = RequestFactory().get("/")
    job = Job(job_id="a-1", job_class="shop.tasks.process_image")
    assert json.loads(render_immortus(request, job, label=label).content)["label"] == said
    assert job_info(request, "a-1")["label"] == "", "nobody is told the task of a bare id"
