"""Both polling views, behind the same session and login."""

from __future__ import annotations

from celery_progress.views import get_progress
from django.contrib.auth.decorators import login_required
from django.urls import path

import benchmarks.site.celery  # noqa: F401 - its result backend is the view's
from immortus_channels.urls import immortus_jobs

urlpatterns = [*immortus_jobs(), path("celery-progress/<task_id>/", login_required(get_progress))]
