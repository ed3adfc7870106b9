"""The two tags: right under any prefix and any policy, and they read nothing."""

from __future__ import annotations

import json
import re
import uuid

import pytest
from celery.result import AsyncResult
from django.http import HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.template import Context, RequestContext, Template
from django.test import RequestFactory
from django.urls import include, path, set_script_prefix
from django.utils import translation

from immortus_channels.api.links import page_url
from immortus_channels.exceptions import ConfigurationError
from immortus_channels.jobs.job import Error, Job, State
from immortus_channels.queues import classes
from immortus_channels.urls import immortus_jobs

urlpatterns = [path("some/where/", include(immortus_jobs()))]
pytestmark = pytest.mark.urls(__name__)


def script(request=None, **context):
    request = request or RequestFactory().get("/")
    return Template("{% load immortus %}{% immortus_script %}").render(Context({"request": request, **context}))


def script_with_job_state(**context):
    template = Template("{% load immortus %}{% immortus_script job_state=True %}")
    return template.render(Context({"request": RequestFactory().get("/"), **context}))


def element(job):
    return Template("{% load immortus %}{% immortus_job job %}").render(Context({"job": job}))


def attribute(html, name):
    found = re.search(rf'<script [^>]*{name}="([^"]*)"', html)
    return found and found[1]


def test_of_a_bare_id_the_class_is_not_told_to_whoever_looks_at_the_page():
    classes.remember("sent-1", "gallery.paint")
    assert "gallery.paint" not in element("sent-1")


def test_the_script_knows_its_addresses_under_any_mount_point():
    html = script()
    assert attribute(html, "src") == "/static/immortus_channels/immortus.js"
    assert attribute(html, "data-prefix") == "/some/where/immortus/"
    assert attribute(html, "data-websocket") == "/ws/immortus/"
    assert '<link rel="stylesheet" href="/static/immortus_channels/immortus.css">' in html


def test_the_script_knows_its_addresses_under_a_script_name():
    set_script_prefix("/app/")
    try:
        html = script()
    finally:
        set_script_prefix("/")
    assert attribute(html, "data-prefix") == "/app/some/where/immortus/"
    assert attribute(html, "data-websocket") == "/app/ws/immortus/"


def test_without_websockets_the_script_polls(settings):
    settings.IMMORTUS_WEBSOCKET = False
    assert attribute(script(), "data-websocket") is None


@pytest.mark.parametrize("given", [42, uuid.UUID(int=42), AsyncResult(42), AsyncResult(uuid.UUID(int=42))], ids=str)
def test_a_job_is_followed_by_a_number_or_a_uuid(given):
    assert f'job-id="{getattr(given, "id", given)}"' in element(given)


@pytest.mark.django_db
@pytest.mark.parametrize("by_session", [False, True])
def test_the_csrf_token_is_one_that_passes(client, settings, by_session):
    settings.CSRF_USE_SESSIONS = by_session
    request = RequestFactory().get("/")
    request.session = client.session
    token = attribute(script(request), "data-csrf-token")
    post = RequestFactory().post("/", headers={"X-CSRFToken": token})
    post.session = request.session
    checker = CsrfViewMiddleware(lambda request: HttpResponse())
    checker.process_response(request, response := HttpResponse())
    post.COOKIES.update({name: cookie.value for name, cookie in response.cookies.items()})
    checker.process_request(post)
    assert checker.process_view(post, lambda request: None, (), {}) is None


def test_without_a_request_there_is_no_token_and_no_error():
    html = Template("{% load immortus %}{% immortus_script %}").render(Context())
    assert attribute(html, "data-csrf-token") is None


@pytest.mark.parametrize("how", ["context", "django-csp", "middleware"])
def test_the_nonce_of_the_page_is_used(how):
    request, context = RequestFactory().get("/"), {}
    if how == "context":
        context["csp_nonce"] = "n0nce"
    elif how == "django-csp":
        request.csp_nonce = "n0nce"
    else:
        request._csp_nonce = Unasked("n0nce")
    html = script(request, **context)
    assert html.count('nonce="n0nce"') == 2


class Unasked(str):
    """Django's nonce is false until somebody has asked for it."""

    __slots__ = ()

    def __bool__(self):
        return False


def test_django_s_own_nonce_is_asked_for():
    csp = pytest.importorskip("django.utils.csp")
    request = RequestFactory().get("/")
    request._csp_nonce = csp.LazyNonce()
    html = script(request)
    assert request._csp_nonce
    assert f'nonce="{request._csp_nonce}"' in html


def test_without_a_policy_there_is_no_nonce():
    assert "nonce" not in script()


def test_job_state_is_included_on_demand_after_the_client_it_stands_on():
    assert "job-state" not in script()
    sources = re.findall(r'<script src="([^"]*)"', script_with_job_state())
    assert sources == ["/static/immortus_channels/immortus.js", "/static/immortus_channels/job-state.js"]


def test_job_state_has_the_nonce_of_the_page_as_well():
    assert script_with_job_state(csp_nonce="n0nce").count('nonce="n0nce"') == 3
    assert "nonce" not in script_with_job_state()


@pytest.mark.urls("tests.templatetags")
def test_addresses_that_are_not_mounted_are_said_with_the_cure():
    with pytest.raises(ConfigurationError, match="immortus_jobs"):
        script()


