"""The suite, by arq."""

from __future__ import annotations

import pytest

from immortus_channels.testing.queues.cases import Cases
from tests.queues.suite.arq import ArqDriver

pytest.importorskip("arq", reason="make queues QUEUE=arq")


@pytest.mark.redis
class TestArq(Cases):
    """On Redis."""

    driver = ArqDriver
