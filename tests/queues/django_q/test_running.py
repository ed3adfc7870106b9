"""What a run did is told as the queue takes it: a failure that comes back is no end, and a success stays one."""

from __future__ import annotations

import pytest
from django.db import transaction

from immortus_channels import started_by, tracking
from immortus_channels.jobs.job import State
from immortus_channels.writer import drain


@pytest.fixture
def told(record):
    """Read a job's record, with all that was said of it by now."""

    def read(job_id):
        drain()
        return record(job_id)

    return read


def row_of(job_id):
    """Return what the queue has on record; None if nothing."""
    from django_q.models import Task  # noqa: PLC0415 - only where it is installed

    return Task.objects.filter(id=job_id).first()


# Ends


def test_a_run_that_returns_finishes_its_job(async_task, work, cluster, told):
    job_id = async_task(work.double, 4)
    cluster.work()
    job = told(job_id)
    assert (job.state, job.attempt, job.result) == (State.FINISHED, 1, 8)
    assert work.seen == [(job_id, 4)]
    assert row_of(job_id).result == 8


@pytest.mark.parametrize("name", ["breaks", "fails"])
def test_a_failure_that_comes_back_is_no_end(async_task, work, cluster, told, name):
    job_id = async_task(getattr(work, name))
    cluster.work()
    assert (told(job_id).state, told(job_id).error) == (State.RETRYING, None)
    cluster.come_back()
    cluster.work()
    assert (told(job_id).state, told(job_id).attempt) == (State.RETRYING, 2)


def test_a_failure_that_is_acknowledged_is_the_end(async_task, work, cluster, told):
    job_id = async_task(work.fails, ack_failure=True)
    cluster.work()
    assert cluster.waiting == []
    assert (told(job_id).error.code, told(job_id).error.message) == ("no_paint", "The painter ran out of blue.")


def test_a_broker_without_acknowledgements_makes_each_failure_the_end(async_task, work, cluster, told):
    job_id = async_task(work.breaks)
    (message,) = cluster.fetch()
    cluster.run({**message, "ack_id": None})
    assert told(job_id).error.code == "error"


@pytest.mark.parametrize("attempts", [1, 3])
def test_the_last_attempt_that_the_queue_grants_fails_the_job(async_task, work, cluster, told, conf, attempts):
    conf.MAX_ATTEMPTS = attempts
    job_id = async_task(work.fails)
    for attempt in range(1, attempts + 1):
        assert told(job_id).state in (State.ENQUEUED, State.RETRYING)
        cluster.work()
        assert told(job_id).attempt == attempt
        cluster.come_back()
    assert (told(job_id).state, told(job_id).error.code) == (State.FAILED, "no_paint")
    assert cluster.waiting == []


def test_a_job_that_fails_once_finishes_in_its_next_attempt(async_task, work, cluster, told, conf):
    conf.MAX_ATTEMPTS = 3
    job_id = async_task(work.breaks_once)
    cluster.work()
    assert told(job_id).state is State.RETRYING
    cluster.come_back()
    cluster.work()
    assert (told(job_id).state, told(job_id).attempt) == (State.FINISHED, 2)


def test_a_run_that_takes_too_long_has_failed_for_that(async_task, work, cluster, told):
    job_id = async_task(work.overruns, timeout=1, ack_failure=True)
    cluster.work()
    assert told(job_id).error.code == "time_limit"
    assert not row_of(job_id).success


@pytest.mark.parametrize(
    ("keeps", "state", "code"), [(True, State.RETRYING, None), (False, State.FAILED, "worker_lost")]
)
def test_a_task_that_ends_its_worker_is_told_at_once(async_task, work, cluster, told, keeps, state, code):
    job_id = async_task(work.leaves)
    (message,) = cluster.fetch()
    with pytest.raises(SystemExit):
        cluster.run(message if keeps else {**message, "ack_id": None})
    job = told(job_id)
    assert (job.state, job.error and job.error.code) == (state, code)


