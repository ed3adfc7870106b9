"""The addresses of the project with tenants, of each tenant and of the public schema alike."""

from __future__ import annotations

from django.contrib import admin
from django.urls import path

from immortus_channels.urls import immortus_jobs
from tests.tenants import views

urlpatterns = [
    *immortus_jobs(path("start/<name>", views.start)),
    path("log-in/<name>", views.log_in),
    path("start-async/<job_id>", views.start_async),
    path("streamed/<job_id>", views.streamed),
    path("chain/<job_id>", views.start_chain),
    path("elsewhere/<job_id>", views.elsewhere),
    path("create/<job_id>", views.create),
    path("api/<job_id>", views.api),
    path("token/<job_id>", views.token),
    path("page/<job_id>", views.page),
    path("admin/", admin.site.urls),
]
