"""The cases that every queue keeps: subclass `Cases`, name the driver, and let pytest collect it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from immortus_channels.testing.queues.driver import Driver
from immortus_channels.testing.queues.world import ENDS, World

GENERAL = "Something went wrong."


class Cases:
    """Run against the real broker and the real worker of one queue."""

    driver: ClassVar[type[Driver]]

    @pytest.fixture(autouse=True)
    def _reason(self, request: pytest.FixtureRequest) -> None:
        reason = self.driver.cannot.get(request.function.__name__)
        if reason is not None:
            pytest.skip(reason)

    @pytest.fixture(scope="class")
    @classmethod
    def world(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
        """Yield the project, without a worker."""
        driver = cls.driver
        folder: Path = tmp_path_factory.mktemp("suite")
        with World.running(driver(), f"{driver.__module__}.{driver.__qualname__}", folder) as world:
            yield world

    @pytest.fixture
    def worker(self, world: World) -> None:
        """Run a worker, that of the case before if there is one."""
        world.keep_working()

    # Ends

    def test_returns(self, world: World, worker: None) -> None:
        """Returned: each state in its turn, with result, params, owner, and the id that the caller knows."""
        job_id = world.send("returns", "value")
        end = world.over(job_id)
        assert world.told.states(job_id) == ["enqueued", "running", "finished"]
        assert (end["attempt"], end["percentage"], end["result"], end["owner"]) == (1, 100, "value", "7")
        assert end["queue"] == self.driver.name
        assert end["own_id"] == job_id
        assert end["params"] == {"value": "value"}
        assert end["job_class"].endswith("returns")

    def test_raises(self, world: World, worker: None) -> None:
        """Raised: failed, without a word of what it was."""
        job_id = world.send("raises")
        end = world.over(job_id)
        assert (end["state"], end["error"]) == ("failed", {"code": "error", "message": GENERAL})
        assert world.told.states(job_id) == ["enqueued", "running", "failed"]

    def test_job_failed(self, world: World, worker: None) -> None:
        """JobFailed: failed, with its sentence for the user."""
        end = world.over(world.send("fails"))
        assert tuple(end["error"].values()) == ("no_paint", "The painter ran out of blue.")

    def test_a_coroutine_function(self, world: World, worker: None) -> None:
        """A coroutine function is followed as any other."""
        job_id = world.send("returns_async", 5)
        end = world.over(job_id)
        assert (end["state"], end["result"], end["own_id"]) == ("finished", 5, job_id)

    def test_a_result_that_cannot_be_stored(self, world: World, worker: None) -> None:
        """What the queue makes of such a result is what is told."""
        job_id = world.send("unstorable")
        assert world.over(job_id)["state"] == self.driver.outcomes.get("unstorable", "failed")

    # Retries

    def test_retried_then_finished(self, world: World, worker: None) -> None:
        """Two failed runs are no end; the third one finishes the job."""
        job_id = world.send("flaky", 2)
        end = world.over(job_id)
        assert (end["state"], end["attempt"], end["owner"]) == ("finished", 3, "7")
        assert world.told.states(job_id).count("running") == 3
        assert not {"failed", "lost", "cancelled"} & set(world.told.states(job_id))

    def test_exhausted(self, world: World, worker: None) -> None:
        """The last run that the queue grants fails the job."""
        job_id = world.send("flaky", 99)
        end = world.over(job_id)
        assert (end["state"], end["attempt"]) == ("failed", 4)
        assert world.told.states(job_id).count("failed") == 1

    def test_retried_in_the_queue_s_own_way(self, world: World, worker: None) -> None:
        """A run that asks for another one has not ended the job."""
        job_id = world.send("retries_itself")
        end = world.over(job_id)
        assert (end["state"], end["attempt"]) == ("finished", 2)
        assert "failed" not in world.told.states(job_id)

    # Cancels

    def test_cancelled_while_waiting(self, world: World) -> None:
        """A job that is cancelled while it waits is not run; the one after it is."""
        world.stop_working()
        job_id, next_id = world.send("returns", 1), world.send("returns", 2)
        world.ask("cancel", job_id)
        assert world.over(job_id)["state"] == "cancelled"
        with world.working():
            assert world.over(next_id)["state"] == "finished"
        assert world.told.states(job_id) == ["enqueued", "cancelled"]

    def test_cancelled_while_due_later(self, world: World, worker: None) -> None:
        """So is one that is due later."""
        job_id, next_id = world.send("returns", 1, delay=1), world.send("returns", 2, delay=2)
        world.ask("cancel", job_id)
        assert world.over(next_id)["state"] == "finished"
        assert world.told.states(job_id) == ["enqueued", "cancelled"]

    def test_cancelled_while_running(self, world: World, worker: None) -> None:
        """A running job is asked, and stops before its next step."""
        job_id = world.send("works", 20)
        world.until(job_id, "running")
        world.ask("cancel", job_id)
        end = world.over(job_id)
        assert (end["state"], end["error"]["code"]) == ("cancelled", "cancelled")

    def test_cancelled_by_the_queue(self, world: World, worker: None) -> None:
        """The queue's own cancel of a waiting job is told."""
        job_id = world.send("returns", 1, delay=1.5)
        world.ask("cancel_in_queue", job_id)
        assert world.over(job_id)["state"] == "cancelled"

    def test_a_time_limit(self, world: World, worker: None) -> None:
        """A run that takes longer than its task may has failed for that."""
        end = world.over(world.send("overruns"))
        assert (end["state"], end["error"]["code"]) == ("failed", "time_limit")

    def test_expired(self, world: World) -> None:
        """A job that waits for longer than its sender allowed is not run."""
        world.stop_working()
        job_id = world.ask("send_expiring", "returns", 1, seconds=0.5, owner="7")
        time.sleep(1)
        with world.working():
            document = world.settled(job_id)
        assert (document["state"], document["error"]["code"]) == ("cancelled", "expired")
        assert "running" not in world.told.states(job_id)

    # What the worker does not know

    def test_a_task_that_the_worker_does_not_know(self, world: World, worker: None) -> None:
        """The job of a task that only its sender knows has failed."""
        assert world.settled(world.send("is_gone"))["state"] == "failed"

    def test_started_by_a_schedule(self, world: World, worker: None) -> None:
        """What the queue's own schedule starts is for staff only."""

        def ticked(line: dict[str, Any]) -> bool:
            return bool(line["job_class"].endswith("ticks") and line["state"] == "finished")

        end = world.told.wait(None, ticked, within=self.driver.period + self.driver.patience)
        assert (end["owner"], end["staff_only"]) == (None, True)

    # Transactions

    def test_rolled_back(self, world: World, worker: None) -> None:
        """What the sender's transaction takes back was never sent."""
        job_id = world.send("returns", 1, where="rolled back")
        document = world.settled(job_id)
        assert (document["state"], document["error"]["code"]) == ("failed", "not_sent")

    def test_rolled_back_to_a_savepoint(self, world: World, worker: None) -> None:
        """So is what a savepoint takes back."""
        job_id = world.send("returns", 1, where="savepoint")
        document = world.settled(job_id)
        assert (document["state"], document["error"]["code"]) == ("failed", "not_sent")

    def test_committed(self, world: World, worker: None) -> None:
        """What the sender's transaction keeps is run and told."""
        assert world.over(world.send("returns", 1, where="atomic"))["state"] == "finished"

    # Many, and others

    def test_many_at_once(self, world: World, worker: None) -> None:
        """Jobs that are sent by the queue's own means for many are followed one by one."""
        for job_id in world.ask("send_many", "returns", 20):
            end = world.over(job_id, within=60)
            assert (end["state"], end["attempt"]) == ("finished", 1)
            assert world.told.states(job_id) == ["enqueued", "running", "finished"]

    def test_a_thousand(self, world: World, worker: None) -> None:
        """Of many jobs each is told in order, whichever of its processes writes first."""
        ids = world.ask("send_many", "returns", self.driver.many)
        told = world.all_over(ids, within=120)
        wrong = {job_id: states for job_id in ids if (states := told[job_id])[-2:] != ["running", "finished"]}
        assert wrong == {}

    def test_started_before_its_sender_has_told(self, world: World, worker: None) -> None:
        """What the sender tells late changes no state, and still says whose the job is."""
        with world.fault("slow"):
            job_id = world.send("returns", "late")
            end = world.over(job_id)
            assert end["state"] == "finished"
        world.until_told(job_id, lambda line: line["owner"] == "7" and line["params"] == {"value": "late"})
        states = world.told.states(job_id)
        assert states[-2:] == ["running", "finished"]
        assert "enqueued" not in states[states.index("running") :]

    def test_a_job_that_a_job_starts(self, world: World, worker: None) -> None:
        """It belongs to the user who started the first."""
        child = world.over(world.send("starts_another"))["child"]
        end = world.over(child)
        assert (end["state"], end["owner"], end["attempt"]) == ("finished", "7", 1)

    def test_two_workers(self, world: World, worker: None) -> None:
        """Twenty jobs of two workers are each told right, once."""
        with world.working():
            ids = [world.send("returns", number) for number in range(20)]
            ends = [world.over(job_id, within=60) for job_id in ids]
        assert [end["result"] for end in ends] == list(range(20))
        assert {end["attempt"] for end in ends} == {1}

    # What breaks around a job

    def test_a_hook_that_raises(self, world: World, worker: None) -> None:
        """A job runs as if nobody followed it, whatever breaks in what follows it."""
        whole = world.send("leaves_traces", "whole")
        world.over(whole)
        with world.fault("broken"):
            broken = world.send("leaves_traces", "broken")
            world.leaves_trace("broken", "ended")
            time.sleep(0.5)
        assert world.traces("broken") == ["began", "ended"]
        assert world.ask("says", broken) == world.ask("says", whole)

    def test_the_store_is_down_meanwhile(self, world: World, worker: None) -> None:
        """A job runs on while nothing can be written, and its end is told afterwards."""
        job_id = world.send("works", 2)
        world.until(job_id, "running")
        with world.fault("down"):
            time.sleep(1)
        end = world.over(job_id)
        assert (end["state"], end["attempt"], end["percentage"]) == ("finished", 1, 100)

    def test_delivered_again_while_it_runs(self, world: World) -> None:
        """A second delivery of a message is the next attempt, in which the run before it says nothing more."""
        world.stop_working()
        job_id = world.send("waits_for_leave", "twice")
        world.ask("keep_message", job_id)
        with world.working(), world.working():
            world.until(job_id, "running")
            world.ask("deliver_again", job_id)
            world.until(job_id, "running", attempt=2)
            world.gives_leave("twice", 1)
            world.leaves_trace("twice", "ended")
            time.sleep(1)
            before = world.ask("look", job_id)
            world.gives_leave("twice", 2)
            end = world.over(job_id)
        assert before["state"] == self.driver.outcomes.get("test_delivered_again_while_it_runs", "running")
        assert (end["state"], end["attempt"]) == ("finished", 2)
        assert sum(state in ENDS for state in world.told.states(job_id)) == 1

    # Workers that end

    def test_killed(self, world: World) -> None:
        """A run whose worker was killed is lost, or runs again in its next attempt under a new worker."""
        world.stop_working()
        worker = world.start_worker()
        job_id = world.send("sleeps", 60)
        world.until(job_id, "running")
        worker.kill()
        with world.working():
            document = world.settled(job_id, or_in_attempt=2)
        assert document["state"] in ("lost", "failed") or document["attempt"] == 2

    def test_its_main_process_is_killed(self, world: World) -> None:
        """What is told is what the run does: it dies too, or goes on in a process that nobody watches any more."""
        world.stop_working()
        worker = world.start_worker()
        job_id = world.send("leaves_traces", "orphan", 3)
        world.until(job_id, "running")
        worker.kill_main()
        with world.working():
            document = world.settled(job_id, or_in_attempt=2)
        assert document["attempt"] == 2 or (document["state"] == "finished") == ("ended" in world.traces("orphan"))
        worker.kill()

    def test_its_child_is_killed(self, world: World) -> None:
        """A run whose process was killed has failed, is lost, or runs again in its next attempt."""
        world.stop_working()
        with world.working() as worker:
            job_id = world.send("sleeps", 60)
            world.until(job_id, "running")
            worker.kill_children()
            document = world.settled(job_id, or_in_attempt=2)
        assert document["state"] in ("lost", "failed") or document["attempt"] == 2

    def test_asked_to_stop(self, world: World) -> None:
        """A worker that is asked to stop while it runs a job."""
        world.stop_working()
        worker = world.start_worker()
        job_id = world.send("leaves_traces", "stopped", 2)
        world.until(job_id, "running")
        worker.ask_to_stop()
        worker.wait(20)
        worker.kill()
        with world.working():
            document = world.settled(job_id)
        assert document["state"] == self.driver.outcomes.get("test_asked_to_stop", "finished")

    def test_asked_to_stop_twice(self, world: World) -> None:
        """What is told of a run in an impatient worker is what the run does."""
        world.stop_working()
        worker = world.start_worker()
        job_id = world.send("leaves_traces", "impatient", 4)
        world.until(job_id, "running")
        for _ in range(2):
            worker.ask_to_stop()
            time.sleep(1.2)
        worker.wait(10)
        worker.kill()
        with world.working():
            document = world.settled(job_id, or_in_attempt=2)
        assert document["attempt"] == 2 or (document["state"] == "finished") == ("ended" in world.traces("impatient"))
