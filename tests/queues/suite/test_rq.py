"""The suite, by RQ."""

from __future__ import annotations

import pytest

from immortus_channels.testing.queues.cases import Cases
from immortus_channels.testing.queues.world import World
from tests.queues.suite.rq import RQDriver


@pytest.mark.redis
class TestRQ(Cases):
    """One worker with its scheduler, on Redis."""

    driver = RQDriver
    is_quick = True

    def test_a_job_goes_on_without_the_worker_that_began_it(self, world: World) -> None:
        """The work horse of a killed worker ends as ever, beside another worker."""
        world.stop_working()
        worker = world.start_worker()
        job_id = world.send("sleeps", 5)
        world.until(job_id, "running")
        worker.kill_main()
        with world.working():
            assert world.over(job_id)["state"] == "finished"
        assert world.told.states(job_id) == ["enqueued", "running", "finished"]
