"""The classrooms."""

from __future__ import annotations

from django.apps import AppConfig


class ClassroomsConfig(AppConfig):
    """A school that moves its students around; a worker does it while the person waits."""

    name = "classrooms"
