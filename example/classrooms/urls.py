"""The addresses of the classrooms."""

from __future__ import annotations

from django.urls import path

from classrooms import views

urlpatterns = [
    path("", views.classrooms, name="classrooms"),
    path("<int:classroom_id>/", views.classroom, name="classroom"),
    path("<int:classroom_id>/transfer", views.transfer, name="transfer"),
]
