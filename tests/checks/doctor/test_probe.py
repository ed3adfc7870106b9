"""Which queues get a probe of the doctor's, and how it is sent."""

from __future__ import annotations

import pytest

from immortus_channels import queues
from immortus_channels.checks.doctor import probe
from immortus_channels.queues import probing
from immortus_channels.queues.tracked import tracked
from tests.toys import ToyQueue


@pytest.fixture
def task():
    """A function that is tracked, and that no module has."""

    def task():
        pass

    return tracked(task)


@pytest.fixture
def two(monkeypatch):
    """Two queues, of which nothing is known yet."""
    two = ToyQueue(), ToyQueue()
    monkeypatch.setattr(queues, "connected", [*two])
    return two


def test_the_queues_with_tracked_tasks_are_in_use(two, task):
    first, second = two
    assert probe.in_use() == [first, second]
    first.tasks["immortus_channels.probe"] = task
    assert probe.in_use() == [first, second]
    second.tasks["shop.paint"] = task
    assert probe.in_use() == [second]
    first.runs_functions = True
    assert probe.in_use() == [first, second]


def test_a_queue_without_a_probe_is_not_tried(two):
    assert probe.send(two[0], "a", None) is None


def test_the_job_s_id_is_the_queue_s(two, monkeypatch):
    class Probe:
        @staticmethod
        def send(job_id, name):
            return f"{name}-{job_id}"

    monkeypatch.setattr(probing, "probe_of", lambda folder: Probe)
    assert probe.send(two[0], "a", "images") == "images-a"
