"""What comes from a queue without an adapter is refused by name and with the cure; nothing takes it for a job."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
from celery import shared_task
from celery.result import AsyncResult
from django.template import engines
from django.test import RequestFactory

from immortus_channels import JobState, get_strategy, job_info, job_page_url, queues, render_immortus, tracked
from immortus_channels.exceptions import ConfigurationError
from immortus_channels.loading import ADAPTERS
from immortus_channels.queues import unsupported
from immortus_channels.urls import immortus_jobs
from tests.pages_of_docs import page

urlpatterns = [*immortus_jobs()]
pytestmark = pytest.mark.urls(__name__)
request = RequestFactory().post("/start")

TYPES = {
    "APScheduler": ["apscheduler.job.Job"],
}
"""The tasks, messages and results of each queue, as its present release defines them."""


def of_type(path: str) -> object:
    """Something that looks like a job, of a type that is defined in another package."""
    module, _, name = path.rpartition(".")
    return type(name, (), {"__module__": module, "id": "a-1", "job_id": "a-1", "name": "paint"})()


THINGS = [pytest.param(queue, of_type(path), id=path) for queue, paths in TYPES.items() for path in paths]

CALLS = {
    "render_immortus": lambda thing: render_immortus(request, thing),
    "job_info": lambda thing: job_info(request, thing),
    "job_page_url": job_page_url,
    "immortus_job": lambda thing: (
        engines["django"].from_string("{% load immortus %}{% immortus_job job %}").render({"job": thing})
    ),
    "tracked": tracked,
    "tracked with options": tracked(cancel=False),
    "get_strategy": get_strategy,
    "JobState": lambda thing: type("Painting", (JobState,), {"task": thing}).all(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(("queue", "thing"), THINGS)
def test_it_is_refused_by_name_and_with_the_cure(queue, thing, call):
    refusal = rf"belongs to {re.escape(queue)}, which has no adapter.*JobRepository\(\)"
    with pytest.raises(ConfigurationError, match=refusal):
        call(thing)


def test_what_a_project_derives_from_such_a_type_is_known_too():
    kind = type(of_type("apscheduler.job.Job"))
    assert unsupported.queue_of(type("Mine", (kind,), {"__module__": "shop.jobs"})()) == "APScheduler"


def a_function():
    return None


def test_what_is_not_of_such_a_queue_is_left_alone():
    @shared_task(name="shop.lazy")
    def lazy():
        pytest.fail("a lazy task was made")

    others = [
        None,
        7,
        "apscheduler",
        a_function,
        unsupported,
        SimpleNamespace(id="a"),
        AsyncResult("a"),
        lazy,
        of_type("apschedulerx.Job"),
    ]
    assert [unsupported.queue_of(one) for one in others] == [None] * len(others)


def test_an_adapter_has_the_first_say(monkeypatch):
    job = of_type("apscheduler.job.Job")
    adapter = SimpleNamespace(job_of=lambda result: (result.id, "paint"), name_of=lambda task: task.name)
    monkeypatch.setattr(queues, "connected", [adapter])
    assert job_info(request, job)["job_class"] == "paint"
    assert queues.name_of(job) == "paint"


def test_the_documentation_lists_each_such_queue_and_no_other():
    told = {name for row in page("reference/queues.md").rows if row[1:] == ["N/A", "no"] for name in row[0].split(", ")}
    assert told == without_adapter()


def test_each_such_queue_has_its_types_here():
    assert set(TYPES) == without_adapter()


def without_adapter() -> set[str]:
    return {name for package, name in unsupported.QUEUES.items() if not unsupported.has_adapter(package)}


@pytest.mark.parametrize("module", ["apscheduler", "apscheduler.job"])
def test_an_adapter_in_the_table_takes_its_queue_off_the_list(monkeypatch, module):
    monkeypatch.setitem(ADAPTERS, module, "shop.adapters.SchedulerQueue")
    monkeypatch.setitem(unsupported.QUEUES, "toyqueue", "Toys")
    job, other = of_type("apscheduler.job.Job"), of_type("toyqueue.Job")
    assert [unsupported.queue_of(one) for one in (job, other)] == [None, "Toys"]
    assert without_adapter() == {"Toys"}
    tracked(job)
