"""The queues in use, and what a queue adapter may leave out."""

from __future__ import annotations

from collections import deque

import pytest

from immortus_channels import queues
from immortus_channels.exceptions import ConfigurationError
from immortus_channels.jobs.job import Job
from immortus_channels.queues import classes
from immortus_channels.queues.base import Queue
from immortus_channels.queues.tracked import TaskOptions
from immortus_channels.recent import Recent
from tests.toys import ToyQueue


@pytest.fixture
def two(monkeypatch):
    first, second = ToyQueue("first", a=TaskOptions(params=True)), ToyQueue("second", b=TaskOptions())
    monkeypatch.setattr(queues, "connected", [first, second])
    return first, second


def test_a_task_is_found_with_its_queue_and_its_mark(two):
    assert queues.find("a") == (two[0], TaskOptions(params=True))
    assert queues.find("b") == (two[1], TaskOptions())


def test_an_unknown_task_belongs_to_the_only_queue_there_is(two, monkeypatch):
    assert queues.find("c") == (None, None)
    monkeypatch.setattr(queues, "connected", [two[0]])
    assert queues.find("c") == (two[0], None)
    monkeypatch.setattr(queues, "connected", [])
    assert queues.find("c") == (None, None)


def test_a_task_s_name_does_not_tell_which_queue_a_job_is_on(monkeypatch):
    any_function, own, other = ToyQueue("any", a=TaskOptions()), ToyQueue("own", a=TaskOptions()), ToyQueue("other")
    monkeypatch.setattr(queues, "connected", [any_function, own, other])
    assert queues.that_may_run("a") == [any_function, own]
    assert queues.that_may_run("b") == [any_function, own, other]


def test_a_queue_is_found_by_its_name(two):
    assert queues.by_name("second") is two[1]
    assert queues.by_name("third") is None


def test_the_tracked_names_are_those_of_every_queue(two):
    assert queues.tracked_names() == {"a", "b"}


def test_a_task_tells_its_registered_name(two):
    assert queues.name_of("b") == "b"


def test_a_signature_tells_the_name_of_its_task(two):
    class Signature:
        task = "a"

    assert queues.name_of(Signature()) == "a"


@pytest.mark.case(13)
def test_what_is_no_task_is_refused_by_name(two):
    with pytest.raises(ConfigurationError, match=r"3\.5 is not a task of any task queue in use"):
        queues.name_of(3.5)


def test_what_was_sent_lately_is_remembered_and_the_oldest_forgotten(monkeypatch):
    monkeypatch.setattr(classes, "_sent", Recent(2))
    for job_id in ("1", "2", "3"):
        classes.remember(job_id, f"class {job_id}")
    assert [classes.class_of(job_id) for job_id in ("1", "2", "3")] == [None, "class 2", "class 3"]


def test_others_may_send_while_the_class_of_a_task_is_looked_up(monkeypatch):
    class Sends:
        """An id, during whose comparison another thread sends a task."""

        __hash__ = object.__hash__

        def __eq__(self, other):
            classes.untracked.append(("2", "another"))
            return False

    monkeypatch.setattr(classes, "untracked", deque([("1", "class 1"), (Sends(), "class x")], maxlen=3))
    assert classes.class_of("1") == "class 1"


def test_a_queue_that_cannot_cancel_does_nothing():
    assert Queue.cancel(ToyQueue(), Job(job_id="j"), terminate=True) is None


def test_a_queue_names_the_strategy_of_its_tasks():
    assert ToyQueue().strategy == "immortus_channels.TrackingStrategy"


def test_a_queue_without_records_of_its_own_knows_no_job():
    queue = ToyQueue()
    assert (queue.keeps_records(), Queue.fetch(queue, "j"), queue.end_of("j", "a", since=0)) == (False, None, None)
