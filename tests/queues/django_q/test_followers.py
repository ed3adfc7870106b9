"""What Django-Q2 sends itself has the owner of the job that it follows; what a schedule sends is for staff."""

from __future__ import annotations

import pytest

from immortus_channels import started_by
from immortus_channels.jobs.job import State
from immortus_channels.stores import get_store
from immortus_channels.stores.base import Filter
from immortus_channels.writer import drain


@pytest.fixture
def jobs(queue):
    """Return what is told of all jobs, the newest last."""

    def read():
        drain()
        return sorted(get_store().list(Filter(), limit=50), key=lambda job: job.enqueued_at)

    return read


def name_of(job):
    return job.job_class.rpartition(".")[2]


def test_each_call_of_an_iteration_is_a_job(async_task, work, cluster, jobs, settings):
    from django_q.tasks import async_iter, fetch  # noqa: PLC0415 - only where it is installed

    with started_by(work.user("7")):
        group = async_iter(work.double, [1, 2, 3])
    cluster.work()
    assert [(job.state, job.result, job.owner) for job in jobs()] == [(State.FINISHED, 2 * n, "7") for n in (1, 2, 3)]
    assert fetch(group).result == [2, 4, 6]
    assert group not in [job.job_id for job in jobs()]


def test_of_a_failed_iteration_the_queue_gives_up_the_last_alone(async_task, work, cluster, jobs, conf):
    from django_q.tasks import async_iter  # noqa: PLC0415 - only where it is installed

    conf.MAX_ATTEMPTS = 1
    async_iter(work.breaks, [(), ()])
    cluster.work()
    assert [job.state for job in jobs()] == [State.RETRYING, State.FAILED]
    assert len(cluster.waiting) == 1


@pytest.mark.parametrize("first", ["double", "untracked"])
def test_each_link_of_a_chain_is_its_owner_s(async_task, work, cluster, jobs, first):
    from django_q.tasks import async_chain  # noqa: PLC0415 - only where it is installed

    with started_by(work.user("7")):
        async_chain([(getattr(work, first), (1,)), (f"{work.__name__}.double", (2,)), (work.double, (3,))])
    for _ in range(3):
        cluster.work()
    expected = [1, 2, 3] if first == "double" else [2, 3]
    assert [(job.params["number"], job.owner, job.staff_only) for job in jobs()] == [(n, "7", False) for n in expected]
    assert {job.state for job in jobs()} == {State.FINISHED}


def test_a_chain_without_a_group_is_sent_as_any_task(async_task, work, jobs):
    job_id = async_task(work.double, 1, chain=[(work.double, (2,))])
    assert [job.job_id for job in jobs()] == [job_id]


def test_a_chain_of_nobody_s_is_nobody_s(async_task, work, cluster, jobs):
    from django_q.tasks import async_chain  # noqa: PLC0415 - only where it is installed

    async_chain([(work.double, (1,)), (work.double, (2,))])
    for _ in range(2):
        cluster.work()
    assert [(job.owner, job.staff_only) for job in jobs()] == [(None, False)] * 2


@pytest.mark.parametrize(("hook", "owner"), [("hook", "7"), ("hook_for_another", "8")])
def test_what_a_result_hook_sends_is_its_job_s_owner_s(async_task, work, cluster, jobs, hook, owner):
    with started_by(work.user("7")):
        async_task(work.double, 1, hook=f"{work.__name__}.{hook}")
    cluster.work()
    assert [(job.params["number"], job.owner) for job in jobs()] == [(1, "7"), (5, owner)]


def test_what_the_monitor_sends_after_another_record_is_nobody_s(async_task, work, cluster, jobs):
    with started_by(work.user("7")):
        async_task(work.double, 1)
    async_task(work.untracked, hook=f"{work.__name__}.hook")
    cluster.work()
    assert [(job.params["number"], job.owner) for job in jobs()] == [(1, "7"), (5, None)]


def test_what_a_job_sends_is_its_owner_s(async_task, work, cluster, jobs):
    with started_by(work.user("7")):
        async_task(work.starts_another)
    cluster.work()
    assert [(name_of(job), job.owner) for job in jobs()] == [("starts_another", "7"), ("double", "7")]


@pytest.mark.parametrize("sender", [None, "7"])
def test_what_a_schedule_sends_is_for_staff(async_task, work, cluster, jobs, sender):
    from django_q.scheduler import scheduler  # noqa: PLC0415 - only where it is installed
    from django_q.tasks import schedule  # noqa: PLC0415

    schedule(f"{work.__name__}.double", 1, name="nightly")
    with started_by(sender and work.user(sender)):
        scheduler(cluster.broker)
    (job,) = jobs()
    assert (job.state, job.owner, job.staff_only) == (State.ENQUEUED, sender, sender is None)
    async_task(work.double, 2)
    assert [job.staff_only for job in jobs()] == [sender is None, False], "what comes after it is not scheduled"
    cluster.work()
    assert {job.state for job in jobs()} == {State.FINISHED}
