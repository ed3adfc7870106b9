"""What Procrastinate's own tables say of a job that is not on record, or silent."""

from __future__ import annotations

import pytest
from django.db import connections

from immortus_channels import queues, tracked
from immortus_channels.jobs.job import State
from tests.queues.procrastinate.conftest import DATABASE, record_of
from tests.toys import eventually

pytestmark = pytest.mark.postgresql

ENDS = [
    # status, abort_requested, fetched, end
    ("todo", False, State.ENQUEUED, None),
    ("doing", True, State.RUNNING, None),
    ("succeeded", False, State.FINISHED, "Finished"),
    ("failed", False, State.FAILED, "Failed"),
    ("failed", True, State.CANCELLED, "Cancelled"),
    ("cancelled", False, State.CANCELLED, "Cancelled"),
    ("aborted", False, State.FAILED, "Failed"),
]


@pytest.fixture
def queue(app):
    return queues.by_name("procrastinate")


@pytest.fixture
def task(app):
    @app.task(name="resize")
    @tracked
    def resize():
        pass

    return resize


def write(number: int, **columns: object) -> None:
    with connections[DATABASE].cursor() as cursor:
        for name, value in columns.items():
            cursor.execute(f"UPDATE procrastinate_jobs SET {name} = %s WHERE id = %s", [value, number])


@pytest.mark.parametrize(("status", "aborted", "state", "end"), ENDS)
def test_a_row_tells_the_state_and_the_end(queue, task, status, aborted, state, end):
    number = task.defer()
    write(number, status=status, abort_requested=aborted)
    job_id = f"procrastinate-{number}"
    fetched = queue.fetch(job_id)
    assert (fetched.job_id, fetched.job_class, fetched.state) == (job_id, "resize", state)
    told = queue.end_of(job_id, "resize", since=0)
    assert (told and type(told).__name__) == end


def test_an_abort_that_somebody_wanted_is_a_cancel(queue, task):
    number = task.defer()
    write(number, status="doing", abort_requested=True)
    write(number, status="aborted", abort_requested=False)
    assert queue.fetch(f"procrastinate-{number}").state is State.CANCELLED
    assert type(queue.end_of(f"procrastinate-{number}", "resize", since=0)).__name__ == "Cancelled"


def test_a_job_that_waits_for_its_next_run_is_retrying(queue, task):
    number = task.defer()
    write(number, attempts=1)
    assert queue.fetch(f"procrastinate-{number}").state is State.RETRYING


def test_nothing_is_known_of_other_ids_and_untracked_tasks(app, queue, task):
    @app.task(name="untracked")
    def untracked():
        pass

    unknown = [str(task.defer()), "procrastinate-999999999", f"procrastinate-{untracked.defer()}"]
    assert [queue.fetch(job_id) for job_id in unknown] == [None] * 3
    assert [queue.end_of(job_id, "resize", since=0) for job_id in unknown[:2]] == [None] * 2


def test_numbers_of_namespaces_are_not_looked_up(queue, task, settings):
    number = task.defer()
    settings.IMMORTUS_NAMESPACE = lambda _: "a"
    write(number, status="failed")
    assert queue.fetch(f"procrastinate-{number}") is None
    assert queue.end_of(f"procrastinate-{number}", "resize", since=0) is None
    queue.cancel(record_of(number), terminate=False)


def test_without_django_s_app_there_are_no_records(queue, task, settings):
    number = task.defer()
    settings.INSTALLED_APPS = [name for name in settings.INSTALLED_APPS if "procrastinate" not in name]
    assert not queue.keeps_records()
    assert queue.fetch(f"procrastinate-{number}") is None


def test_a_question_leaves_no_connection_and_takes_none(queue, task):
    number = task.defer()
    assert eventually(lambda: record_of(number) is not None)
    connection = connections[DATABASE]
    assert connection.connection is not None
    queue.fetch(f"procrastinate-{number}")
    assert connection.connection is not None
    connection.close()
    queue.fetch(f"procrastinate-{number}")
    assert connection.connection is None
    queue.cancel(record_of(number), terminate=True)
    assert connection.connection is None
    assert queue.fetch(f"procrastinate-{number}").state is State.CANCELLED
