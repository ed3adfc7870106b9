"""The Celery application: celery-progress keeps its states in its result backend."""

from __future__ import annotations

from celery import Celery

app = Celery("benchmarks")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.set_default()
