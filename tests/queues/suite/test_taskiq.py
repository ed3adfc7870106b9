"""The suite, by taskiq."""

from __future__ import annotations

import pytest

from immortus_channels.testing.queues.cases import Cases
from tests.queues.suite.taskiq import ListDriver, TaskiqDriver

pytest.importorskip("taskiq", reason="make queues QUEUE=taskiq")


@pytest.mark.redis
class TestTaskiq(Cases):
    """On a stream of Redis."""

    driver = TaskiqDriver


@pytest.mark.redis
class TestTaskiqOnAList(Cases):
    """On a list of Redis."""

    driver = ListDriver
