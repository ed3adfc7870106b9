"""Verify and cancel: always JSON, never somebody else's job, never cached, whatever else fails."""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar
from urllib.parse import quote

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.db import OperationalError
from django.test import Client

from immortus_channels import access_token, tracking
from immortus_channels.access import is_owner, permissions, tokens
from immortus_channels.api.strategy import TrackingStrategy
from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.http import concurrency, unrecorded, views
from immortus_channels.jobs.ids import is_job_id
from immortus_channels.jobs.job import Job
from immortus_channels.stores.base import Reading
from immortus_channels.urls import immortus_jobs
from tests.pages import Process, forget_quotas
from tests.tokens import expired_token

urlpatterns = [*immortus_jobs()]
SECRET = "a secret"
pytestmark = [pytest.mark.urls(__name__), pytest.mark.django_db]


@pytest.fixture(autouse=True)
def _memory(settings):
    settings.IMMORTUS_STORE = {"BACKEND": "memory"}


@pytest.fixture
def job():
    return Process("a.b:c~d@e_f-0")


def is_json_for_nobody_else(response):
    assert response.headers["Cache-Control"] == "private, no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert {"Cookie", "Authorization"} <= set(response.headers["Vary"].split(", "))
    if response.status_code != 304:
        assert response.headers["Content-Type"] == "application/json"
        response.json()
    return True


# Verify


def test_verify_answers_the_document_byte_for_byte(client, job):
    text = job.enqueued().text
    response = client.get(f"/immortus/verify/{job.job_id}")
    assert response.status_code == 200
    assert response.content.decode() == text
    assert is_json_for_nobody_else(response)


def test_the_version_is_the_etag(client, job):
    version = job.enqueued().version
    response = client.get(f"/immortus/verify/{job.job_id}")
    assert response.headers["ETag"] == f'"{version}"'
    same = client.get(f"/immortus/verify/{job.job_id}", headers={"If-None-Match": f'W/"1", "{version}"'})
    assert (same.status_code, same.content) == (304, b"")
    assert is_json_for_nobody_else(same)
    job.started()
    assert client.get(f"/immortus/verify/{job.job_id}", headers={"If-None-Match": f'"{version}"'}).status_code == 200


def asked_with(client, job, version):
    return client.get(f"/immortus/verify/{job.job_id}", headers={"If-None-Match": f'"{version}"'})


@pytest.mark.fault("D4")
def test_a_page_ahead_of_the_store_gets_something_newer_once_in_5_seconds(client, job):
    ahead = job.enqueued().version + 1_000_000
    newer = asked_with(client, job, ahead)
    assert newer.json()["version"] > ahead
    assert newer.headers["ETag"] == f'"{newer.json()["version"]}"'
    assert asked_with(client, job, newer.json()["version"] + 1_000_000).json() == newer.json()


def test_a_version_that_no_page_can_have_been_told_changes_nothing(client, job):
    version = job.enqueued().version
    for lie in (version + 3_600_000_000, 2**53 - 1, 10**15, "7" * 400):
        assert asked_with(client, job, lie).json()["version"] == version


@pytest.mark.case(18)
def test_a_class_in_the_path_must_be_the_jobs(client, job):
    job.enqueued()
    assert client.get(f"/immortus/verify/{job.job_id}/shop.paint").status_code == 200
    response = client.get(f"/immortus/verify/{job.job_id}/os.system")
    assert response.status_code == 409
    assert response.json()["error"]["code"] == "wrong_job_class"
    assert is_json_for_nobody_else(response)


@pytest.mark.case(18)
def test_no_class_in_a_path_is_ever_imported(client, job):
    job.enqueued()
    for job_id in (job.job_id, "never-was"):
        answer = client.get(f"/immortus/verify/{job_id}/this.Canary")
        assert answer.status_code in {404, 409}
    assert "this" not in sys.modules