@pytest.mark.parametrize(("keeps", "state"), [(True, State.RETRYING), (False, State.FAILED)])
@pytest.mark.parametrize("name", ["gives_a_function", "awaited"])
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_result_that_cannot_leave_the_worker_is_no_success(
    async_task, work, cluster, told, keeps, state, name, caplog
):
    job_id = async_task(getattr(work, name))
    (message,) = cluster.fetch()
    cluster.run(message if keeps else {**message, "ack_id": None})
    assert told(job_id).state is state
    assert row_of(job_id) is None
    assert "cannot be pickled, so Django-Q2 neither records nor acknowledges it" in caplog.text


@pytest.mark.parametrize(("ack_failure", "state"), [(True, State.FAILED), (False, State.ENQUEUED)])
def test_a_function_that_the_worker_lacks_fails_unless_it_comes_back(
    async_task, work, cluster, told, monkeypatch, ack_failure, state
):
    job_id = async_task(f"{work.__name__}.double", 1, ack_failure=ack_failure)
    monkeypatch.delattr(work, "double")
    cluster.work()
    job = told(job_id)
    assert (job.state, job.error and job.error.code) == (state, "unknown_task" if ack_failure else None)


def test_a_function_sent_as_itself_that_is_gone_is_not_heard_of(async_task, work, cluster, told, monkeypatch):
    job_id = async_task(work.double, 1)
    monkeypatch.delattr(work, "double")
    with pytest.raises(AttributeError, match="double"):  # Django-Q2's pusher ends
        cluster.fetch()
    assert told(job_id).state is State.ENQUEUED


# Delivered again


def test_a_second_delivery_of_a_finished_job_is_not_told(async_task, work, cluster, told, conf):
    conf.RETRY = 0
    with started_by(work.user("7")):
        job_id = async_task(work.breaks_later)
    (message,) = cluster.fetch()
    cluster.run(dict(message))
    before = told(job_id)
    cluster.run(message)
    assert work.seen == ["run", "run"]
    assert before.state is State.FINISHED
    assert told(job_id) == before
    assert row_of(job_id).success


def test_what_such_a_delivery_sends_is_its_owner_s(async_task, work, cluster, told, conf):
    conf.RETRY = 0
    with started_by(work.user("7")):
        async_task(work.starts_another)
    (message,) = cluster.fetch()
    for _ in range(2):
        cluster.run(dict(message))
    assert [told(job_id).owner for job_id in work.seen] == ["7", "7"]


def test_no_store_is_asked_for_a_message_that_is_too_young(async_task, work, cluster, told, monkeypatch):
    async_task(work.double, 1)
    asked = []
    monkeypatch.setattr(tracking, "publish", lambda event, **_: asked.append(event))
    cluster.work()
    assert asked == []


def test_a_job_is_done_once_one_of_two_runs_is(async_task, work, cluster, told, conf):
    conf.RETRY = 0
    job_id = async_task(work.waits)
    first, second = (cluster.fetch()[0] for _ in range(2))
    seen = []

    def second_begins():
        cluster.run(second)
        seen.append(told(job_id))

    work.meanwhile.append(second_begins)
    cluster.run(first)
    assert (seen[0].state, seen[0].attempt, seen[0].result) == (State.FINISHED, 2, "second")
    assert told(job_id) == seen[0]


def test_a_job_is_done_even_if_another_run_has_begun_since(async_task, work, cluster, told, conf):
    conf.RETRY = 0
    job_id = async_task(work.waits_and_breaks_beside)
    first, second = (cluster.fetch()[0] for _ in range(2))
    states = []

    def second_breaks():
        cluster.run(second)
        states.append(told(job_id).state)

    work.meanwhile.append(second_breaks)
    cluster.run(first)
    assert states == [State.RETRYING]
    assert (told(job_id).state, told(job_id).attempt) == (State.FINISHED, 2)
    assert row_of(job_id).success


# Cancelled


