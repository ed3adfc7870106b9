"""The page of a job waits with its viewer, calls each hook once, and leads only where it may."""

from __future__ import annotations

import ast
import inspect
import re
import threading
from dataclasses import replace
from html import unescape
from urllib.parse import urlencode

import pytest
from django.contrib import messages
from django.contrib.auth.models import User
from django.db import connection
from django.http import HttpResponse
from django.shortcuts import redirect
from django.test import Client
from django.urls import path, set_script_prefix

from immortus_channels import queues, tracking
from immortus_channels.api.job_handler import JobHandler, name_of
from immortus_channels.api.repository import JobRepository
from immortus_channels.api.strategy import TrackingStrategy
from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.http import job_page
from immortus_channels.jobs.events import CancelRequested, Overdue
from immortus_channels.jobs.job import SENTENCES, Job, State
from immortus_channels.stores import get_store
from immortus_channels.urls import immortus_jobs
from tests.pages import Process, forget_quotas
from tests.toys import ToyQueue


def flashes(request, pk=0):
    return HttpResponse("|".join(map(str, messages.get_messages(request))))


urlpatterns = [
    *immortus_jobs(path("classrooms/<int:pk>/", flashes, name="classroom")),
    path("accounts/login/", flashes),
]
pytestmark = [pytest.mark.urls(__name__), pytest.mark.django_db]
SCRIPT = "<script>alert(1)</script>"


class Nice(JobHandler):
    header = "Moving <pupils>"
    message = "This takes a moment."
    calls: list = []  # noqa: RUF012 - emptied for each test

    def next_url(self, request):
        return redirect("classroom", self.job.data["classroom_id"]).url

    def on_ready(self, request):
        self.calls.append("on_ready")
        if self.job.data["was_it_nice"] == "yes_it_was":
            messages.success(request, "IT WAS SO NICE.")
        else:
            messages.error(request, "ERROR being nice")

    def on_failed(self, request):
        self.calls.append("on_failed")
        messages.error(request, f"It is {self.job.state}")


class Leading(JobHandler):
    def next_url(self, request):
        return self.job.data["to"]

    failed_url = "/classrooms/9/"


class Raising(Nice):
    def on_ready(self, request):
        self.calls.append("on_ready")
        raise ValueError(SCRIPT)


class Awaited(Nice):
    async def header(self):
        return "Awaited pupils"

    async def next_url(self, request):
        return super().next_url(request)

    async def on_ready(self, request):
        self.calls.append(("on_ready", (await request.auser()).username))


class Staying(Nice):
    next_url = None


@pytest.fixture(autouse=True)
def _fresh(settings, monkeypatch):
    settings.IMMORTUS_STORE = {"BACKEND": "memory"}
    get_store()._records.clear()
    monkeypatch.setattr(queues, "connected", [ToyQueue()])
    Nice.calls.clear()


@pytest.fixture
def owner():
    return User.objects.create(username="ada")


@pytest.fixture
def client(owner):
    client = Client()
    client.force_login(owner)
    return client


def make(handler=Nice, owner=None, **data):
    data = {"classroom_id": 5, "was_it_nice": "yes_it_was", **data}
    job = Process(owner=str(owner.pk) if owner else None, handler=name_of(handler), data=data)
    job.enqueued()
    job.started()
    return job


def url(job):
    return f"/immortus/jobs/{job.job_id}/"


def text(response):
    return unescape(response.content.decode())


# While it waits


def test_a_job_that_is_not_over_is_waited_for_with_what_its_handler_says(client, owner):
    job = make(owner=owner)
    job.reported(3, "Filtering")
    response = client.get(url(job))
    assert response.status_code == 200
    assert response.templates[0].name == "immortus_channels/job_page.html"
    content = response.content.decode()
    said_by_handler, said_by_job = ("Moving &lt;pupils&gt;", "This takes a moment."), ("Filtering", job.job_id)
    for said in (*said_by_handler, *said_by_job, 'role="status"'):
        assert said in content
    assert '<noscript><meta http-equiv="refresh" content="5"></noscript>' in content
    assert Nice.calls == []


