"""The Celery app, as any Django project has it."""

from __future__ import annotations

import os

from celery import Celery
from celery.signals import worker_ready
from django.conf import settings

from config import broker  # noqa: F401 - makes `folder://` known

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("example")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@worker_ready.connect
def tell_that_the_worker_is_ready(**_: object) -> None:
    """Let `serve.py` see when there is somebody to do the jobs."""
    (settings.VAR / "worker.ready").touch()
