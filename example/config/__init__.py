"""The example's project: settings, addresses, servers and the Celery app."""

from queues import chosen

if chosen().name == "celery":
    from config.celery import app as celery_app

    __all__ = ["celery_app"]