@pytest.mark.parametrize("end", ["reported", "finished", "failed"])
def test_no_page_is_kept_by_any_cache(client, end):
    job = make(Staying)
    getattr(job, end)(*([1] if end == "reported" else []))
    for response in (client.get(url(job)), client.get("/immortus/jobs/unknown/")):
        assert response.headers["Cache-Control"] == "private, no-store"
        assert "Cookie" in response.headers["Vary"]


def test_a_page_is_clean_for_a_content_security_policy(client):
    job = make(message=SCRIPT)
    job.reported(1, SCRIPT)
    content = client.get(url(job)).content.decode()
    assert SCRIPT not in content
    assert "style=" not in content
    assert "<style" not in content
    assert " on" not in content.replace(" on its", "").split("<body>")[0]
    for script in content.split("<script")[1:]:
        tag = script.split(">")[0]
        assert "src=" in tag or 'type="application/json"' in tag


@pytest.mark.case(47)
def test_without_a_handler_the_page_has_its_usual_words(client):
    job = Process()
    job.enqueued()
    assert "One moment, please" in text(client.get(url(job)))


@pytest.mark.case(49)
def test_the_page_is_in_the_viewers_language(client, settings):
    job = Process()
    job.enqueued()
    response = client.get(url(job), headers={"Accept-Language": "ar"})
    assert '<html lang="en-us" dir="ltr">' in text(response)
    settings.LANGUAGE_CODE = "ar"
    assert '<html lang="ar" dir="rtl">' in text(client.get(url(job)))


@pytest.mark.case(49)
def test_every_sentence_of_an_error_can_be_translated():
    """`makemessages` finds what is marked so; nothing in `jobs` may import Django's mark."""
    source = ast.parse(inspect.getsource(inspect.getmodule(Job)))
    marked = {
        argument.value
        for call in ast.walk(source)
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "gettext_noop"
        for argument in call.args
    }
    assert marked == set(SENTENCES.values())


# Finished


@pytest.mark.case(45)
def test_a_finished_job_leads_on_and_its_flash_message_arrives(client, owner):
    job = make(owner=owner)
    job.finished()
    response = client.get(url(job))
    assert (response.status_code, response.url) == (302, "/classrooms/5/")
    assert text(client.get(response.url)) == "IT WAS SO NICE."


def test_what_the_job_wrote_decides_which_message(client, owner):
    job = make(owner=owner, was_it_nice="no")
    job.finished()
    assert text(client.get(client.get(url(job)).url)) == "ERROR being nice"


@pytest.mark.case(45)
def test_on_ready_is_called_once_however_often_the_page_is_opened(client, owner):
    job = make(owner=owner)
    job.finished()
    for _ in range(3):
        assert client.get(url(job)).url == "/classrooms/5/"
    assert Nice.calls == ["on_ready"]


def test_of_many_tabs_at_once_one_calls_it(client, owner, monkeypatch):
    job = make(owner=owner)
    finished = job.finished()
    barrier, won = threading.Barrier(8), []

    def tab():
        barrier.wait()
        won.append(tracking.claim(finished, "on_ready"))

    tabs = [threading.Thread(target=tab) for _ in range(8)]
    for each in tabs:
        each.start()
    for each in tabs:
        each.join()
    assert sorted(won) == [False] * 7 + [True]


def test_any_other_viewer_is_only_led_on(client, owner):
    job = make(owner=owner)
    job.finished()
    staff = Client()
    staff.force_login(User.objects.create(username="root", is_staff=True, is_superuser=True))
    assert staff.get(url(job)).url == "/classrooms/5/"
    assert Nice.calls == []
    client.get(url(job))
    assert Nice.calls == ["on_ready"]


def test_of_a_job_without_owner_the_first_viewer_calls_it():
    job = make()
    job.finished()
    for _ in range(2):
        assert Client().get(url(job)).url == "/classrooms/5/"
    assert Nice.calls == ["on_ready"]


