"""The small adapter of the how-to follows the jobs of the queue that it is for."""

from __future__ import annotations

import sys
import uuid
from types import ModuleType

import pytest

from immortus_channels import ConfigurationError, JobFailed, current_job, get_job, queues, started_by, tracked, tracking
from immortus_channels.queues.port import Port
from tests.pages_of_docs import ROOT, Page

SAMPLES = Page(ROOT / "docs/how-to/queues.md").samples
(SAMPLE,) = (one.text for one in SAMPLES if one.title == "shop/toyqueue_adapter.py")


class Task:
    """A function with a name."""

    def __init__(self, function):
        self.task_name, self.function = f"shop.{function.__name__}", function


class Message:
    """A task to run with these arguments."""

    def __init__(self, task, *args):
        self.id, self.task, self.args = uuid.uuid4().hex, task, args


class Broker(list):
    """Keeps messages."""

    def enqueue(self, message):
        self.append(message)
        return message


class Worker:
    """Runs messages."""

    def run(self, message):
        return message.task.function(*message.args)


@Task
@tracked(params=True, publish_result=True)
def add(a, b):
    if b is None:
        raise JobFailed("no_number", "A number is missing.")  # noqa: EM101
    current_job().set_meta(own_id=current_job().id)
    return a + b


@Task
def marked_later(a, b):
    if b is None:
        raise JobFailed("no_number", "A number is missing.")  # noqa: EM101
    current_job().set_meta(own_id=current_job().id)
    return a + b


tracked(marked_later, params=True, publish_result=True)


@Task
def untracked():
    return current_job().id


@pytest.fixture
def toy(settings, monkeypatch):
    """The library, with the adapter around it."""
    library = ModuleType("toyqueue")
    for kind in (Broker, Message, Worker):  # classes of their own, as the adapter changes them
        setattr(library, kind.__name__, type(kind.__name__, (kind,), {}))
    monkeypatch.setitem(sys.modules, "toyqueue", library)
    settings.IMMORTUS_STORE = {"BACKEND": "memory"}
    adapter = {}
    exec(SAMPLE, adapter)
    queue = adapter["ToyQueue"]()
    monkeypatch.setattr(queues, "connected", [queue])
    queue.connect(Port(queue, tracking))
    return library


@pytest.mark.parametrize("task", [add, marked_later])
def test_the_small_adapter_follows_a_job_from_its_sending_to_its_end(toy, task, django_user_model):
    with started_by(django_user_model(pk=7)):
        message = toy.Broker().enqueue(toy.Message(task, 1, 2))
    job = get_job(queues.connected[0].job_of(message)[0])
    assert (job.state, job.owner, job.params, job.job_class) == ("enqueued", "7", {"a": 1, "b": 2}, task.task_name)
    assert toy.Worker().run(message) == 3
    document = get_job(job.id).document
    assert (document["state"], document["attempt"], document["result"]) == ("finished", 1, 3)
    assert document["own_id"] == job.id


@pytest.mark.parametrize("task", [add, marked_later])
def test_the_small_adapter_tells_how_a_job_failed(toy, task):
    message = toy.Broker().enqueue(toy.Message(task, 1, None))
    with pytest.raises(JobFailed):
        toy.Worker().run(message)
    assert get_job(message.id).document["error"]["code"] == "no_number"


@pytest.mark.parametrize("task", [add, marked_later])
def test_the_small_adapter_runs_no_job_that_was_cancelled(toy, task):
    message = toy.Broker().enqueue(toy.Message(task, 1, 2))
    get_job(message.id).cancel()
    assert toy.Worker().run(message) is None
    assert get_job(message.id).state == "cancelled"


def test_the_small_adapter_leaves_other_tasks_alone(toy):
    assert toy.Worker().run(toy.Broker().enqueue(toy.Message(untracked))) == ""


def test_the_small_adapter_refuses_to_name_the_job_of_an_untracked_task(toy):
    message = toy.Broker().enqueue(toy.Message(untracked))
    with pytest.raises(ConfigurationError, match=r"shop\.untracked"):
        queues.connected[0].job_of(message)
