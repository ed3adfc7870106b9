"""The project's addresses."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from immortus_channels.urls import immortus_jobs
from tests.project import views

urlpatterns = [
    *immortus_jobs(
        path("start/<name>", views.start),
        path("", include("tests.seeds.urls")),
    ),
    path("start-in-transaction/<name>", views.start_in_transaction),
    path("read-then-write/<name>", views.read_then_write),
    path("start-under-any-id/<name>", views.start_under_any_id),
    path("start-async/<name>", views.start_async),
    path("make/<job_id>", views.make),
    path("async-make/<job_id>", views.async_make),
    path("async-say/<job_id>", views.async_say),
    path("async-stop/<job_id>", views.async_stop),
    path("start-on-commit", views.start_on_commit),
    path("canvas/<name>", views.canvas),
    path("linked/<name>/<job_id>", views.linked),
    path("log-in/<name>", views.log_in),
    path("log-out", views.log_out),
    path("token/<job_id>", views.token),
    path("page", views.page),
    path("transfer", views.transfer),
    path("flashes", views.flashes),
    path("admin/", admin.site.urls),
]