@pytest.mark.case(19)
@pytest.mark.parametrize(
    "job_id", ["100%", "_", "%", "a/b", "..", "../verify", "a?b", "a:b", "a#b", "a&job_id=c", "é\n"]
)
def test_an_id_of_odd_characters_names_its_own_job_and_no_other(client, job_id):
    jobs = {one: Process(one).enqueued() for one in (job_id, "abc")}
    asked = quote(job_id, safe="")
    assert client.get(f"/immortus/verify?job_id={asked}").json()["jobs"] == [jobs[job_id].document]
    in_path = client.get(f"/immortus/verify/{asked}")
    assert in_path.status_code == (200 if job_id in {"_", "a:b"} else 404)
    assert in_path.status_code == 404 or in_path.json() == jobs[job_id].document


@pytest.mark.parametrize("path", ["verify/", "verify//", "verify/a%20b", "verify/a/b/c"])
def test_a_path_that_names_no_job_is_answered_as_json(client, path):
    response = client.get(f"/immortus/{path}")
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "unknown_job"


ERRORS = {"broken": KeyError(SECRET), "store down": StoreUnavailable()}


def raising(error):
    def read(ids):
        raise error

    return read


@pytest.mark.case(14)
@pytest.mark.parametrize(
    ("what", "answer"),
    [
        ("running", (200, "running", None)),
        ("finished", (200, "finished", None)),
        ("failed", (200, "failed", "bad_luck")),
        ("cancelled", (200, "cancelled", "cancelled")),
        ("unknown", (404, None, "unknown_job")),
        ("foreign", (404, None, "unknown_job")),
        ("of another class", (409, None, "wrong_job_class")),
        ("broken", (500, None, "strategy_error")),
        ("store down", (503, None, "store_unavailable")),
    ],
)
def test_each_case_has_an_answer_of_its_own_that_names_the_job(client, monkeypatch, what, answer):
    job = Process("j", owner="4711" if what == "foreign" else None)
    if what != "unknown":
        job.enqueued()
        job.started()
    if hasattr(job, what):
        getattr(job, what)()
    if what in ERRORS:
        monkeypatch.setattr(tracking, "on_record", raising(ERRORS[what]))
    response = client.get("/immortus/verify/j" + "/other.task" * (what == "of another class"))
    told = response.json()
    assert (response.status_code, told.get("state"), (told["error"] or {}).get("code")) == answer
    assert told["job_id"] == "j"


@pytest.mark.case(15)
def test_unknown_and_foreign_jobs_look_the_same(client):
    foreign = Process("f" * 32, owner="4711")
    foreign.enqueued()
    answers = []
    for job_id in ("f" * 32, "u" * 32):
        for suffix in ("", "/some.class"):
            response = client.get(f"/immortus/verify/{job_id}{suffix}")
            assert is_json_for_nobody_else(response)
            answers.append(
                (response.status_code, response.content.decode().replace(job_id, "…"), dict(response.headers))
            )
    assert all(answer[:2] == answers[0][:2] for answer in answers)
    assert answers[0][0] == 404
    assert json.loads(answers[0][1]) == {
        "job_id": "…",
        "error": {"code": "unknown_job", "message": "There is no such job, or you are not allowed to see it."},
        "authenticated": False,
    }


@pytest.mark.parametrize("job_id", ["a/b/c", "é", "..", "x" * 256, "a/"])
@pytest.mark.parametrize(("name", "method"), [("verify", "get"), ("cancel", "post")])
def test_a_path_that_names_no_job_is_answered_as_json_too(client, job_id, name, method):
    if is_job_id(job_id):
        Process(job_id).enqueued()
    response = getattr(client, method)(f"/immortus/{name}/{job_id}")
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "unknown_job"
    assert is_json_for_nobody_else(response)


def test_the_owner_sees_the_job_and_no_other_user_is_asked_to_log_in(client, django_user_model):
    alice, bob = (User.objects.create(username=name) for name in ("alice", "bob"))
    job = Process(owner=str(alice.pk))
    job.enqueued()
    client.force_login(alice)
    assert client.get(f"/immortus/verify/{job.job_id}").status_code == 200
    client.force_login(bob)
    assert "authenticated" not in client.get(f"/immortus/verify/{job.job_id}").json()


