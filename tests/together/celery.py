"""The Celery app of the project with seven queues."""

from __future__ import annotations

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.together.settings")
app = Celery("together")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
