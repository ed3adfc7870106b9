"""The suite, by Celery."""

from __future__ import annotations

import pytest

from immortus_channels.testing.queues.cases import Cases
from tests.queues.suite.celery import CeleryDriver, GeventDriver


@pytest.mark.redis
class TestCelery(Cases):
    """Prefork, on Redis."""

    driver = CeleryDriver


@pytest.mark.redis
class TestGevent(Cases):
    """Gevent, on Redis."""

    driver = GeventDriver