@pytest.mark.parametrize(
    "header", [{"Sec-Purpose": "prefetch;prerender"}, {"Purpose": "prefetch"}, {"X-Moz": "prefetch"}]
)
def test_a_guess_of_the_browser_calls_nothing_and_is_not_kept(client, owner, header):
    job = make(owner=owner)
    job.finished()
    response = client.get(url(job), headers=header)
    assert (response.status_code, response.headers["Cache-Control"]) == (503, "private, no-store")
    assert Nice.calls == []
    client.get(url(job))
    assert Nice.calls == ["on_ready"]


def test_looking_without_reading_calls_nothing(client, owner):
    job = make(owner=owner)
    job.finished()
    assert client.head(url(job)).url == "/classrooms/5/"
    assert Nice.calls == []


def test_an_exception_in_on_ready_is_logged_and_leads_on_all_the_same(client, caplog):
    job = make(Raising)
    job.finished()
    for _ in range(2):
        assert client.get(url(job)).url == "/classrooms/5/"
    assert Nice.calls == ["on_ready"]
    assert [record.job_id for record in caplog.records] == [job.job_id]


@pytest.mark.parametrize("is_atomic", [True, False])
def test_a_handler_whose_methods_are_coroutine_functions_does_the_same(client, monkeypatch, is_atomic):
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", is_atomic)
    job = make(Awaited)
    assert "Awaited pupils" in text(client.get(url(job)))
    job.finished()
    for _ in range(2):
        assert client.get(url(job)).url == "/classrooms/5/"
    assert Nice.calls == [("on_ready", "ada")]


def test_without_an_address_the_page_stays_and_shows_the_message(client):
    job = make(Staying)
    job.finished()
    response = client.get(url(job))
    assert response.status_code == 200
    assert "Done" in text(response)
    assert "IT WAS SO NICE." in text(response)
    assert "refresh" not in text(response)
    assert "<script" not in text(response)


def test_hooks_run_in_the_transaction_of_requests_and_the_page_outside_it(client, monkeypatch):
    seen = []
    monkeypatch.setattr(Staying, "on_ready", lambda self, request: seen.append(len(connection.savepoint_ids)))
    depth = len(connection.savepoint_ids)
    for is_atomic in (False, True):
        monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", is_atomic)
        job = make(Staying)
        job.finished()
        client.get(url(job))
    assert [each - depth for each in seen] == [0, 1]
    assert "default" in job_page.job._non_atomic_requests


def test_a_store_that_fails_in_the_claim_calls_nothing(client, monkeypatch):
    job = make()
    job.finished()
    with monkeypatch.context() as patch:
        patch.setattr(type(get_store()), "update", down)
        response = client.get(url(job))
    assert (response.status_code, response.headers["Retry-After"]) == (503, "2")
    assert Nice.calls == []
    assert client.get(url(job)).status_code == 302
    assert Nice.calls == ["on_ready"]


# Where it leads


def ended(to):
    job = make(Leading, to=to)
    job.finished()
    return job


@pytest.mark.parametrize(
    ("to", "leads"),
    [
        ("/classrooms/5/", "/classrooms/5/"),
        ("./here", "./here"),
        ("http://testserver/x", "http://testserver/x"),
        ("https://files.example.com/x", "https://files.example.com/x"),
    ],
)
def test_it_leads_to_this_host_and_those_of_the_setting(client, settings, to, leads):
    settings.IMMORTUS_REDIRECT_HOSTS = ["files.example.com"]
    assert client.get(url(ended(to))).url == leads


@pytest.mark.case(48)
@pytest.mark.parametrize(
    "to",
    [
        "https://evil.example.com/",
        "//evil.example.com/",
        "///evil.example.com/",
        "/\\evil.example.com/",
        "http:///evil.example.com/",
        "javascript:alert(1)//.",
        "data:text/html,.",
        "\x08//evil.example.com/",
        "no-such-view",
        5,
    ],
)
def test_it_leads_nowhere_else_and_says_so_in_the_log(client, caplog, to):
    job = ended(to)
    response = client.get(url(job))
    assert response.status_code == 200
    assert "cannot be opened" in text(response)
    assert "evil" not in text(response)
    assert [(record.levelname, record.job_id) for record in caplog.records] == [("ERROR", job.job_id)]


