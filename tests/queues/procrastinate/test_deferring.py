"""A job is told before a worker can see it, and confirmed once the transaction is committed that it is part of."""

from __future__ import annotations

import time
from datetime import timedelta

import psycopg
import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import DatabaseError, connections, transaction
from procrastinate import App, PsycopgConnector, utils
from procrastinate.contrib.django.utils import connector_params
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException
from procrastinate.periodic import PeriodicDeferrer

from immortus_channels import tracked
from immortus_channels.jobs.job import State
from immortus_channels.jobs.lifecycle import SECOND
from immortus_channels.jobs.owner import starting_as
from immortus_channels.queues.port import Port
from immortus_channels.stores import get_store
from immortus_channels.stores.memory import MemoryStore
from tests.queues.procrastinate.conftest import DATABASE, record_of, rows
from tests.toys import eventually

pytestmark = pytest.mark.postgresql
HOUR = 3600


@pytest.fixture
def task(app):
    @app.task(name="resize", pass_context=True)
    @tracked(params=True, mask="secret")
    def resize(context, width, height=50, secret=""):
        pass

    return resize


def lease_of(number: int) -> float:
    """The seconds until the job's lease ends."""
    return (record_of(number).lease_until - get_store().get_many([]).now) / SECOND


def is_confirmed(number: int) -> bool:
    return eventually(lambda: lease_of(number) > HOUR, 2)


# Telling


def test_a_job_is_told_with_all_that_its_sender_knows(task):
    with starting_as(lambda: "7"):
        number = task.defer(width=3, secret="s")
    job = record_of(number)
    assert (job.state, job.owner, job.queue, job.job_class) == (State.ENQUEUED, "7", "procrastinate", "resize")
    assert job.params == {"width": 3, "height": 50, "secret": "********"}
    assert is_confirmed(number)


def test_what_nobody_started_is_for_staff_as_its_id_can_be_counted(task):
    job = record_of(task.defer(width=3))
    assert (job.owner, job.staff_only) == (None, True)


class LookingStore(MemoryStore):
    """Looks by a connection of its own, whenever it writes, how many jobs there are to run."""

    connection: psycopg.Connection

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def update(self, job_id, change, *, known=None):
        self.seen += self.connection.execute("SELECT count(*) FROM procrastinate_jobs").fetchone()
        return super().update(job_id, change, known=known)


@pytest.fixture
def looking(task, settings):
    """Such a store, of which the first job has loaded everything."""
    settings.IMMORTUS_STORE = {"BACKEND": f"{__name__}.LookingStore"}
    with psycopg.connect(**connector_params(DATABASE), autocommit=True) as LookingStore.connection:
        number = task.defer(width=1)
        assert eventually(lambda: record_of(number) is not None)
        get_store().seen.clear()
        yield get_store()


def test_a_worker_cannot_see_a_job_before_it_is_told(looking, task):
    task.defer(width=3)
    task.batch_defer({"width": 1}, {"width": 2})
    assert looking.seen[:1] == [1]
    assert len(rows()) == 4


async def test_nor_one_that_is_deferred_on_an_event_loop(looking, task):
    await task.defer_async(width=3)
    assert looking.seen[:1] == [1]


def test_many_at_once_are_told_one_by_one(task):
    numbers = task.batch_defer({"width": 1}, {"width": 2}, {"width": 3})
    assert [record_of(number).params["width"] for number in numbers] == [1, 2, 3]
    assert all(is_confirmed(number) for number in numbers)


async def test_so_are_many_that_are_deferred_on_an_event_loop(task):
    numbers = await task.batch_defer_async({"width": 1}, {"width": 2})
    assert [record_of(number).params["width"] for number in numbers] == [1, 2]


def test_no_jobs_at_all_are_nothing(task):
    assert task.batch_defer() == []


def test_a_job_that_is_due_later_has_until_then(task):
    number = task.configure(schedule_at=utils.utcnow() + timedelta(days=3)).defer(width=3)
    assert eventually(lambda: lease_of(number) > 72 * HOUR, 2)


def test_an_untracked_task_is_not_told(app):
    @app.task(name="untracked")
    def untracked():
        pass

    assert record_of(untracked.defer()) is None


async def test_a_task_of_an_app_without_django_is_told(app):
    own = App(connector=PsycopgConnector(kwargs=connector_params(DATABASE)))

    @own.task(name="own")
    @tracked
    def task():
        pass

    async with own.open_async():
        with starting_as(lambda: "7"):
            number, *others = await task.batch_defer_async({}, {})
        assert record_of(number).owner == "7"
        assert len(others) == 1
        assert await sync_to_async(is_confirmed)(others[0])
        assert await own.job_manager.cancel_job_by_id_async(number)
        await own.job_manager.cancel_job_by_id_async(others[0], abort=True)
    numbers = (number, *others)
    assert eventually(lambda: {record_of(each).state for each in numbers} == {State.CANCELLED}, 2)


def test_a_name_is_told_where_its_task_is_known(app, task):
    number = app.configure_task("resize").defer(width=3)
    assert record_of(number).job_class == "resize"
    assert record_of(app.configure_task("nobody_s").defer()) is None


# Transactions