def test_many_jobs_are_answered_in_the_order_asked(client):
    one, other, foreign = Process("one/1"), Process("other é"), Process(owner="4711")
    texts = [job.enqueued().text for job in (one, other, foreign)]
    ids = [other.job_id, "no such", one.job_id, foreign.job_id, "", "x" * 300, "nul\0", other.job_id]
    response = client.get("/immortus/verify", {"job_id": ids})
    assert response.status_code == 200
    jobs = response.json()["jobs"]
    assert [answer["job_id"] for answer in jobs] == ids
    assert [answer.get("error") is None for answer in jobs] == [True, False, True, False, False, False, False, True]
    assert texts[0] in response.content.decode()
    assert is_json_for_nobody_else(response)


@pytest.mark.parametrize("count", [0, 101])
def test_nobody_asks_for_none_or_too_many(client, count):
    response = client.get("/immortus/verify", {"job_id": [str(i) for i in range(count)]})
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "bad_request"
    assert is_json_for_nobody_else(response)


def test_a_hundred_jobs_are_one_read(client, monkeypatch):
    reads = []
    monkeypatch.setattr(tracking, "on_record", lambda ids: reads.append(ids) or Reading(now=0))
    assert client.get("/immortus/verify", {"job_id": [str(i) for i in range(100)]}).status_code == 200
    assert len(reads) == 1


@pytest.mark.parametrize(("method", "path"), [("post", "verify/a"), ("delete", "verify"), ("get", "cancel/a")])
def test_a_wrong_method_is_answered_as_json(client, method, path):
    response = getattr(client, method)(f"/immortus/{path}")
    assert response.status_code == 405
    assert response.headers["Allow"] == ("POST" if "cancel" in path else "GET, HEAD")
    assert is_json_for_nobody_else(response)


def test_a_head_request_has_no_body(client, job):
    job.enqueued()
    response = client.head(f"/immortus/verify/{job.job_id}")
    assert (response.status_code, response.content) == (200, b"")


def test_a_store_that_is_down_says_when_to_come_back(client, monkeypatch, caplog):
    def down(ids):
        raise StoreUnavailable

    monkeypatch.setattr(tracking, "on_record", down)
    for response in (
        client.get("/immortus/verify/a"),
        client.get("/immortus/verify?job_id=a"),
        client.post("/immortus/cancel/a"),
    ):
        assert response.status_code == 503
        assert response.headers["Retry-After"] == "2"
        assert response.json()["error"]["code"] == "store_unavailable"
        assert is_json_for_nobody_else(response)


def test_while_nobody_can_tell_who_asks_the_client_is_told_to_come_back(client, monkeypatch):
    def away(request):
        raise OperationalError

    monkeypatch.setattr(permissions, "user_of", away)
    response = client.get("/immortus/verify/a")
    assert (response.status_code, response.headers["Retry-After"]) == (503, "2")
    assert client.get("/immortus/jobs/a/").status_code == 503


def test_a_state_that_cannot_be_told_is_an_error_without_its_traceback(client, monkeypatch, caplog):
    def broken(ids):
        raise KeyError(SECRET)

    monkeypatch.setattr(tracking, "on_record", broken)
    response = client.get("/immortus/verify/a")
    assert response.status_code == 500
    assert response.json() == {
        "job_id": "a",
        "error": {"code": "strategy_error", "message": "The state of this job is not available."},
    }
    assert SECRET not in response.content.decode()
    assert SECRET in caplog.text


def test_the_views_answer_themselves_where_login_is_required(client, settings, job):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
    job.enqueued()
    assert client.get(f"/immortus/verify/{job.job_id}").status_code == 200
    assert client.post("/immortus/cancel/unknown").status_code == 404


