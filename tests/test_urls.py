"""Addresses: every id that fits has one, and they work under any prefix."""

from __future__ import annotations

import pytest
from django.http import HttpResponse
from django.urls import NoReverseMatch, include, path, resolve, reverse

from immortus_channels.http import views
from immortus_channels.jobs.ids import fits_path
from immortus_channels.urls import immortus_jobs


def start(request):
    return HttpResponse()


urlpatterns = [
    path("first", start, name="first"),
    *immortus_jobs(path("process_image", start, name="process_image")),
    path("deep/down/", include("immortus_channels.urls", namespace="elsewhere")),
]
pytestmark = pytest.mark.urls(__name__)

FITTING = ["a", "a" * 255, "908ec6f1-e093-4943-b7a8-7c84eccfe417", "a.b", "A_z~9:x@y-", "~"]
OTHERS = ["", "a" * 256, ".", "..", ".a", "a.", "a/b", "a b", "é", "a%2fb", "a\n", "a?b", "a#b", "a\0"]


def test_the_given_patterns_stand_where_they_stood():
    assert reverse("process_image") == "/process_image"
    assert reverse("immortus:verify") == "/immortus/verify"


def test_patterns_may_be_given_in_a_list():
    one, *others = (path(name, start, name=name) for name in "abc")
    assert immortus_jobs(one, others)[1:] == immortus_jobs([one, *others])[1:] == [one, *others]


@pytest.mark.parametrize("job_id", FITTING)
def test_ids_that_fit_go_into_the_path(job_id):
    for name in ("verify", "cancel"):
        url = reverse(f"immortus:{name}", kwargs={"job_id": job_id})
        assert url == f"/immortus/{name}/{job_id}"
        assert resolve(url).kwargs == {"job_id": job_id}


@pytest.mark.parametrize("job_id", OTHERS)
def test_other_ids_do_not(job_id):
    assert not fits_path(job_id)
    with pytest.raises(NoReverseMatch):
        reverse("immortus:verify", kwargs={"job_id": job_id})


@pytest.mark.case(19)
@pytest.mark.parametrize("path", ["..", "a/b/c", ".a", "a%20b", "a b", "a" * 256])
@pytest.mark.parametrize("name", ["verify", "cancel"])
def test_paths_that_are_no_ids_name_no_job(path, name):
    assert resolve(f"/immortus/{name}/{path}").func is views.unfit


def test_the_class_follows_the_id():
    assert resolve("/immortus/verify/a.b/shop.tasks.paint").kwargs == {"job_id": "a.b", "job_class": "shop.tasks.paint"}
