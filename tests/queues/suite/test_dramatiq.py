"""The suite, by Dramatiq."""

from __future__ import annotations

import pytest

from immortus_channels.testing.queues.cases import Cases
from tests.queues.suite.dramatiq import DramatiqDriver, DramatiqOnRabbitDriver


@pytest.mark.redis
@pytest.mark.slow
class TestDramatiq(Cases):
    """Threads, on Redis, with django-dramatiq."""

    driver = DramatiqDriver


@pytest.mark.slow
class TestDramatiqOnRabbit(Cases):
    """Threads, on RabbitMQ, without django-dramatiq."""

    driver = DramatiqOnRabbitDriver