def test_a_secure_page_leads_to_no_insecure_one(client, settings):
    settings.IMMORTUS_REDIRECT_HOSTS = ["files.example.com"]
    response = client.get(url(ended("http://files.example.com/")), secure=True)
    assert "cannot be opened" in text(response)


# Ended otherwise


@pytest.mark.case(46)
@pytest.mark.parametrize(
    ("end", "header", "sentence"),
    [
        ("failed", "This did not work", "Something went wrong."),
        ("cancelled", "Cancelled", "This was cancelled."),
    ],
)
def test_a_job_that_ended_otherwise_says_why_and_calls_its_hook_once(client, owner, end, header, sentence):
    job = make(owner=owner)
    getattr(job, end)(**({"message": SCRIPT} if end == "failed" else {}))
    pages_seen = [client.get(url(job)) for _ in range(2)]
    assert [page.status_code for page in pages_seen] == [200, 200]
    assert header in text(pages_seen[0])
    assert (SCRIPT if end == "failed" else sentence) in text(pages_seen[0])
    assert SCRIPT not in pages_seen[0].content.decode()
    assert f"It is {end}" in text(pages_seen[0])
    assert "It is" not in text(pages_seen[1])
    assert Nice.calls == ["on_failed"]


@pytest.mark.case(46)
def test_the_handler_may_lead_on_from_a_failure(client):
    job = make(Leading, to="/")
    job.failed()
    assert client.get(url(job)).url == "/classrooms/9/"


def lost(job):
    for _ in range(2):
        get_store().renew({job.job_id: "run"}, -100)
        after = tracking.publish(Overdue(job_id=job.job_id))
        get_store()._records[job.job_id] = replace(after, lease_until=after.lease_until and 1).to_record()
    assert tracking.read([job.job_id])[job.job_id].state is State.LOST


def test_a_lost_job_is_still_watched_and_its_return_is_shown(client):
    job = make()
    lost(job)
    response = client.get(url(job))
    assert 'data-immortus-page="lost"' in text(response)
    assert f'<immortus-job hidden job-id="{job.job_id}">' in text(response)
    assert "job_page.js" in text(response)
    assert '<meta http-equiv="refresh"' in text(response)
    job.reported(5)
    assert 'data-immortus-page="running"' in text(client.get(url(job)))
    job.finished()
    assert client.get(url(job)).status_code == 302
    assert Nice.calls == ["on_failed", "on_ready"]


def test_a_job_that_was_cancelled_while_it_waited_is_over(client):
    job = JobRepository().create(handler=Nice)
    tracking.publish(CancelRequested(job_id=job.job_id))
    assert "Cancelled" in text(client.get(job.page_url))


# Cancelling

BUTTON = "immortus-page-button"


def is_asked_to_stop(job):
    return tracking.read([job.job_id])[job.job_id].cancel_requested


def test_the_owner_can_cancel_by_a_form_and_reads_that_it_was_asked_for(client, owner):
    job = make(owner=owner)
    page = text(client.get(url(job)))
    assert BUTTON in page
    response = client.post(url(job))
    assert (response.status_code, response.url) == (303, url(job))
    page = text(client.get(url(job)))
    assert "It has been asked to stop." in page
    assert BUTTON not in page


def test_a_job_that_waits_is_cancelled_at_once(client):
    job = Process("reports/2026 #1", handler=name_of(Nice))
    job.enqueued()
    address = f"/immortus/jobs/?{urlencode({'job_id': job.job_id})}"
    response = client.post(address)
    assert response.url == address
    assert "Cancelled" in text(client.get(address))


