"""A job is told before its message goes out, and confirmed once the broker has it; other tasks are left alone."""

from __future__ import annotations

import sys
import time

import pytest
from celery import shared_task
from django.db import transaction

from immortus_channels import queues, started_by, tracked
from immortus_channels.exceptions import ConfigurationError
from immortus_channels.jobs.job import State
from immortus_channels.queues.port import Port
from immortus_channels.queues.results import identify

LATER = 3600 * 1_000_000


def is_confirmed(job):
    """Whether the job may wait longer than for its sending."""
    return job.lease_until - job.enqueued_at > LATER


@pytest.mark.parametrize("given", ["function", "name"])
def test_a_marked_function_is_a_job_however_it_is_sent(async_task, work, record, given):
    with started_by(work.user("7")):
        job_id = async_task(work.double if given == "function" else f"{work.__name__}.double", 4, times=3)
    job = record(job_id)
    assert (job.state, job.owner, job.queue, job.staff_only) == (State.ENQUEUED, "7", "django-q2", False)
    assert job.job_class == f"{work.__name__}.double"
    assert job.params == {"number": 4, "times": 3}


def test_a_function_in_a_class_is_named_by_its_place_there(async_task, work, record, cluster):
    job_id = async_task(work.Painter.paint)
    assert record(job_id).job_class == f"{work.__name__}.Painter.paint"
    assert queues.find(record(job_id).job_class)[1] is not None
    cluster.work()
    assert record(job_id).state is State.FINISHED


def test_a_function_is_known_by_its_own_name_under_another_one(async_task, work, record, monkeypatch):
    monkeypatch.setattr(work, "other", work.double, raising=False)
    assert record(async_task(f"{work.__name__}.other", 1)).job_class == f"{work.__name__}.double"


@pytest.mark.parametrize("given", ["function", "name"])
def test_a_function_without_a_mark_is_left_alone(async_task, work, record, cluster, given):
    job_id = async_task(work.untracked if given == "function" else f"{work.__name__}.untracked")
    assert record(job_id) is None
    (row,) = cluster.waiting
    assert "immortus" not in row.task
    cluster.work()
    assert record(job_id) is None
    assert work.seen == [("untracked", 0, "")]


