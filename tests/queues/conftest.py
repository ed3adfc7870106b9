"""A queue that exists nowhere, and its port on a store in memory."""

from __future__ import annotations

import uuid

import pytest

from immortus_channels import queues, tracking
from immortus_channels.queues.port import Port
from immortus_channels.queues.tracked import TaskOptions
from immortus_channels.stores import get_store
from tests.toys import ToyQueue


class TimeIsUp(Exception):
    """What the toy queue raises in running code."""


@pytest.fixture
def toy_queue(settings, monkeypatch):
    settings.IMMORTUS_STORE = {"BACKEND": "memory"}
    queue = ToyQueue(resize=TaskOptions(params=True, publish_result=True))
    queue.carries_headers = True
    queue.interrupts = queue.time_limits = (TimeIsUp,)
    monkeypatch.setattr(queues, "connected", [queue])
    return queue


@pytest.fixture
def options(toy_queue):
    return toy_queue.tasks["resize"]


@pytest.fixture
def port(toy_queue):
    return Port(toy_queue, tracking)


@pytest.fixture
def job_id():
    return uuid.uuid4().hex


@pytest.fixture
def record(job_id):
    """Read the job's record; None if there is none."""

    def read(key=job_id):
        return get_store().get_many([key]).jobs.get(key)

    return read
