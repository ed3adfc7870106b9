"""The suite, by Dramatiq."""

from __future__ import annotations

import pytest

from immortus_channels.testing.queues.cases import Cases
from tests.queues.suite.dramatiq import DramatiqDriver, DramatiqOnRabbitDriver


@pytest.mark.redis
class TestDramatiq(Cases):
    """Threads, on Redis, with django-dramatiq."""

    driver = DramatiqDriver


class TestDramatiqOnRabbit(Cases):
    """Threads, on RabbitMQ, without django-dramatiq."""

    driver = DramatiqOnRabbitDriver
