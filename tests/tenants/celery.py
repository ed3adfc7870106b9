"""The Celery app of the project with tenants."""

from __future__ import annotations

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.tenants.settings")
app = Celery("tenants")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
