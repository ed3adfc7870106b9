"""CSRF: checked as everywhere in the project, but for requests that no other site can make."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.middleware.csrf import CsrfViewMiddleware
from django.test import Client

from immortus_channels import access_token, tracking
from immortus_channels.urls import immortus_jobs
from tests.pages import Process

urlpatterns = [*immortus_jobs()]
pytestmark = [pytest.mark.urls(__name__), pytest.mark.django_db]


@pytest.fixture(autouse=True)
def _memory(settings):
    settings.IMMORTUS_STORE = {"BACKEND": "memory"}


@pytest.fixture
def alice():
    return User.objects.create(username="alice", password="x")


@pytest.fixture
def job(alice):
    job = Process(owner=str(alice.pk))
    job.enqueued()
    return job


@pytest.fixture
def browser(alice):
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(alice)
    return browser


def state(job):
    return tracking.read([job.job_id])[job.job_id].state


def test_a_session_needs_the_csrf_token(browser, job):
    response = browser.post(f"/immortus/cancel/{job.job_id}")
    assert (response.status_code, state(job)) == (403, "enqueued")


def test_the_csrf_token_is_accepted_as_everywhere(browser, job):
    browser.cookies["csrftoken"] = "a" * 32
    response = browser.post(f"/immortus/cancel/{job.job_id}", headers={"X-CSRFToken": "a" * 32})
    assert (response.status_code, state(job)) == (202, "cancelled")


def test_an_access_token_needs_none(alice, job):
    headers = {"Authorization": f"Bearer {access_token(job, alice)}"}
    response = Client(enforce_csrf_checks=True).post(f"/immortus/cancel/{job.job_id}", headers=headers)
    assert (response.status_code, state(job)) == (202, "cancelled")


@pytest.mark.parametrize("token", ["immortus.forged", "somebody-elses"])
def test_a_token_that_is_no_good_opens_no_session_to_other_sites(browser, job, token):
    response = browser.post(f"/immortus/cancel/{job.job_id}", headers={"Authorization": f"Bearer {token}"})
    assert response.status_code in (403, 404)
    assert state(job) == "enqueued"


class Stricter(CsrfViewMiddleware):
    """A middleware of the project's own."""

    def process_view(self, request, callback, callback_args, callback_kwargs):
        if "X-Our-Site" in request.headers:
            return super().process_view(request, callback, callback_args, callback_kwargs)
        return self._reject(request, "no header of ours")


def test_the_projects_own_kind_of_check_is_the_one_that_is_made(browser, job, settings):
    django, own = "django.middleware.csrf.CsrfViewMiddleware", f"{__name__}.Stricter"
    settings.MIDDLEWARE = [own if path == django else path for path in settings.MIDDLEWARE]
    browser.cookies["csrftoken"] = "a" * 32
    assert browser.post(f"/immortus/cancel/{job.job_id}", headers={"X-CSRFToken": "a" * 32}).status_code == 403


def test_a_project_without_the_check_stays_without_it(browser, job, settings):
    settings.MIDDLEWARE = [path for path in settings.MIDDLEWARE if "csrf" not in path]
    assert browser.post(f"/immortus/cancel/{job.job_id}").status_code == 202