def test_the_views_run_outside_the_requests_transaction(client, settings):
    for view in (views.verify, views.cancel):
        assert "default" in view._non_atomic_requests


def test_a_project_without_logins_is_served(client, settings, job):
    settings.MIDDLEWARE = []
    job.enqueued()
    assert client.get(f"/immortus/verify/{job.job_id}").status_code == 200


# Cancel


def test_a_waiting_job_is_cancelled_at_once(client, job):
    job.enqueued()
    response = client.post(f"/immortus/cancel/{job.job_id}")
    assert response.status_code == 202
    assert response.json()["cancel_requested"] is True
    assert response.json()["state"] == "cancelled"
    assert is_json_for_nobody_else(response)


@pytest.mark.case(43)
def test_a_running_job_is_asked(client, job):
    job.enqueued()
    job.started()
    response = client.post(f"/immortus/cancel?job_id={job.job_id}")
    assert (response.status_code, response.json()["state"], response.json()["cancel_requested"]) == (
        202,
        "running",
        True,
    )


@pytest.mark.case(42)
def test_of_two_jobs_that_a_cancel_names_none_is_cancelled(client, job):
    job.enqueued()
    response = client.post(f"/immortus/cancel?job_id=another&job_id={job.job_id}")
    assert (response.status_code, response.json()["error"]["code"]) == (400, "bad_request")
    assert is_json_for_nobody_else(response)
    assert tracking.read([job.job_id])[job.job_id].state == "enqueued"


@pytest.mark.parametrize("end", ["finished", "failed", "cancelled"])
def test_a_job_that_is_over_cannot_be_cancelled(client, job, end):
    job.enqueued()
    job.started()
    document = getattr(job, end)().document
    response = client.post(f"/immortus/cancel/{job.job_id}")
    assert response.status_code == 409
    assert response.json() == {**document, "error": response.json()["error"]}
    assert response.json()["error"]["code"] == "not_cancellable"
    assert is_json_for_nobody_else(response)


def test_a_task_that_does_not_allow_it_is_not_cancelled(client):
    job = Process(cancel="never")
    job.enqueued()
    assert client.post(f"/immortus/cancel/{job.job_id}").status_code == 409
    assert tracking.read([job.job_id])[job.job_id].cancel_requested is False


def test_whoever_may_only_look_may_not_cancel(client, job, monkeypatch):
    job.enqueued()
    monkeypatch.setattr(permissions, "may_cancel", lambda user, job: False)
    assert client.post(f"/immortus/cancel/{job.job_id}").status_code == 409


@pytest.mark.case(20)
def test_a_foreign_job_is_unknown_to_cancel(client):
    job = Process(owner="4711")
    job.enqueued()
    assert client.post(f"/immortus/cancel/{job.job_id}").status_code == 404
    assert client.post("/immortus/cancel").status_code == 404
    assert tracking.read([job.job_id])[job.job_id].state == "enqueued"


@pytest.mark.case(43)
def test_a_job_that_ended_meanwhile_is_not_called_cancelled(client, job, monkeypatch):
    job.enqueued()
    job.started()
    finished = job.finished()
    running = tracking.read([job.job_id])[job.job_id].from_record(
        json.dumps({**json.loads(finished.to_record()), "state": "running"})
    )
    monkeypatch.setattr(tracking, "on_record", lambda ids: Reading(now=0, jobs={job.job_id: running}))
    assert client.post(f"/immortus/cancel/{job.job_id}").status_code == 409


@pytest.mark.case(44)
def test_cancelling_from_a_second_tab_says_the_same_and_changes_nothing(client, job):
    job.enqueued()
    job.started()
    first, second = (client.post(f"/immortus/cancel/{job.job_id}") for _ in range(2))
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json() == second.json()


@pytest.mark.case(44)
def test_looking_never_changes_anything(client, job):
    job.enqueued()
    version = job.started().version
    assert client.get(f"/immortus/cancel/{job.job_id}").status_code == 405
    for path in (f"verify/{job.job_id}", f"verify?job_id={job.job_id}", f"jobs/{job.job_id}/"):
        assert client.get(f"/immortus/{path}").status_code == 200
    assert tracking.read([job.job_id])[job.job_id].version == version


