"""The suite, by Dramatiq."""

from __future__ import annotations

import pytest

from immortus_channels.testing.queues.cases import Cases
from immortus_channels.testing.queues.world import World
from tests.queues.suite.dramatiq import DramatiqDriver, DramatiqOnRabbitDriver


@pytest.mark.redis
@pytest.mark.slow
class TestDramatiq(Cases):
    """Threads, on Redis, with django-dramatiq."""

    driver = DramatiqDriver

    def test_a_worker_that_is_asked_to_stop_ends_its_run(self, world: World) -> None:
        """Dramatiq waits for the run, and the end is told before the process is gone."""
        world.stop_working()
        worker = world.start_worker()
        job_id = world.send("works", 2)
        world.until(job_id, "running")
        worker.ask_to_stop()
        assert world.over(job_id)["state"] == "finished"
        assert world.told.of(job_id)[-1]["attempt"] == 1


@pytest.mark.slow
class TestDramatiqOnRabbit(Cases):
    """Threads, on RabbitMQ, without django-dramatiq."""

    driver = DramatiqOnRabbitDriver
