"""Signals of tasks that are no jobs pass, and load nothing; those that may concern a job arrive."""

from __future__ import annotations

import subprocess
import sys
import uuid
from pathlib import Path
from types import SimpleNamespace

import pytest
from celery import Celery, _state, chain, signals
from celery.app.trace import build_tracer

from immortus_channels import tracked
from immortus_channels.jobs.job import State
from immortus_channels.queues import classes
from immortus_channels.queues.celery import receivers
from immortus_channels.stores import get_store

ROOT = Path(__file__).parent.parent.parent

app = Celery("tests.receivers", broker="memory://", backend="cache+memory://", set_as_current=False)


@app.task(shared=False)
def untracked() -> None:
    """Nobody follows it."""


@app.task(shared=False)
@tracked
def followed() -> None:
    """Its jobs are followed."""


@pytest.fixture
def _in_use(settings, monkeypatch):
    settings.IMMORTUS_STORE = {"BACKEND": "memory"}
    monkeypatch.setattr(_state._tls, "current_app", app)
    app.finalize()


@pytest.fixture
def heard(_in_use, monkeypatch):
    """The methods that signals reached."""
    names: list[str] = []

    class Noting:
        def __getattr__(self, name):
            return lambda **_: names.append(name)

    for receiver in ("_sender", "_runner"):
        monkeypatch.setattr(receivers.Receivers, receiver, lambda _: Noting())
    return names


def run(task) -> None:
    job_id = str(uuid.uuid4())
    request = {"id": job_id, "task": task.name, "delivery_info": {}, "hostname": "here"}
    build_tracer(task.name, task, app=app)(job_id, (), {}, request)


def test_no_signal_of_an_untracked_task_reaches_anything(heard):
    result = untracked.delay()
    run(untracked)
    assert heard == []
    assert classes.class_of(result.id) == untracked.name


def test_the_signals_of_a_tracked_task_arrive(heard):
    followed.delay()
    run(followed)
    assert heard == ["before", "prerun"]


def test_an_untracked_task_that_a_job_waits_for_is_heard_of(heard):
    chain(untracked.si(), followed.si()).apply_async()
    assert heard == ["before"]


def test_a_task_that_is_tracked_later_is_heard_of_from_then_on(heard):
    @app.task(shared=False)
    def late() -> None:
        """Tracked later."""

    late.delay()
    assert heard == []
    tracked(late)
    late.delay()
    assert heard == ["before"]


def test_a_task_that_replaces_an_untracked_one_is_heard_of(heard):
    @app.task(shared=False, bind=True)
    def replaced(self) -> None:
        self.replace(untracked.si())

    run(replaced)
    assert "before" in heard


NOTHING_TRACKED = """
import django, sys, uuid; django.setup()
from celery import Celery
from celery.app.trace import build_tracer
app = Celery(broker="memory://", backend="cache+memory://")
import immortus_channels.tasks
@app.task
def untracked(): pass
untracked.delay()
job_id = str(uuid.uuid4())
request = {"id": job_id, "task": untracked.name, "delivery_info": {}, "hostname": "here"}
build_tracer(untracked.name, untracked, app=app)(job_id, (), {}, request)
print(*(name for name in sys.modules if name.startswith("immortus_channels.")))
"""


def test_a_worker_without_tracked_tasks_loads_neither_writer_nor_store():
    settings = {"DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, "-c", NOTHING_TRACKED], env=settings, check=True, capture_output=True, text=True
    )
    rooms = {name.split(".")[1] for name in ran.stdout.split()}
    assert "queues" in rooms
    assert not rooms & {"jobs", "stores", "writer", "push", "tracking", "websocket", "http", "api"}


@pytest.mark.usefixtures("_in_use")
def test_a_message_without_a_header_that_was_revoked_is_a_job_for_staff():
    request = SimpleNamespace(id=str(uuid.uuid4()), is_eager=False, chain=None, chord=None)
    signals.task_revoked.send(sender=followed, request=request, terminated=False, signum=None, expired=False)
    job = get_store().get_many([request.id]).jobs[request.id]
    assert (job.state, job.staff_only, job.queue) == (State.CANCELLED, True, "celery")