@pytest.mark.case(44)
def test_cancel_needs_the_csrf_token(job):
    job.enqueued()
    assert Client(enforce_csrf_checks=True).post(f"/immortus/cancel/{job.job_id}").status_code == 403


# Access tokens


@pytest.fixture
def alice():
    return User.objects.create(username="alice")


def shown(token):
    return {"headers": {"Authorization": f"Bearer {token}"}}


def test_a_token_shows_its_jobs_and_no_others(client, alice):
    job, other = Process(owner=str(alice.pk)), Process(owner=str(alice.pk))
    text = job.enqueued().text
    other.enqueued()
    by_token = shown(access_token(job, alice))
    response = client.get(f"/immortus/verify/{job.job_id}", **by_token)
    assert response.content.decode() == text
    assert is_json_for_nobody_else(response)
    assert client.get(f"/immortus/verify/{other.job_id}", **by_token).status_code == 404
    many = client.get("/immortus/verify", {"job_id": [job.job_id, other.job_id]}, **by_token).json()["jobs"]
    assert [one.get("state") for one in many] == ["enqueued", None]
    assert client.post(f"/immortus/cancel/{other.job_id}", **by_token).status_code == 404
    assert client.post(f"/immortus/cancel/{job.job_id}", **by_token).status_code == 202


def test_a_token_grants_nothing_that_its_user_has_not(client, alice):
    theirs = Process(owner="4711")
    theirs.enqueued()
    assert client.get(f"/immortus/verify/{theirs.job_id}", **shown(access_token(theirs, alice))).status_code == 404
    assert (
        client.get(f"/immortus/verify/{theirs.job_id}", **shown(access_token(theirs, AnonymousUser()))).status_code
        == 404
    )


@pytest.mark.parametrize("how", ["forged", "flipped", "long", "of another user", "for another job", "old key"])
def test_a_token_that_is_no_good_is_answered_as_an_unknown_job(client, alice, settings, how):
    job = Process("f" * 32, owner=str(alice.pk))
    job.enqueued()
    good = access_token(job, alice)
    bad = {
        "forged": "immortus.forged",
        "flipped": good[:-1] + ("A" if good[-1] != "A" else "B"),
        "long": "immortus." + "x" * 10_000,
        "of another user": access_token(job, User.objects.create(username="bob")),
        "for another job": access_token("u" * 32, alice),
        "old key": good,
    }
    settings.SECRET_KEY = "another key, long enough to be accepted by all" if how == "old key" else settings.SECRET_KEY
    refused = client.get(f"/immortus/verify/{job.job_id}", **shown(bad[how]))
    unknown = client.get(f"/immortus/verify/{'u' * 32}", **shown(bad[how]))
    assert (refused.status_code, dict(refused.headers)) == (unknown.status_code, dict(unknown.headers))
    assert refused.json() == {**unknown.json(), "job_id": job.job_id}
    assert refused.json()["error"]["code"] == "unknown_job"


def test_an_expired_token_is_told_as_such(client, alice):
    for response in (
        client.get("/immortus/verify/a", **shown(expired_token("a", alice))),
        client.post("/immortus/cancel/a", **shown(expired_token("a", alice))),
    ):
        assert (response.status_code, response.json()["error"]["code"]) == (401, "token_expired")
        assert response.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
        assert is_json_for_nobody_else(response)


def test_a_token_is_changed_for_a_new_one_also_shortly_after_its_end(client, alice):
    job = Process(owner=str(alice.pk))
    job.enqueued()
    for text in (access_token([job, "gone"], alice), expired_token([job, "gone"], alice, 10)):
        response = client.post("/immortus/token", **shown(text))
        assert response.status_code == 200
        assert 890 < response.json()["expires_in"] <= 900
        assert is_json_for_nobody_else(response)
        assert tokens.read(response.json()["token"]).jobs == {job.job_id}
        assert client.get(f"/immortus/verify/{job.job_id}", **shown(response.json()["token"])).status_code == 200


