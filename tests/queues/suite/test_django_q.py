"""The suite, by Django-Q2."""

from __future__ import annotations

import pytest

from immortus_channels.testing.queues.cases import Cases
from tests.queues.suite.django_q import DjangoQDriver, DjangoQRedisDriver

pytest.importorskip("django_q")


@pytest.mark.slow
class TestDjangoQ(Cases):
    """On a table of the project's database."""

    driver = DjangoQDriver


@pytest.mark.redis
@pytest.mark.slow
class TestDjangoQOnRedis(Cases):
    """On Redis."""

    driver = DjangoQRedisDriver