def test_the_form_passes_the_projects_csrf_check_and_nothing_else_does(owner):
    client = Client(enforce_csrf_checks=True)
    client.force_login(owner)
    job = make(owner=owner)
    (token,) = re.findall('name="csrfmiddlewaretoken" value="([^"]+)"', text(client.get(url(job))))
    assert client.post(url(job)).status_code == 403
    assert not is_asked_to_stop(job)
    assert client.post(url(job), {"csrfmiddlewaretoken": token}).status_code == 303
    assert is_asked_to_stop(job)


def test_a_job_that_may_not_be_cancelled_offers_no_button_and_goes_on(client, owner):
    job = Process(owner=str(owner.pk), cancel="never")
    job.enqueued()
    assert BUTTON not in text(client.get(url(job)))
    assert client.post(url(job)).status_code == 303
    assert not is_asked_to_stop(job)


def test_who_may_see_a_job_but_not_cancel_it_has_no_button(client, settings):
    class Watching(TrackingStrategy):
        def allows_cancel(self, user, job):
            return False

    settings.IMMORTUS_TRACKING_STRATEGY = Watching
    job = make()
    assert BUTTON not in text(client.get(url(job)))
    client.post(url(job))
    assert not is_asked_to_stop(job)


def test_nobody_else_can_cancel_and_learns_nothing(owner):
    job = make(owner=owner)
    assert Client().post(url(job)).status_code == 404
    assert not is_asked_to_stop(job)


@pytest.mark.parametrize("end", ["finished", "failed", "cancelled"])
def test_a_job_that_is_over_has_no_button_and_stays_as_it_is(client, end):
    job = make(Staying)
    getattr(job, end)()
    assert BUTTON not in text(client.get(url(job)))
    assert client.post(url(job)).status_code == 303
    assert not is_asked_to_stop(job)


# Unknown, and not to be seen


@pytest.mark.case(47)
def test_unknown_and_foreign_jobs_look_the_same(client):
    foreign = Process("f" * 32, owner="4711", handler=name_of(Nice))
    foreign.enqueued()
    foreign.started()
    foreign.finished()
    answers = [client.get(f"/immortus/jobs/{c * 32}/") for c in "fu"]
    first, second = (each.content.decode().replace("f" * 32, "…").replace("u" * 32, "…") for each in answers)
    assert [each.status_code for each in answers] == [404, 404]
    assert strip_tokens(first) == strip_tokens(second)
    assert Nice.calls == []


def strip_tokens(content):
    return [part for part in content.split() if not part.startswith("data-csrf-token")]


@pytest.mark.parametrize("query", ["", "?job_id=", "?job_id=" + "x" * 300, "?job_id=%00"])
def test_what_is_no_id_is_an_unknown_job(client, query):
    response = client.get(f"/immortus/jobs/{query}")
    assert response.status_code == 404
    assert "<immortus-job" not in text(response)


@pytest.mark.case(47)
def test_an_unknown_job_is_asked_for_once_more_without_javascript(client):
    first = text(client.get("/immortus/jobs/u/"))
    assert 'content="5;url=/immortus/jobs/u/?again=1"' in first
    assert "http-equiv" not in text(client.get("/immortus/jobs/u/?again=1"))
    by_query = text(client.get("/immortus/jobs/?job_id=a/b"))
    assert 'content="5;url=/immortus/jobs/?job_id=a%2Fb&again=1"' in by_query


def test_somebody_who_is_not_logged_in_may_do_so(client, settings):
    settings.LOGIN_URL = "/accounts/login/"
    link = 'href="/accounts/login/?next=%2Fimmortus%2Fjobs%2Fu%2F"'
    assert link in text(Client().get("/immortus/jobs/u/"))
    assert link not in text(client.get("/immortus/jobs/u/"))
    settings.LOGIN_URL = "/no/such/page/"
    assert "Log in" not in text(Client().get("/immortus/jobs/u/"))


