"""Signals of tasks that are no jobs pass, and load nothing; those that may concern a job arrive."""

from __future__ import annotations

import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from celery import Celery, _state, chain, signals
from celery.app.trace import build_tracer

from immortus_channels import queues, tracked
from immortus_channels.queues.celery import receivers

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
def heard(settings, monkeypatch):
    """The methods that signals reached."""
    settings.IMMORTUS_STORE = {"BACKEND": "memory"}
    monkeypatch.setattr(_state._tls, "current_app", app)
    app.finalize()
    names: list[str] = []

    def note(method, *_, **__):
        names.append(method.__name__)

    monkeypatch.setattr(receivers, "guarded", note)
    return names


def run(task) -> None:
    job_id = str(uuid.uuid4())
    request = {"id": job_id, "task": task.name, "delivery_info": {}, "hostname": "here"}
    build_tracer(task.name, task, app=app)(job_id, (), {}, request)


def test_no_signal_of_an_untracked_task_reaches_anything(heard):
    result = untracked.delay()
    run(untracked)
    assert heard == []
    assert queues.class_of(result.id) == untracked.name


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


def test_a_tracked_task_that_takes_an_untracked_ones_name_is_heard_of(heard):
    @tracked
    def marked() -> None:
        """Marked before the other is sent."""

    def other() -> None:
        """Untracked."""

    app.task(other, name="taken", shared=False).delay()
    assert heard == []
    del app.tasks["taken"]
    app.task(marked, name="taken", shared=False).delay()
    assert heard == ["before"]


def test_an_untracked_task_may_have_an_id_that_is_not_text(heard):
    job_id = uuid.uuid4()
    untracked.apply_async(task_id=job_id)
    assert queues.class_of(str(job_id)) == untracked.name


class Request:
    """A delivery as a worker's main process has it."""

    def __init__(self, job_id, **embed) -> None:
        self.id, self.type, self.request_dict, self._payload = job_id, untracked.name, {}, ((), {}, embed)


def test_a_worker_notes_only_deliveries_that_may_concern_a_job(heard):
    mine = receivers.Receivers(None, queues.connected[0].options_of)
    deliveries = [Request("plain", chain=None, chord=None), Request("awaited", chain=[followed.s()])]
    for delivery in deliveries:
        dict(mine.each())[signals.task_received](request=delivery)
    assert list(mine._requests) == ["awaited"]
    assert heard == []


def test_a_task_that_replaces_an_untracked_one_is_heard_of(heard):
    @app.task(shared=False, bind=True)
    def replaced(self) -> None:
        self.replace(untracked.si())

    run(replaced)
    assert "before" in heard


NOTHING_TRACKED = """
import django, sys, uuid; django.setup()
from celery import Celery, signals
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
print(len(signals.after_task_publish.receivers))
"""


def test_a_worker_without_tracked_tasks_loads_neither_writer_nor_store():
    settings = {"DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, "-c", NOTHING_TRACKED], env=settings, check=True, capture_output=True, text=True
    )
    modules, connected = ran.stdout.splitlines()
    rooms = {name.split(".")[1] for name in modules.split()}
    assert "queues" in rooms
    assert not rooms & {"jobs", "stores", "writer", "push", "tracking", "websocket", "http", "api"}
    assert connected == "0"  # to be called once a message was sent


def test_a_receiver_that_raises_is_logged(caplog):
    def breaks(**_: object) -> None:
        raise ZeroDivisionError

    receivers.guarded(breaks)
    assert "Tracking failed in breaks" in caplog.text
