"""The suite, by arq."""

from __future__ import annotations

import pytest

from immortus_channels.testing.queues.cases import Cases
from tests.queues.suite.arq import ArqDriver
from tests.servers import need_package


@pytest.fixture(scope="module", autouse=True)
def _arq() -> None:
    need_package("arq", "immortus-channels[arq]")


@pytest.mark.redis
@pytest.mark.slow
class TestArq(Cases):
    """On Redis."""

    driver = ArqDriver
