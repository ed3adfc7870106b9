"""What comes from a queue without an adapter is refused by name and with the cure; nothing takes it for a job."""

from __future__ import annotations

import re
from types import FunctionType, SimpleNamespace

import django
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
    "django.tasks": ["django.tasks.base.Task", "django.tasks.base.TaskResult", "django_tasks.base.TaskResult"],
    "RQ": ["rq.job.Job"],
    "Dramatiq": ["dramatiq.actor.Actor", "dramatiq.message.Message", "dramatiq.composition.pipeline"],
    "Huey": ["huey.api.TaskWrapper", "huey.api.Result"],
    "Procrastinate": ["procrastinate.tasks.Task", "procrastinate.jobs.Job"],
    "taskiq": ["taskiq.decor.AsyncTaskiqDecoratedTask", "taskiq.task.AsyncTaskiqTask"],
    "Django-Q2": ["django_q.models.Task"],
    "APScheduler": ["apscheduler.job.Job"],
}
"""The tasks, messages and results of each queue, as its present release defines them."""


def of_type(path: str) -> object:
    """Something that looks like a job, of a type that is defined in another package."""
    module, _, name = path.rpartition(".")
    return type(name, (), {"__module__": module, "id": "a-1", "job_id": "a-1", "name": "paint"})()


def of_rq() -> FunctionType:
    """What RQ's decorator returns: the function, which has a `delay` of RQ's."""

    def paint() -> None:
        pass

    exec("def delay(): pass", foreign_globals := {"__name__": "rq.decorators"})
    paint.delay = foreign_globals["delay"]
    return paint


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


def test_a_function_under_rq_s_decorator_is_known_by_its_delay():
    with pytest.raises(ConfigurationError, match=r"'paint' belongs to RQ"):
        tracked(of_rq())


def test_what_a_project_derives_from_such_a_type_is_known_too():
    kind = type(of_type("rq.job.Job"))
    assert unsupported.queue_of(type("Mine", (kind,), {"__module__": "shop.jobs"})()) == "RQ"


@pytest.mark.skipif(django.VERSION < (6,), reason="django.tasks came with Django 6")
def test_the_results_of_django_tasks_are_told_from_jobs():
    from django.tasks import task  # noqa: PLC0415 - not in every Django

    for thing in (paint_picture := task(a_function), paint_picture.enqueue()):
        with pytest.raises(ConfigurationError, match=r"django\.tasks, which has no adapter"):
            render_immortus(request, thing)


def a_function():
    return None


def test_what_is_not_of_such_a_queue_is_left_alone():
    @shared_task(name="shop.lazy")
    def lazy():
        pytest.fail("a lazy task was made")

    others = [
        None,
        7,
        "rq",
        a_function,
        unsupported,
        SimpleNamespace(id="a"),
        AsyncResult("a"),
        lazy,
        of_type("rqx.Job"),
    ]
    assert [unsupported.queue_of(one) for one in others] == [None] * len(others)


def test_an_adapter_has_the_first_say(monkeypatch):
    job = of_type("rq.job.Job")
    adapter = SimpleNamespace(job_of=lambda result: (result.id, "paint"), name_of=lambda task: task.name)
    monkeypatch.setattr(queues, "connected", [adapter])
    assert job_info(request, job)["job_class"] == "paint"
    assert queues.name_of(job) == "paint"


def test_the_documentation_lists_each_such_queue_and_no_other():
    told = {name for row in page("reference/queues.md").rows if row[1:] == ["N/A", "no"] for name in row[0].split(", ")}
    aliases = {"django.tasks (Django 6)": "django.tasks", "django-tasks": "django.tasks", "django-rq": "RQ"}
    assert {aliases.get(name, name) for name in told} == without_adapter()


def test_each_such_queue_has_its_types_here():
    assert set(TYPES) == without_adapter()


def without_adapter() -> set[str]:
    return {name for package, name in unsupported.QUEUES.items() if not unsupported.has_adapter(package)}


@pytest.mark.parametrize("module", ["huey", "huey.api"])
def test_an_adapter_in_the_table_takes_its_queue_off_the_list(monkeypatch, module):
    monkeypatch.setitem(ADAPTERS, module, "shop.adapters.HueyQueue")
    result, other = of_type("huey.api.Result"), of_type("dramatiq.message.Message")
    assert [unsupported.queue_of(one) for one in (result, other)] == [None, "Dramatiq"]
    assert without_adapter() == {*TYPES} - {"Huey"}
    tracked(result)
