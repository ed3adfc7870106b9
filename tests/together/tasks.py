"""The same task in seven queues: it paints, fails or starts the next queue's, as it is told."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import dramatiq
from celery import shared_task
from django_q.tasks import async_task
from django_rq import job as rq_job
from huey.contrib.djhuey import db_task
from procrastinate.contrib.django import app as procrastinate

from immortus_channels import JobFailed, current_job, tracked
from immortus_channels.queues.results import identify

try:
    from django.tasks import task as django_task
except ImportError:
    from django_tasks import task as django_task


def paint(what: str) -> None:
    """Do what is asked for."""
    match what.split():
        case ["raises"]:
            msg = "a secret of the painter's"
            raise ValueError(msg)
        case ["fails"]:
            code = "no_paint"
            raise JobFailed(code, "There is no paint left.")
        case ["starts", queue]:
            current_job().set_meta(started=start(queue, "paints"))
        case _:
            for _ in current_job().track(range(300 if what == "paints on" else 15), message="Painting"):
                time.sleep(0.2)


@shared_task
@tracked
def by_celery(what: str) -> None:
    """Is Celery's."""
    paint(what)


@django_task
@tracked
def by_django(what: str) -> None:
    """Is the one of django.tasks."""
    paint(what)


@rq_job
@tracked
def by_rq(what: str) -> None:
    """Is RQ's."""
    paint(what)


@db_task()
@tracked
def by_huey(what: str) -> None:
    """Is Huey's."""
    paint(what)


@tracked
def by_django_q(what: str) -> None:
    """Is Django-Q2's."""
    paint(what)


@dramatiq.actor(max_retries=0)
@tracked
def by_dramatiq(what: str) -> None:
    """Is Dramatiq's."""
    paint(what)


@procrastinate.task
@tracked
def by_procrastinate(what: str) -> None:
    """Is Procrastinate's."""
    paint(what)


SEND: dict[str, Callable[[str], Any]] = {
    "celery": by_celery.delay,
    "django.tasks": by_django.enqueue,
    "rq": by_rq.delay,
    "huey": by_huey,
    "django-q2": lambda what: async_task(by_django_q, what),
    "dramatiq": by_dramatiq.send,
    "procrastinate": lambda what: by_procrastinate.defer(what=what),
}
"""By the names of the queues, what sends the task and returns what that queue returns."""


def start(queue: str, what: str) -> str:
    """Send the task by this queue; return the id of its job."""
    sent = SEND[queue](what)
    return identify(sent, queue if queue == "procrastinate" else None)[0]