# Names of modules that are not loaded


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module of a package that is loaded; return the dotted name of its function `run`."""
    monkeypatch.syspath_prepend(tmp_path)
    written = []

    def write(source):
        name = f"shop_{len(written)}_{tmp_path.name}"
        written.append(name)
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
        (tmp_path / name / "tasks.py").write_text(source)
        return f"{name}.tasks.run"

    yield write
    for name in [name for name in sys.modules if name.partition(".")[0] in written]:
        del sys.modules[name]


MARKED = "from immortus_channels import tracked\n@tracked\ndef run(): pass\n"
MARKED_ELSEWHERE = "from tests.queues.django_q.work import tracked as follow\n@follow\ndef run(): pass\n"


def test_a_module_with_marks_is_imported_where_its_function_is_sent(async_task, module, record):
    job_id = async_task(module(MARKED))
    assert record(job_id).state is State.ENQUEUED


def test_another_module_is_left_to_the_worker(async_task, module, record, cluster, work):
    name = module(MARKED_ELSEWHERE.replace("tests.queues.django_q.work", "marks"))
    sys.modules["marks"] = work
    with started_by(work.user("7")):
        job_id = async_task(name)
    assert name.rpartition(".")[0] not in sys.modules
    assert record(job_id) is None
    cluster.work()
    del sys.modules["marks"]
    assert (record(job_id).state, record(job_id).owner) == (State.FINISHED, "7")


@pytest.mark.parametrize("name", ["no_such_module.run", "_testcapi.run", "immortus_channels.nothing"])
def test_a_name_that_leads_nowhere_here_is_sent_with_its_owner(async_task, cluster, record, name, work, caplog):
    with started_by(work.user("7")):
        job_id = async_task(name)
    assert record(job_id) is None
    (row,) = cluster.waiting
    assert row.task["immortus"]["owner"] == "7"
    assert caplog.messages == [message for message in caplog.messages if "Tracking failed" not in message]


def test_a_module_that_cannot_be_imported_is_sent_all_the_same(async_task, module, cluster, caplog):
    async_task(module(MARKED + "import no_such_module"))
    (row,) = cluster.waiting
    assert row.task["immortus"]["send_id"]
    assert "cannot be imported here" in caplog.text


# Confirmed


def test_a_message_is_confirmed_once_the_broker_has_it(async_task, work, record):
    assert is_confirmed(wait_for(record, async_task(work.double, 1), is_confirmed))


def wait_for(record, job_id, holds):
    """Return the job once this holds: the writer renews leases soon, not at once."""
    until = time.monotonic() + 3
    while not holds(record(job_id)) and time.monotonic() < until:
        time.sleep(0.02)
    return record(job_id)


def test_a_message_of_a_transaction_is_confirmed_with_it(async_task, work, record):
    with transaction.atomic():
        job_id = async_task(work.double, 1)
        time.sleep(0.2)
        assert not is_confirmed(record(job_id))
    assert is_confirmed(wait_for(record, job_id, is_confirmed))


def test_a_message_that_cannot_be_signed_is_not_confirmed_by_the_next(async_task, work, record):
    with pytest.raises(AttributeError, match="lambda"):
        async_task(work.double, lambda: None)
    async_task(work.untracked)
    time.sleep(0.2)
    (job,) = [job for job in map(record, queues.classes._sent) if job is not None and not is_confirmed(job)][-1:]
    assert job.state is State.ENQUEUED


def test_what_a_hook_of_ours_raises_stops_no_task(async_task, work, record, cluster, monkeypatch):
    def breaks(*_, **__):
        raise RuntimeError

    for name in ("prepare", "begin", "ended"):
        monkeypatch.setattr(Port, name, breaks)
    job_id = async_task(work.double, 4)
    cluster.work()
    assert record(job_id) is None
    assert work.seen == [("", 4)]
    assert cluster.waiting == []


# Results


def test_the_id_and_its_records_stand_for_the_job(async_task, work, cluster):
    from django_q.models import Task  # noqa: PLC0415 - only where it is installed
    from django_q.tasks import AsyncTask  # noqa: PLC0415

    job_id = async_task(work.double, 4)
    name = f"{work.__name__}.double"
    assert identify(job_id) == (job_id, None)
    (row,) = cluster.waiting
    assert identify(row) == (job_id, name)
    cluster.work()
    assert identify(Task.objects.get(id=job_id)) == (job_id, name)
    sent = AsyncTask(work.double, 4)
    with pytest.raises(ConfigurationError, match=r"call its run\(\)"):
        identify(sent)
    job_id = sent.run()
    assert identify(sent) == (job_id, name)


def test_what_stands_for_no_job_is_refused(async_task, work, cluster):
    from django_q import tasks  # noqa: PLC0415 - only where it is installed
    from django_q.models import Schedule, Task  # noqa: PLC0415

    async_task(work.untracked)
    cluster.work()
    with pytest.raises(ConfigurationError, match=r"untracked' is not tracked; write @tracked"):
        identify(Task.objects.get())
    for thing in (tasks.Iter(work.double), tasks.Chain(), Schedule()):
        with pytest.raises(ConfigurationError, match=r"is not a job but stands for several; give what async_task"):
            identify(thing)
    for group in (tasks.async_iter(work.double, [1, 2]), tasks.async_chain([(work.double, (1,)), work.breaks])):
        with pytest.raises(ConfigurationError, match=r"What async_(iter|chain)\(\) returned"):
            identify(group)


def test_a_marked_function_is_a_task_of_this_queue_and_no_other_is(queue, work):
    assert queues.name_of(work.double) == f"{work.__name__}.double"
    assert queue.name_of(work.untracked) is None
    assert queue.name_of("a name") is None
    assert f"{work.__name__}.double" in queue.tracked_names()
    assert f"{work.__name__}.untracked" not in queue.tracked_names()


def test_a_marked_task_of_another_queue_is_not_one_of_this(queue, work, monkeypatch):
    monkeypatch.setattr(work, "painted", tracked(shared_task(name="painted")(work.untracked)), raising=False)
    assert queue.options_of(f"{work.__name__}.painted") is None
