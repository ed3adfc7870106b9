"""The suite, by SAQ."""

from __future__ import annotations

import pytest

from immortus_channels.testing.queues.cases import Cases
from tests.queues.suite.saq import PostgresDriver, SAQDriver
from tests.servers import need_package


@pytest.fixture(scope="module", autouse=True)
def _saq() -> None:
    need_package("saq", "immortus-channels[saq]")


@pytest.mark.redis
@pytest.mark.slow
class TestSAQ(Cases):
    """On Redis."""

    driver = SAQDriver


@pytest.mark.postgresql
@pytest.mark.slow
class TestSAQOnPostgres(Cases):
    """On PostgreSQL."""

    driver = PostgresDriver
