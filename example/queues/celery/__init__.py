"""Celery: with a folder as its broker, or Redis."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from queues.base import Queue


class Celery(Queue):
    """Two processes that take jobs; the app is in `config/celery.py`, as in any Django project."""

    name = "celery"
    title = "Celery"
    worker = (
        *("-m", "celery", "--quiet", "--app", "config", "worker"),
        *("--concurrency", os.environ.get("DEMO_WORKERS", "2"), "--loglevel", "WARNING"),
        *("--without-gossip", "--without-mingle"),
    )
    has_all_pages = True
    tells_when_ready = True

    def settings(self, var: Path) -> Mapping[str, Any]:
        """The broker. A worker takes only what it can run at once, so a killed one takes no waiting job with it."""
        redis = os.environ.get("REDIS_URL", "")
        folder = {
            "data_folder_in": str(var / "broker"),
            "data_folder_out": str(var / "broker"),
            "control_folder": str(var / "broker" / "control"),
            "polling_interval": 0.1,
        }
        return {
            "CELERY_BROKER_URL": redis or "folder://localhost/",
            "CELERY_BROKER_TRANSPORT_OPTIONS": {} if redis else folder,
            "CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP": True,
            "CELERY_TASK_IGNORE_RESULT": True,
            "CELERY_WORKER_PREFETCH_MULTIPLIER": 1,
            "CELERY_TASK_ACKS_LATE": True,
        }

    def send(self, task: Any, photo: str) -> Any:
        """Return an AsyncResult."""
        return task.delay(photo)


queue = Celery()
