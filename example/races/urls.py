"""The addresses of the marathons."""

from __future__ import annotations

from django.urls import path

from races import views

urlpatterns = [
    path("", views.marathons, name="marathons"),
    path("start", views.start, name="start"),
]
