"""A small real site whose tasks are of seven queues at once; each queue has its own worker command."""

from tests.together.celery import app as celery_app

__all__ = ["celery_app"]
