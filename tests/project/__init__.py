from tests.project.clock import skew

skew()  # before anything else is imported

from tests.project.celery import app as celery_app  # noqa: E402

__all__ = ["celery_app"]
