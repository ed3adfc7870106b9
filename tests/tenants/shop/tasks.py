from __future__ import annotations

import os
import signal
import time

from celery import shared_task
from django.contrib.auth import get_user_model
from django.db import connection
from django_tenants.utils import schema_context

from immortus_channels import TrackingStrategy, current_job, get_job, tracked


class Counted(TrackingStrategy):
    """Tells on the document which users its hooks find in the database."""

    def meta(self, job_id):
        names = get_user_model().objects.order_by("pk").values_list("username", flat=True)
        return {"users": list(names), "asked_for": job_id, "state_here": self.job(job_id).state}

    def allows(self, user, job):
        """Only who is in the tenant's own table, by the id and the owner that the tenant knows."""
        is_here = get_user_model().objects.filter(pk=user.pk, username=getattr(user, "username", "")).exists()
        return is_here and "\x1f" not in job.job_id and super().allows(user, job)


@shared_task
@tracked(params=True)
def imports(steps=3, pause=0.05):
    for _ in current_job().track(range(steps)):
        time.sleep(pause)
    job = current_job()
    job.set_meta(knows_itself=get_job(job.id).id, schema=connection.schema_name)


@shared_task
@tracked(strategy=Counted)
def counted():
    current_job().update(percentage=50)
    time.sleep(0.3)


@shared_task
@tracked
def starts_another(inner):
    imports.apply_async(task_id=inner)


@shared_task
@tracked
def dies():
    os.kill(os.getpid(), signal.SIGKILL)


@shared_task
def untracked_starts_a_chain():
    """What stands before a job in a chain."""


@shared_task
@tracked
def remind_all():
    """Start a job of the same id in each tenant, as a nightly job of the public schema does."""
    for name in ("a", "b"):
        with schema_context(name):
            imports.apply_async(task_id="reminded-17")
