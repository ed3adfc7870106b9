"""Every id has its addresses, below any prefix and SCRIPT_NAME; what fits no path goes by query."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
from django.urls import set_script_prefix

from immortus_channels.api.links import page_url, verify_url, websocket_url
from immortus_channels.urls import immortus_jobs

urlpatterns = [*immortus_jobs()]
pytestmark = pytest.mark.urls(__name__)


def test_an_id_that_fits_goes_in_the_path():
    assert (verify_url("a.b"), page_url("a.b"), websocket_url("a.b")) == (
        "/immortus/verify/a.b",
        "/immortus/jobs/a.b/",
        "/ws/immortus/a.b/",
    )


@pytest.mark.parametrize(("job_id", "query"), [("a/b é", "a%2Fb+%C3%A9"), ("..", ".."), ("?&#", "%3F%26%23")])
def test_every_other_id_goes_by_query(job_id, query):
    assert (verify_url(job_id), page_url(job_id), websocket_url(job_id)) == (
        f"/immortus/verify?job_id={query}",
        f"/immortus/jobs/?job_id={query}",
        "/ws/immortus/",
    )


def test_they_stand_below_the_script_name():
    set_script_prefix("/app/")
    try:
        assert (page_url("a"), websocket_url()) == ("/app/immortus/jobs/a/", "/app/ws/immortus/")
    finally:
        set_script_prefix("/")


@pytest.mark.urls("tests.nowhere")
def test_without_the_packages_urls_a_job_has_no_page(monkeypatch):
    monkeypatch.setitem(sys.modules, "tests.nowhere", SimpleNamespace(urlpatterns=[]))
    assert page_url("a") is None


def test_without_websockets_there_is_no_socket(settings):
    settings.IMMORTUS_WEBSOCKET = False
    assert websocket_url("a") is None
