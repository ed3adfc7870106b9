"""Both polling views, behind the same session and login, and one that has to do with neither."""

from __future__ import annotations

from celery_progress.views import get_progress
from django.apps import apps
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.urls import path

import benchmarks.site.celery  # noqa: F401 - its result backend is the view's


def hello(_: HttpRequest) -> HttpResponse:
    """Answer at once."""
    return HttpResponse("hello")


urlpatterns = [path("hello", hello), path("celery-progress/<task_id>/", login_required(get_progress))]

if apps.is_installed("immortus_channels"):
    from immortus_channels.urls import immortus_jobs

    urlpatterns += immortus_jobs()
