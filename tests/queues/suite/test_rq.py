"""The suite, by RQ."""

from __future__ import annotations

import pytest

from tests.queues.suite.cases import Cases
from tests.queues.suite.rq import RQDriver


@pytest.mark.redis
@pytest.mark.slow
class TestRQ(Cases):
    """One worker with its scheduler, on Redis."""

    driver = RQDriver