def test_a_token_long_after_its_end_or_without_its_right_is_not_renewed(client, alice):
    job = Process(owner=str(alice.pk))
    job.enqueued()
    late, good = expired_token(job, alice, 30), access_token(job, alice)
    assert client.post("/immortus/token", **shown(late)).status_code == 401
    User.objects.update(is_active=False)
    assert client.post("/immortus/token", **shown(good)).status_code == 404
    User.objects.all().delete()
    assert client.post("/immortus/token", **shown(good)).status_code == 404


def test_no_chain_of_tokens_is_longer_than_its_age(client, alice, settings):
    job = Process(owner=str(alice.pk))
    job.enqueued()
    settings.IMMORTUS_LIMITS = {"token_age": -1}
    spent = access_token(job, alice)
    settings.IMMORTUS_LIMITS = {}
    response = client.post("/immortus/token", **shown(spent))
    assert (response.status_code, response.json()["error"]["code"]) == (401, "token_expired")


def test_whoever_is_only_logged_in_gets_no_token_here(client, alice):
    client.force_login(alice)
    assert client.post("/immortus/token").status_code == 404
    assert client.get("/immortus/token").status_code == 405


# The same way


class Picky(TrackingStrategy):
    """Shows jobs to their owner; whatever is asked is written down."""

    asked: ClassVar[list[str]] = []

    def allows(self, user, job):
        self.asked.append("allows")
        if "owner" not in job.data and job.owner is None:
            raise KeyError
        return is_owner(user, job)

    def status(self, job_id):
        self.asked.append("status")


@pytest.mark.parametrize("how", ["verify/{}", "verify?job_id={}", "verify/{}/shop.paint", "jobs/{}/", "cancel/{}"])
def test_an_unknown_and_a_foreign_id_take_the_same_way_under_a_strategy(client, settings, how, caplog):
    settings.IMMORTUS_TRACKING_STRATEGY = f"{__name__}.Picky"
    Process("foreign", owner="4711").enqueued()
    ways, answers = [], []
    for job_id in ("unknown", "foreign"):
        Picky.asked.clear()
        send = client.post if how.startswith("cancel") else client.get
        answers.append(send(f"/immortus/{how}".format(job_id)))
        ways.append(list(Picky.asked))
    assert ways == [["allows", "status"]] * 2
    ours = rb"\b(unknown|foreign)\b|[A-Za-z0-9]{64}"  # the ids, and the CSRF token of a page
    assert len({(answer.status_code, re.sub(ours, b"", answer.content)) for answer in answers}) == 1
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_what_the_strategy_or_queue_tells_of_a_foreign_job_reaches_nobody(client, settings, monkeypatch):
    settings.IMMORTUS_TRACKING_STRATEGY = f"{__name__}.Picky"
    Process("foreign", owner="4711").enqueued()
    monkeypatch.setattr(unrecorded, "fetch", lambda user, job_id, job_class: Job(job_id=job_id, owner=str(user.pk)))
    client.force_login(User.objects.create(username="mallory"))
    assert client.get("/immortus/verify/foreign").status_code == 404
    assert client.get("/immortus/verify/unknown").status_code == 200


# Limits


@pytest.fixture
def _fresh():
    forget_quotas()
    yield
    forget_quotas()