def test_a_job_is_confirmed_when_its_transaction_is_committed(task):
    with transaction.atomic(using=DATABASE):
        number = task.defer(width=3)
        time.sleep(0.1)
        assert lease_of(number) < 61
    assert is_confirmed(number)


def test_what_is_rolled_back_is_never_confirmed(task):
    with transaction.atomic(using=DATABASE):
        numbers = [task.defer(width=3), async_to_sync(task.defer_async)(width=4)]
        transaction.set_rollback(True, using=DATABASE)
    time.sleep(0.1)
    assert [lease_of(number) < 61 for number in numbers] == [True, True]
    assert rows() == []


@pytest.fixture
def refusing():
    """A table that refuses jobs when they are committed."""
    with connections[DATABASE].cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused'; END $$;"
            "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON procrastinate_jobs DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
    yield
    with connections[DATABASE].cursor() as cursor:
        cursor.execute("DROP TRIGGER refuse ON procrastinate_jobs; DROP FUNCTION refuse")


def test_a_commit_that_fails_fails_the_call(refusing, task):
    with pytest.raises(DatabaseError, match="refused"):
        task.defer(width=3)
    with pytest.raises(DatabaseError, match="refused"):
        async_to_sync(task.defer_async)(width=3)
    assert rows() == []


def test_without_autocommit_the_transaction_is_the_caller_s(task):
    connection = connections[DATABASE]
    connection.set_autocommit(False)
    try:
        task.defer(width=3)
        connection.rollback()
    finally:
        connection.set_autocommit(True)
    assert rows() == []


# What the queue refuses, and what breaks here


def test_a_lock_that_is_taken_is_the_caller_s_error(task, caplog):
    locked = task.configure(queueing_lock="one")
    locked.defer(width=1)
    with pytest.raises(AlreadyEnqueued):
        locked.defer(width=2)
    with pytest.raises(AlreadyEnqueued):
        async_to_sync(locked.defer_async)(width=3)
    assert len(rows()) == 1
    assert "Tracking failed" not in caplog.text


def test_a_database_that_is_away_is_the_caller_s_error_alone(app, task, caplog, monkeypatch):
    connections[DATABASE].close()
    monkeypatch.setitem(connections[DATABASE].settings_dict, "HOST", "/nowhere")
    with pytest.raises(ConnectorException):
        task.defer(width=3)
    assert "Tracking failed" not in caplog.text


def test_tracking_that_breaks_leaves_the_job_as_it_was(task, monkeypatch, caplog):
    monkeypatch.setattr(Port, "prepare", lambda *_, **__: 1 / 0)
    number = task.defer(width=3)
    others = task.batch_defer({"width": 1}, {"width": 2})
    assert {row["id"] for row in rows()} == {number, *others}
    assert "Tracking failed" in caplog.text


# By a schedule


async def test_a_periodic_job_is_for_staff_and_told_once(app):
    @app.periodic(cron="* * * * *")
    @app.task(name="each_minute")
    @tracked
    def each_minute(timestamp):
        pass

    try:
        with app.replace_connector(app.connector.get_worker_connector()):
            async with app.open_async():
                for _ in range(2):
                    deferrer = PeriodicDeferrer(app.periodic_registry)
                    await deferrer.defer_jobs(deferrer.get_previous_tasks(at=time.time() // 60 * 60 + 30))
    finally:
        app.periodic_registry.periodic_tasks.clear()
    (row,) = await sync_to_async(rows)()
    job = record_of(row["id"])
    assert (job.job_class, job.owner, job.staff_only) == ("each_minute", None, True)
    assert record_of(None) is None


# Cancelled by the queue's own means


@pytest.mark.parametrize("options", [{}, {"abort": True}, {"delete_job": True}, {"abort": True, "delete_job": True}])
def test_the_queue_s_cancel_of_a_waiting_job_is_told(app, task, options):
    numbers = task.defer(width=3), task.defer(width=4)
    assert app.job_manager.cancel_job_by_id(numbers[0], **options)
    assert async_to_sync(app.job_manager.cancel_job_by_id_async)(numbers[1], **options)
    for number in numbers:
        assert eventually(lambda: record_of(number).state is State.CANCELLED, 2)  # noqa: B023 - asked at once


def test_a_cancel_without_effect_is_not_told(app, task):
    number = task.defer(width=3)
    assert not app.job_manager.cancel_job_by_id(number + 1000)
    with connections[DATABASE].cursor() as cursor:
        cursor.execute("UPDATE procrastinate_jobs SET status = 'doing'")
    assert not app.job_manager.cancel_job_by_id(number)
    assert app.job_manager.cancel_job_by_id(number, abort=True)
    time.sleep(0.1)
    assert record_of(number).state is State.ENQUEUED


def test_a_cancel_that_is_rolled_back_is_not_told(app, task):
    number = task.defer(width=3)
    with transaction.atomic(using=DATABASE):
        app.job_manager.cancel_job_by_id(number)
        transaction.set_rollback(True, using=DATABASE)
    time.sleep(0.1)
    assert record_of(number).state is State.ENQUEUED
    with transaction.atomic(using=DATABASE):
        app.job_manager.cancel_job_by_id(number)
    assert eventually(lambda: record_of(number).state is State.CANCELLED, 2)
