"""The suite, by arq."""

from __future__ import annotations

import pytest

from immortus_channels.testing.queues.cases import Cases
from immortus_channels.testing.queues.world import World
from tests.queues.suite.arq import ArqDriver

pytest.importorskip("arq", reason="make queues QUEUE=arq")


@pytest.mark.redis
class TestArq(Cases):
    """On Redis."""

    driver = ArqDriver

    def test_delivered_again_while_it_runs(self, world: World) -> None:
        """To another worker: arq fails with a KeyError where one worker has two runs of a job."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(world._env, "SUITE_JOBS", "1")
            super().test_delivered_again_while_it_runs(world)