def test_a_job_that_was_cancelled_while_it_waited_does_not_run(async_task, work, cluster, told):
    job_id = async_task(work.double, 4)
    tracking.cancel(job_id)
    cluster.work()
    assert told(job_id).state is State.CANCELLED
    assert work.seen == cluster.waiting == []


def test_a_job_that_stops_when_asked_is_cancelled_for_good(async_task, work, cluster, told):
    job_id = async_task(work.stops_when_asked)
    work.meanwhile.append(lambda: tracking.cancel(job_id))
    cluster.work()
    assert told(job_id).state is State.CANCELLED
    cluster.come_back()
    cluster.work()
    assert (told(job_id).state, told(job_id).attempt) == (State.CANCELLED, 1)
    assert work.seen == cluster.waiting == []


@pytest.mark.parametrize("by", ["row", "admin"])
def test_a_row_that_is_deleted_cancels_its_job_even_if_it_was_fetched(async_task, work, cluster, told, by):
    from django.contrib import admin  # noqa: PLC0415 - the rest needs it
    from django_q.admin import QueueAdmin  # noqa: PLC0415 - only where it is installed
    from django_q.models import OrmQ  # noqa: PLC0415

    job_id = async_task(work.double, 4)
    async_task(work.untracked)
    messages = cluster.fetch()
    if by == "row":
        for row in cluster.waiting:
            row.delete()
    else:
        QueueAdmin(OrmQ, admin.site).delete_queryset(None, OrmQ.objects.all())
    assert (told(job_id).state, told(job_id).error.code) == (State.CANCELLED, "cancelled")
    cluster.run(*messages)
    assert told(job_id).state is State.CANCELLED
    assert work.seen == [("untracked", 0, "")]


def test_a_deletion_that_is_taken_back_cancels_nothing(async_task, work, cluster, told):
    job_id = async_task(work.double, 4)
    with transaction.atomic():
        cluster.waiting[0].delete()
        transaction.set_rollback(True)
    assert told(job_id).state is State.ENQUEUED


def test_the_row_of_a_job_at_work_may_be_deleted(async_task, work, cluster, told):
    job_id = async_task(work.waits)
    work.meanwhile.append(cluster.waiting[0].delete)
    cluster.work()
    assert told(job_id).state is State.FINISHED


# Where it is sent


def test_a_synchronous_job_runs_where_it_is_sent(async_task, work, told):
    with started_by(work.user("7")):
        job_id = async_task(work.double, 4, sync=True)
    job = told(job_id)
    assert (job.state, job.result, job.owner, job.attempt) == (State.FINISHED, 8, "7", 1)


def test_a_synchronous_failure_is_the_end_and_raises(async_task, work, told):
    with pytest.raises(ValueError, match="secret"):
        async_task(work.breaks, sync=True)
    (job_id,) = known_jobs()
    assert told(job_id).error.code == "error"


def known_jobs():
    """Return the ids of the jobs on record."""
    from immortus_channels.stores import get_store  # noqa: PLC0415 - only here
    from immortus_channels.stores.base import Filter  # noqa: PLC0415

    drain()
    return [job.job_id for job in get_store().list(Filter(), limit=10)]


def test_a_synchronous_job_in_a_job_leaves_that_at_work(async_task, work, cluster, told):
    job_id, sent = async_task(work.waits), []
    work.meanwhile.append(lambda: sent.append(async_task(work.double, 1, sync=True)))
    cluster.work()
    assert told(sent[0]).state is told(job_id).state is State.FINISHED
    assert told(job_id).result == "first"


def test_a_synchronous_exit_is_a_failure(async_task, work, told):
    with pytest.raises(SystemExit):
        async_task(work.leaves, sync=True)
    (job_id,) = known_jobs()
    assert told(job_id).error.code == "error"


@pytest.mark.parametrize("sync", [False, True])
def test_a_synchronous_cluster_is_eager(queue, conf, monkeypatch, sync):
    monkeypatch.setattr(conf, "SYNC", sync)
    assert queue.is_eager() is sync
