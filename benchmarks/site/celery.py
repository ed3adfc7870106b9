"""The Celery applications: celery-progress keeps its states in the result backend of one; the other needs no server."""

from __future__ import annotations

from celery import Celery

app = Celery("benchmarks")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.set_default()

local = Celery("local", broker="memory://localhost/", set_as_current=False)


@local.task(name="benchmarks.nothing", ignore_result=True)  # type: ignore[untyped-decorator]
def nothing() -> None:
    """Nothing, untracked."""
