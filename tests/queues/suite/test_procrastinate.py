"""The suite, by Procrastinate."""

from __future__ import annotations

import pytest

from immortus_channels.testing.queues.cases import Cases
from tests.queues.suite.procrastinate import ProcrastinateDriver

pytest.importorskip("procrastinate")


@pytest.mark.postgresql
class TestProcrastinate(Cases):
    """Two jobs at a time, on PostgreSQL."""

    driver = ProcrastinateDriver
