"""The suite, by chancy and the adapter of the how-to."""

from __future__ import annotations

import pytest

from immortus_channels.testing.queues.cases import Cases
from tests.queues.suite.chancy import ChancyDriver

pytest.importorskip("chancy")


@pytest.mark.postgresql
class TestChancy(Cases):
    """Two processes, on PostgreSQL."""

    driver = ChancyDriver
