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

from immortus_channels import queues, tracked, tracking
from immortus_channels.jobs.events import Enqueued
from immortus_channels.jobs.job import State
from immortus_channels.queues import classes
from immortus_channels.queues.celery import receivers
from immortus_channels.queues.port import Port
from immortus_channels.stores import get_store

ROOT = Path(__file__).parent.parent.parent

app = Celery("tests.receivers", broker="memory://", backend="cache+memory://", set_as_current=False)


@app.task(shared=False)
def untracked() -> None:
    """Nobody follows it."""


@app.task(shared=False)
@tracked
def followed() -> str:
    """Its jobs are followed."""
    return "done"


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


def run(task, job_id="") -> object:
    job_id = job_id or str(uuid.uuid4())
    request = {"id": job_id, "task": task.name, "delivery_info": {}, "hostname": "here"}
    return build_tracer(task.name, task, app=app)(job_id, (), {}, request).retval


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


def test_a_task_not_looked_up_yet_is_heard_of_whatever_others_noted(heard, monkeypatch):
    monkeypatch.setattr(receivers, "unmarked", {None})
    mine = receivers.Receivers(None, queues.by_name("celery").options_of)
    dict(mine.each())[signals.before_task_publish](sender=followed.name, body=((), {}, {}), headers={"id": "a"})
    assert heard == ["before"]


def test_an_untracked_task_may_have_an_id_that_is_not_text(heard):
    job_id = uuid.uuid4()
    untracked.apply_async(task_id=job_id)
    assert classes.class_of(str(job_id)) == untracked.name


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


@pytest.mark.usefixtures("_in_use")
def test_a_message_without_a_header_that_was_revoked_is_a_job_for_staff():
    request = SimpleNamespace(id=str(uuid.uuid4()), is_eager=False, chain=None, chord=None)
    signals.task_revoked.send(sender=followed, request=request, terminated=False, signum=None, expired=False)
    job = get_store().get_many([request.id]).jobs[request.id]
    assert (job.state, job.staff_only, job.queue) == (State.CANCELLED, True, "celery")


@pytest.mark.usefixtures("_in_use")
def test_what_tracking_raises_reaches_no_signal_of_celery(monkeypatch, caplog):
    def breaks(*_, **__):
        raise ZeroDivisionError

    for method in ("prepare", "begin"):
        monkeypatch.setattr(Port, method, breaks)
    followed.delay()
    assert run(followed) == "done"
    assert [(record.name, record.args) for record in caplog.records] == [
        ("immortus_channels", ("Sending.before",)),
        ("immortus_channels", ("Running.prerun",)),
    ]


@pytest.mark.usefixtures("_in_use")
@pytest.mark.parametrize("error", [None, RuntimeError()], ids=["returns", "raises"])
def test_a_task_with_the_id_of_another_queue_s_job_runs_untracked(error, monkeypatch):
    job_id = str(uuid.uuid4())
    tracking.publish(Enqueued(job_id=job_id, job_class="resize", queue="toy"))
    before = get_store().get_many([job_id]).jobs
    monkeypatch.setattr(followed, "run", lambda: raised(error))
    run(followed, job_id)
    followed.apply_async(task_id=job_id)
    assert get_store().get_many([job_id]).jobs == before


@pytest.mark.usefixtures("_in_use")
def test_a_follower_of_a_revoked_task_that_is_another_queue_s_stays():
    revoked, of_celery, of_toy = (str(uuid.uuid4()) for _ in range(3))
    for job_id, queue in ((of_celery, "celery"), (of_toy, "toy")):
        tracking.publish(Enqueued(job_id=job_id, job_class=followed.name, queue=queue))
    chain = [followed.si().set(task_id=job_id) for job_id in (of_celery, of_toy)]
    request = SimpleNamespace(id=revoked, is_eager=False, chain=chain, chord=None)
    signals.task_revoked.send(sender=followed, request=request, terminated=False, signum=None, expired=False)
    jobs = get_store().get_many([of_celery, of_toy]).jobs
    assert (jobs[of_celery].state, jobs[of_toy].state) == (State.CANCELLED, State.ENQUEUED)


def raised(error):
    if error is not None:
        raise error
