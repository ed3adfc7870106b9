"""The suite, by Django-Q2."""

from __future__ import annotations

import pytest

from immortus_channels.testing.queues.cases import Cases
from tests.queues.suite.django_q import DjangoQDriver, DjangoQRedisDriver

pytest.importorskip("django_q")


class TestDjangoQ(Cases):
    """On a table of the project's database."""

    driver = DjangoQDriver
    is_quick = True


@pytest.mark.redis
class TestDjangoQOnRedis(Cases):
    """On Redis."""

    driver = DjangoQRedisDriver