@pytest.mark.usefixtures("_fresh")
def test_a_user_who_asks_too_often_is_told_to_wait_and_others_are_served(client, alice, settings):
    settings.IMMORTUS_LIMITS = {"requests_at_once": 3, "requests_per_second": 0.5}
    client.force_login(alice)
    answers = [client.get("/immortus/verify?job_id=a") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[-1].json()["error"]["code"] == "rate_limited"
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 2
    assert is_json_for_nobody_else(answers[-1])
    assert client.post("/immortus/cancel/a").status_code == 429
    assert Client().get("/immortus/verify?job_id=a").status_code == 200


@pytest.mark.usefixtures("_fresh")
def test_a_request_is_paid_for_by_the_number_of_its_ids(client, alice, settings):
    settings.IMMORTUS_LIMITS = {"requests_at_once": 4, "requests_per_second": 0.5}
    client.force_login(alice)
    ten = {"job_id": [str(n) for n in range(11)]}
    answers = [client.get("/immortus/verify", ten) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert is_json_for_nobody_else(answers[-1])
    assert answers[-1].json()["error"]["code"] == "rate_limited"
    assert Client().get("/immortus/verify", ten).status_code == 200


@pytest.mark.usefixtures("_fresh")
def test_a_token_that_names_many_jobs_is_renewed_at_their_price(client, alice, settings):
    settings.IMMORTUS_LIMITS = {"requests_at_once": 4, "requests_per_second": 0.5}
    header = {"Authorization": f"Bearer {access_token([str(n) for n in range(21)], alice)}"}
    assert [client.post("/immortus/token", headers=header).status_code for _ in range(3)] == [404, 429, 429]


@pytest.mark.django_db(transaction=True)
def test_a_user_who_asks_for_slow_answers_leaves_half_the_turns_to_others(alice, settings, monkeypatch):
    settings.IMMORTUS_LIMITS = {"requests_in_parallel": 2}
    monkeypatch.setattr(concurrency, "PATIENCE", 0.5)
    is_slow, slow = threading.Event(), threading.Event()

    def fetch(user, job_id, job_class):
        if job_id == "slow":
            is_slow.set()
            slow.wait(10)

    monkeypatch.setattr(unrecorded, "fetch", fetch)
    mine, hers = Client(), Client()
    hers.force_login(User.objects.create(username="other"))
    mine.force_login(alice)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(mine.get, "/immortus/verify/slow")
        assert is_slow.wait(5)
        second = threads.submit(mine.get, "/immortus/verify/slow")
        time.sleep(0.1)
        assert hers.get("/immortus/verify/a").status_code == 404
        assert second.result().status_code == 503
        slow.set()
        assert first.result().status_code == 404


@pytest.mark.usefixtures("_fresh")
def test_whoever_guesses_ids_waits_for_the_rest_of_the_minute(client, alice, settings, caplog):
    settings.IMMORTUS_LIMITS = {"denials": 150}
    client.force_login(alice)
    for start in (0, 100):
        client.get("/immortus/verify", {"job_id": [str(n) for n in range(start, start + 100)]})
    response = client.get("/immortus/verify/a")
    assert response.status_code == 429
    assert 0 < int(response.headers["Retry-After"]) <= 60
    assert [record.name for record in caplog.records].count("immortus_channels") == 1


# Jobs that the store does not know


class Knowing(TrackingStrategy):
    """Answers for jobs from records of its own."""

    def status(self, job_id):
        return {"old-1": "finished", "old-2": "failed", "old-3": "started"}.get(job_id, "what?")

    def allows(self, user, job):
        return True


class Silent(Knowing):
    allows = TrackingStrategy.allows


def test_a_strategy_may_answer_for_a_job_that_is_not_on_record(client, settings):
    settings.IMMORTUS_TRACKING_STRATEGY = Knowing
    told = {job_id: client.get(f"/immortus/verify/{job_id}").json() for job_id in ("old-1", "old-2", "old-3")}
    assert [told[job_id]["state"] for job_id in told] == ["finished", "failed", "running"]
    assert told["old-1"]["completed"] is True
    assert client.get("/immortus/verify/other").status_code == 404


def test_a_job_of_an_unknown_owner_is_hidden_unless_the_strategy_allows_it(client, settings):
    settings.IMMORTUS_TRACKING_STRATEGY = Silent
    assert client.get("/immortus/verify/old-1").status_code == 404
