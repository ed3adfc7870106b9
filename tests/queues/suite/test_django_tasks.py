"""The suite, by django.tasks."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from importlib.util import find_spec
from uuid import UUID

import pytest

from immortus_channels.testing.queues.cases import Cases
from immortus_channels.testing.queues.world import World
from tests.queues.suite.django_tasks import HAS_FRAMEWORK, CeleryDriver, DjangoTasksDriver, RedisDriver
from tests.site import eventually

CAN_RUN = find_spec("django_tasks_db") is not None and (HAS_FRAMEWORK or find_spec("django_tasks") is not None)


@pytest.mark.skipif(not CAN_RUN, reason="django-tasks-db is not installed, or not with what it needs")
class TestDatabase(Cases):
    """`db_worker`, on SQLite."""

    driver = DjangoTasksDriver
    is_quick = True

    def test_told_once_before_a_worker_can_see_it(self, world: World) -> None:
        """However fast a worker is: here it has run the job before `enqueue` tells the framework's own receivers."""
        world._run("-c", FAST_WORKER)

    @pytest.mark.parametrize("change", ["SUITE_GONE", "SUITE_QUEUES"])
    def test_a_job_that_no_worker_can_run(self, world: World, change: str) -> None:
        """A task that the worker's code does not have, and one whose queue is gone, send no signal."""
        world.stop_working()
        job_id = world.send("returns", 1)
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(world._env, change, "returns")
            worker = world.start_worker()
        try:
            end = world.over(job_id)
        finally:
            worker.stop()
        assert (end["state"], end["error"]["code"]) == ("failed", "unknown_task")
        assert world.told.states(job_id) == ["enqueued", "failed"]

    def test_a_cancelled_job_s_row_is_that_of_one_that_stopped_itself(self, world: World, worker: None) -> None:
        """So no worker runs it, and its sender reads what has become of it."""
        waiting, running = world.send("returns", 1, delay=3600), world.send("works", 20)
        world.until(running, "running")
        world.ask("cancel", waiting)
        world.ask("cancel", running)
        ends = [eventually(lambda job_id=job_id: end_of(world, job_id), within=10) for job_id in (waiting, running)]
        assert ends == [("FAILED", "immortus_channels.exceptions.JobCancelled")] * 2

    def test_a_worker_that_is_asked_to_stop_ends_its_job_first(self, world: World) -> None:
        """The second time it ends the job."""
        world.stop_working()
        worker = world.start_worker()
        job_id = world.send("works", 1)
        world.until(job_id, "running")
        worker.ask_to_stop()
        assert world.over(job_id)["state"] == "finished"

        worker = world.start_worker()
        job_id = world.send("sleeps", 60)
        world.until(job_id, "running")
        worker.ask_to_stop()
        time.sleep(0.5)
        worker.ask_to_stop()
        assert world.over(job_id)["error"]["code"] == "error"
        assert eventually(lambda: end_of(world, job_id), within=10) == ("FAILED", "builtins.SystemExit")


FAST_WORKER = """
import django; django.setup()
from django.db.models.signals import post_save
from django_tasks_db.compat import task_finished, task_started
from django_tasks_db.models import DBTaskResult
from immortus_channels.stores import get_store
from immortus_channels.testing.queues.project import tasks

states = []

def look(job_id):
    states.append([str(job.state) for job in get_store().get_many([str(job_id)]).jobs.values()])

def run(instance, created, **_):
    if created:
        look(instance.pk)
        task_started.send(None, task_result=instance.task_result)
        tasks.returns.call(1)
        instance.status = "SUCCESSFUL"
        task_finished.send(None, task_result=instance.task_result)

post_save.connect(run, sender=DBTaskResult)
look(tasks.returns.enqueue(1).id)
assert states == [["enqueued"], ["finished"]], states
"""


def end_of(world: World, job_id: str) -> tuple[str, str] | None:
    """Return how a row says that its job has ended, None if it has not."""
    columns = "status, exception_class_path FROM django_tasks_database_dbtaskresult"
    with closing(sqlite3.connect(world.folder / "db.sqlite3", timeout=20)) as database:
        row = database.execute(f"SELECT {columns} WHERE id = ?", [UUID(job_id).hex]).fetchone()
    return row if row[0] in ("SUCCESSFUL", "FAILED") else None


@pytest.mark.redis
@pytest.mark.skipif(find_spec("django_tasks_redis") is None, reason="django-tasks-redis is not installed")
class TestRedis(Cases):
    """`run_redis_tasks`."""

    driver = RedisDriver


@pytest.mark.redis
@pytest.mark.skipif(find_spec("django_tasks_celery") is None, reason="django-tasks-celery is not installed")
class TestCelery(Cases):
    """Celery's worker."""

    driver = CeleryDriver