def test_a_job_that_only_its_strategy_knows_is_shown_and_calls_nothing(client, settings):
    class Knowing(TrackingStrategy):
        def status(self, job_id):
            return "finished"

        def allows(self, user, job):
            return True

    settings.IMMORTUS_TRACKING_STRATEGY = Knowing
    assert "Done" in text(client.get("/immortus/jobs/old/"))
    assert tracking.claim(Job(job_id="old", state=State.FINISHED), "on_ready") is False


def test_whose_owner_nobody_knows_is_nobodys_to_be_told():
    record = Job(job_id="j", state=State.FINISHED, staff_only=True)
    request = Client().get("/").wsgi_request
    assert not job_page._is_for(request, record)


# Whatever the project is like


def down(*_, **__):
    raise StoreUnavailable


def test_a_store_that_is_down_is_told_and_asked_again(client, monkeypatch):
    monkeypatch.setattr(tracking, "on_record", down)
    response = client.get("/immortus/jobs/a/")
    assert (response.status_code, response.headers["Retry-After"]) == (503, "2")
    assert '<meta http-equiv="refresh" content="5">' in text(response)


def test_whoever_tries_very_many_ids_gets_no_pages_for_a_while(client, owner, settings):
    settings.IMMORTUS_LIMITS = {"denials": 5}
    forget_quotas()
    assert [client.get(f"/immortus/jobs/guess-{n}/").status_code for n in range(7)][-2:] == [404, 429]
    response = client.get("/immortus/jobs/another/")
    assert response.status_code == 429
    assert 0 < int(response.headers["Retry-After"]) <= 60
    assert '<meta http-equiv="refresh"' in text(response)
    forget_quotas()


def test_the_page_is_for_looking_and_for_cancelling_only(client):
    response = client.put("/immortus/jobs/a/")
    assert (response.status_code, response.headers["Allow"]) == (405, "GET, HEAD, POST")


def test_every_id_has_a_page(client):
    job = Process("reports/2026 #1")
    job.enqueued()
    response = client.get("/immortus/jobs/", {"job_id": job.job_id})
    assert 'job-id="reports/2026 #1"' in text(response)


def test_the_page_answers_itself_where_login_is_required(settings):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
    job = make()
    assert Client().get(url(job)).status_code == 200
    assert Client().get("/immortus/jobs/u/").status_code == 404


def test_a_project_without_logins_sessions_and_messages_is_served(settings):
    settings.MIDDLEWARE = []
    job = make(Leading, to="/x/")
    assert Client().get(url(job)).status_code == 200
    job.finished()
    assert Client().get(url(job)).url == "/x/"


def test_the_token_may_be_kept_in_the_session(settings, client):
    settings.CSRF_USE_SESSIONS = True
    assert "data-csrf-token=" in text(client.get(url(make())))


def test_the_page_stands_below_the_script_name(client):
    job = make()
    set_script_prefix("/app/")
    try:
        content = text(client.get(url(job), SCRIPT_NAME="/app"))
    finally:
        set_script_prefix("/")
    assert 'data-prefix="/app/immortus/"' in content


async def test_an_async_server_serves_it(async_client):
    job = make()
    assert (await async_client.get(url(job))).status_code == 200
    job.finished()
    assert (await async_client.get(url(job))).status_code == 302
    assert Nice.calls == ["on_ready"]


def test_redirect_goes_to_the_page(client):
    job = JobRepository().create(handler=Nice)
    assert redirect(job).url == url(job)


def test_a_project_puts_the_page_into_its_own(client, settings):
    blocks = ("title", "head", "content")
    title, head, content = (f"{{% block {name} %}}{{% endblock %}}" for name in blocks)
    base = f"<title>{title}</title>{head}<nav>Ours</nav>{content}"
    theirs = {"immortus_channels/base.html": base}
    options = settings.TEMPLATES[0]["OPTIONS"]
    loaders = [
        ("django.template.loaders.locmem.Loader", theirs),
        "django.template.loaders.app_directories.Loader",
    ]
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "APP_DIRS": False, "OPTIONS": {**options, "loaders": loaders}}]
    content = text(client.get(url(make())))
    assert "<nav>Ours</nav>" in content
    assert "Moving <pupils>" in content
