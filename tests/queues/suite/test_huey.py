"""The suite, by Huey."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from immortus_channels.testing.queues.cases import Cases
from immortus_channels.testing.queues.world import World
from tests.queues.suite.huey import GreenletsDriver, HueyDriver, OnCommitDriver, ProcessesDriver, RedisDriver


class HueyCases(Cases):
    """With what Huey alone says."""

    def test_told_to_end_now(self, world: World) -> None:
        """A run that SIGTERM has ended is told at once: Huey does not run it again."""
        world.stop_working()
        with world.working() as worker:
            job_id = world.send("sleeps", 60)
            world.until(job_id, "running")
            worker.ask_to_stop()
            end = world.over(job_id, within=5)
        assert (end["state"], end["error"]["code"]) == ("failed", "worker_lost")


class TestHuey(HueyCases):
    """Threads, on SQLite."""

    driver = HueyDriver
    is_quick = True


class TestOnCommit(HueyCases):
    """Threads, on SQLite, with what is sent once the transaction is committed."""

    driver = OnCommitDriver


class TestProcesses(HueyCases):
    """Processes, on SQLite."""

    driver = ProcessesDriver


@pytest.mark.redis
class TestRedis(HueyCases):
    """Threads, on Redis."""

    driver = RedisDriver


@pytest.mark.skipif(find_spec("gevent") is None, reason="gevent is not installed")
class TestGreenlets(HueyCases):
    """Greenlets, on SQLite."""

    driver = GreenletsDriver
