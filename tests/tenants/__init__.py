"""A small real site with django-tenants: each tenant has its users, sessions and permissions in a schema of its own."""

from tests.tenants.celery import app as celery_app

__all__ = ["celery_app"]
