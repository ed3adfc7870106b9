"""`manage.py check` finds what makes jobs run twice, without end, or not at all; and loads nothing for that."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from immortus_channels import queues
from immortus_channels.checks import named
from immortus_channels.queues import tracked

ROOT = Path(__file__).parents[3]


@pytest.fixture
def found(queue, conf, work, monkeypatch):
    """Return the messages about a cluster with these settings; by default all is well with it."""

    def found(*marked, **given):
        well = {"TIMEOUT": 30, "RETRY": 121, "WORKERS": 2, "QUEUE_LIMIT": 4, "BULK": 1, "MAX_ATTEMPTS": 1}
        for name, value in (well | {"SYNC": False, "ACK_FAILURES": False} | given).items():
            monkeypatch.setattr(conf, name, value)
        monkeypatch.setattr(tracked, "places", {f"{work.__name__}.{name}" for name in marked})
        return {message.id.rpartition(".")[2]: message for message in queue.problems()}

    return found


def test_a_cluster_with_sound_settings_has_no_problem(found):
    assert found("double") == {}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"TIMEOUT": None}, "no timeout, so a job that takes longer than its retry (121 s)"),
        ({"RETRY": 119}, "run until 120 s later: the job is then run a second time"),
        ({"QUEUE_LIMIT": 20}, "run until 360 s later"),
        ({"QUEUE_LIMIT": 0}, "and run for any time"),
    ],
)
def test_a_message_that_may_come_back_too_early_is_a_problem(found, given, words):
    assert words in found("double", **given)["W047"].msg


def test_failures_without_end_are_a_problem(found):
    assert "never to have failed" in found("double", MAX_ATTEMPTS=0)["W049"].msg
    assert found("double", MAX_ATTEMPTS=0, ACK_FAILURES=True) == {}


@pytest.mark.parametrize("given", [{"ORM": None}, {"SYNC": True}])
def test_what_never_comes_back_has_neither_problem(found, given):
    assert found("double", MAX_ATTEMPTS=0, TIMEOUT=None, **given) == {}


def test_settings_do_not_matter_before_there_is_a_tracked_function(found):
    assert found(MAX_ATTEMPTS=0, TIMEOUT=None) == {}


def test_a_coroutine_function_is_a_problem(found, work):
    message = found("awaited")["W048"]
    assert f"'{work.__name__}.awaited' is an `async def`" in message.msg


def test_a_marked_function_needs_no_decorator_here(queue, work, monkeypatch):
    assert list(named.check_marks()) == []
    monkeypatch.setattr(queues, "connected", [])
    assert {message.id for message in named.check_marks()} == {"immortus_channels.W012"}


SET_UP = """
import django, sys, warnings
from django.conf import settings
warnings.simplefilter("ignore")
settings.configure(INSTALLED_APPS=["django.contrib.contenttypes", "django_q", "immortus_channels"], SECRET_KEY="s")
django.setup()
from immortus_channels import queues
print(*(queue.name for queue in queues.connected))
print(*(name for name in sys.modules if name.startswith("immortus_channels.")))
"""


@pytest.mark.usefixtures("queue")
def test_a_set_up_django_has_neither_writer_nor_store():
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", SET_UP], env=env, check=True, capture_output=True, text=True)
    names, modules = ran.stdout.splitlines()
    assert names == "django-q2"
    rooms = {name.split(".")[1] for name in modules.split()}
    assert not rooms & {"jobs", "stores", "writer", "push", "tracking", "conf"}