def test_a_job_shows_its_state_before_any_script_runs():
    job = Job(
        job_id="a-1",
        job_class="shop.paint",
        state=State.RUNNING,
        version=7,
        current=3,
        total=9,
        message="<b>Filtering</b>",
    )
    html = element(job)
    assert '<immortus-job job-id="a-1" job-class="shop.paint"' in html
    assert '<progress max="100" aria-label="Paint" value="33.3">' in html
    assert '<span data-immortus="percentage">33.3 %</span>' in html
    assert '<span data-immortus="message">&lt;b&gt;Filtering&lt;/b&gt;</span>' in html
    assert re.search(r'<span data-immortus="state"[^>]*>running</span>', html)
    document = re.search(r'<script type="application/json">(.*?)</script>', html)
    assert json.loads(document[1]) == job.document
    assert "<b>" not in html


def test_a_job_that_has_failed_says_why_before_any_script_runs():
    error = Error(code="bad_row", message="Row 7 has no <date>.")
    job = Job(job_id="a", state=State.FAILED, version=7, message="Reading", error=error)
    assert '<span data-immortus="message">Row 7 has no &lt;date&gt;.</span>' in element(job)


def test_a_bare_id_shows_nothing_it_does_not_know():
    html = element("a/b\"'<")
    assert 'job-id="a/b&quot;&#x27;&lt;"' in html
    assert "job-class" not in html
    assert "<script" not in html
    assert '<progress max="100" aria-label="Job"></progress>' in html
    assert '<span data-immortus="percentage"></span>' in html
    assert "None" not in html


@pytest.mark.parametrize(
    ("context", "cure"),
    [
        ({"job": None}, "None is not a job: .* base=TrackedTask"),
        ({}, "'' is not a job: .* a variable that its view has not given"),
        ({"job": [Job(job_id="a"), Job(job_id="b")]}, "is not a job: .* one by one"),
    ],
    ids=["None", "missing", "list"],
)
def test_what_is_no_job_is_said_with_the_cure(context, cure):
    with pytest.raises(TypeError, match=cure):
        Template("{% load immortus %}{% immortus_job job %}").render(Context(context))


def test_an_unknown_percentage_is_an_indeterminate_bar():
    html = element(Job(job_id="a", state=State.RUNNING))
    assert '<progress max="100" aria-label="Job"></progress>' in html
    assert "None" not in html


@pytest.mark.parametrize(("current", "shown"), [(0, "0 %"), (1, "12.5 %"), (2, "25 %"), (8, "100 %")])
def test_a_whole_percentage_has_no_decimals_and_any_other_one(current, shown):
    html = element(Job(job_id="a", state=State.RUNNING, current=current, total=8))
    assert f'<span data-immortus="percentage">{shown}</span>' in html


def test_a_job_whose_worker_is_silent_does_not_look_as_if_it_ran():
    html = element(Job(job_id="a", state=State.RUNNING, stalled=True))
    assert '<immortus-job job-id="a" label="" state="running" stalled>' in html
    assert ">no news for a while</span>" in html
    assert 'data-stalled="no news for a while"' in html
    assert "stalled>" not in element(Job(job_id="a", state=State.RUNNING))


@pytest.mark.parametrize(
    ("state", "word"), [("enqueued", "waiting"), ("retrying", "trying again"), ("finished", "done"), ("lost", "lost")]
)
def test_each_state_has_one_word_before_and_after_the_client_takes_over(state, word):
    html = element(Job(job_id="a", state=State(state)))
    (attributes, shown) = re.search(r'<span data-immortus="state"([^>]*)>([^<]*)</span>', html).groups()
    assert shown == word
    assert f'data-{state}="{word}"' in attributes
    assert attributes.count(" data-") == len(State) + 1, "and `stalled`"


@pytest.mark.parametrize("job_id", ["a-1", "a/b"])
def test_without_javascript_there_is_a_way_to_the_jobs_page(job_id):
    (address,) = re.findall(r'<noscript><a href="([^"]+)">', element(job_id))
    assert address == page_url(job_id)


@pytest.mark.urls("tests.templatetags")
def test_where_no_addresses_are_mounted_there_is_no_page_to_go_to():
    assert "<noscript>" not in element("a-1")


@pytest.mark.parametrize(
    ("job", "label", "name"),
    [
        (Job(job_id="a", job_class="shop.tasks.process_image"), "", "Process image"),
        (Job(job_id="a", job_class="paint"), "Cat & dog", "Cat &amp; dog"),
        ("a", "Cat", "Cat"),
        ("a", "", "Job"),
    ],
)
def test_the_bar_has_a_name_before_any_script_runs(job, label, name):
    template = Template("{% load immortus %}{% immortus_job job label=label %}")
    html = template.render(Context({"job": job, "label": label}))
    assert f'aria-label="{name}"' in html
    assert f'label="{"" if name == "Job" else name}"' in html, "the client may name it by its task"


def test_numbers_are_numbers_in_every_language(settings):
    with translation.override("de"):
        assert 'value="33.3"' in element(Job(job_id="a", current=1, total=3))


def test_a_request_context_works_as_well():
    html = Template("{% load immortus %}{% immortus_script %}").render(RequestContext(RequestFactory().get("/")))
    assert attribute(html, "data-csrf-token")
