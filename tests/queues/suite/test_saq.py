"""The suite, by SAQ."""

from __future__ import annotations

import pytest

from immortus_channels.testing.queues.cases import Cases
from tests.queues.suite.saq import PostgresDriver, SAQDriver

pytest.importorskip("saq", reason="make queues QUEUE=saq")


@pytest.mark.redis
class TestSAQ(Cases):
    """On Redis."""

    driver = SAQDriver


@pytest.mark.postgresql
class TestSAQOnPostgres(Cases):
    """On PostgreSQL."""

    driver = PostgresDriver
