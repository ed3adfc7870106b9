"""What Procrastinate's adapter knows of tasks, and what stands for a job."""

from __future__ import annotations

import pytest
from django.test import RequestFactory
from procrastinate import App, manager, testing, worker

from immortus_channels import get_strategy, job_info, queues, tracked, tracking
from immortus_channels.exceptions import ConfigurationError
from immortus_channels.queues.port import Port
from immortus_channels.urls import immortus_jobs

urlpatterns = [*immortus_jobs()]
pytestmark = [pytest.mark.postgresql, pytest.mark.urls(__name__)]
request = RequestFactory().post("/start")


@pytest.fixture
def queue(app, monkeypatch):
    """The adapter, without the apps of other tests."""
    queue = queues.by_name("procrastinate")
    monkeypatch.setattr(queue, "_apps", [])
    return queue


@pytest.fixture
def task(app):
    @app.task(name="resize", aliases=["scale"])
    @tracked(cancel=False)
    def resize():
        pass

    return resize


@pytest.fixture
def untracked(app):
    @app.task(name="untracked")
    def untracked():
        pass

    return untracked


def test_tasks_are_known_by_their_names_and_aliases(queue, task, untracked):
    assert queue.tracked_names() == {"resize", "scale"}
    assert queue.options_of("scale").cancel == "never"
    assert queue.options_of("untracked") is None
    assert (queue.name_of(task), queue.name_of(untracked), queue.name_of("resize")) == ("resize", "untracked", None)
    assert get_strategy(task) is not None


def test_tasks_of_another_app_are_known_while_it_lives(queue):
    own = App(connector=testing.InMemoryConnector())

    @own.task(name="own")
    @tracked
    def task():
        pass

    assert queue.tracked_names() == {"own"}


def test_a_job_and_its_row_stand_for_themselves(app, queue, task):
    from procrastinate.contrib.django.models import ProcrastinateJob  # noqa: PLC0415 - the app has to be set up

    number = task.defer()
    (job,) = app.job_manager.list_jobs(id=number)
    row = ProcrastinateJob.objects.using("procrastinate").get(pk=number)
    assert queue.job_of(job) == queue.job_of(row) == (f"procrastinate-{number}", "resize")
    assert job_info(request, job)["job_id"] == f"procrastinate-{number}"


def test_to_connect_it_for_a_second_module_adds_no_hook(queue):
    port = Port(queue, tracking)
    queue.connect(port)
    before = manager.JobManager.batch_defer_jobs_async, worker.Worker._process_job
    queue.connect(port)
    assert before == (manager.JobManager.batch_defer_jobs_async, worker.Worker._process_job)


@pytest.mark.parametrize("given", [7, "procrastinate-7", None, object()])
def test_nothing_else_stands_for_a_job_not_even_a_number(queue, given):
    assert queue.job_of(given) is None


def test_a_job_that_cannot_be_followed_is_refused(task, untracked):
    with pytest.raises(ConfigurationError, match="'untracked' is not tracked"):
        job_info(request, untracked.configure().job.evolve(id=1))
    with pytest.raises(ConfigurationError, match="'resize' has not been deferred"):
        job_info(request, task.configure().job)


def test_a_task_may_be_marked_once_it_was_found_untracked(queue, untracked):
    assert queue.options_of("untracked") is None
    tracked(untracked)
    assert queue.options_of("untracked") is not None
