"""Above a queue's own decorator a mark is found, and the task's function asks; each queue's own worker code runs it."""

from __future__ import annotations

import inspect
import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import django
import pytest
from celery import Celery
from django.utils.module_loading import import_string

from immortus_channels import queues, tracked
from immortus_channels.exceptions import ConfigurationError
from immortus_channels.loading import ADAPTERS
from immortus_channels.queues import marked
from immortus_channels.queues.body import awaited
from immortus_channels.queues.port import Port
from immortus_channels.queues.tracked import TaskOptions, options_on
from tests.queues import benches
from tests.queues.benches import BENCHES, Bench

STUDIO = "studio_of_a_project"
SOURCE = """
ran = []

def double(number):
    ran.append(number)
    return number * 2

async def adouble(number):
    ran.append(number)
    return number * 2

async def in_context(ctx, number=4):
    ran.append(number)
    return number * 2
"""


@pytest.fixture(params=BENCHES, ids=lambda kind: kind.__name__)
def bench(request, monkeypatch) -> Bench:
    """A queue that has an adapter, which is not connected yet."""
    return open_bench(request.param, monkeypatch)


def open_bench(kind: type[Bench], monkeypatch) -> Bench:
    kind.need()
    monkeypatch.setattr(queues, "connected", [])
    for package in kind.packages:
        monkeypatch.setitem(ADAPTERS, package, "shop.adapters.Queue")
    return kind()


@pytest.fixture
def studio(monkeypatch) -> ModuleType:
    """A module of a project, which workers import."""
    module = ModuleType(STUDIO)
    monkeypatch.setitem(sys.modules, STUDIO, module)
    monkeypatch.setattr("immortus_channels.queues.tracked.places", set())
    exec(SOURCE, vars(module))
    return module


def declared(bench: Bench, studio: ModuleType) -> Any:
    """The task as its queue's decorator leaves it, under the function's name."""
    task = bench.declare(getattr(studio, bench.function))
    setattr(studio, bench.function, task)
    return task


class Message:
    """A message of the task with this mark that a worker is at."""

    def __init__(self, options: object, *, refused: bool = False) -> None:
        self.options, self.refused, self.value = options, refused, None

    @contextmanager
    def body(self) -> Iterator[None]:
        awaited.set(None)
        yield

    def begin(self) -> None:
        awaited.set(self)


@pytest.fixture(autouse=True)
def _nothing_awaited(monkeypatch):
    """No run but the test's own: adapters in use begin none."""

    def begin(*_, **__):
        msg = "the test begins its runs itself"
        raise RuntimeError(msg)

    monkeypatch.setattr(Port, "begin", begin)
    monkeypatch.setattr(Port, "abegin", begin)
    yield
    awaited.set(None)


def run(bench: Bench, task: Any, *, refused: bool = False) -> Message:
    message = Message(options_on(task), refused=refused)
    bench.run(task, message.begin)
    return message


OPTIONS = TaskOptions(params=["number"], cancel="never")


def mark(task: Any) -> Any:
    return tracked(params="number", cancel=False)(task)


def test_above_a_decorator_the_task_itself_bears_the_mark(bench, studio):
    task = declared(bench, studio)
    above = mark(task)
    assert options_on(above) == TaskOptions(params=("number",), cancel="never")
    assert above is task or type(task) is type(mark)


def test_called_it_marks_the_task_that_stands_in_its_module(bench, studio):
    task = declared(bench, studio)
    tracked(task, cancel=False)
    assert options_on(getattr(studio, bench.function)) == TaskOptions(cancel="never")


def test_its_job_runs_as_ever_and_tells_what_it_returned(bench, studio):
    setattr(studio, bench.function, task := mark(declared(bench, studio)))
    message = run(bench, task)
    assert (studio.ran, message.value) == ([4], 8)


def test_a_refused_job_of_it_leaves_its_body_out(bench, studio):
    setattr(studio, bench.function, task := mark(declared(bench, studio)))
    message = run(bench, task, refused=True)
    assert (studio.ran, message.value) == ([], None)


def test_a_name_that_its_function_does_not_take_is_refused(bench, studio):
    with pytest.raises(ConfigurationError, match=r"does not take 'size'; it takes .*number"):
        tracked(params=["size"])(declared(bench, studio))


def test_without_an_adapter_the_task_is_refused(bench, studio, monkeypatch):
    if isinstance(bench, benches.Rq | benches.Saq) and not isinstance(bench, benches.SaqCron):
        pytest.skip("nothing tells such a function from any other")
    task = declared(bench, studio)
    for module in [*ADAPTERS]:
        if any(f"{module}.".startswith(f"{package}.") for package in bench.packages):
            monkeypatch.delitem(ADAPTERS, module)
    with pytest.raises(ConfigurationError, match="which has no adapter here"):
        mark(task)
    assert options_on(task) is None


def test_marks_above_and_under_leave_the_upper_one_in_force(bench, studio):
    setattr(studio, bench.function, tracked(getattr(studio, bench.function), params=True))
    setattr(studio, bench.function, task := mark(declared(bench, studio)))
    assert options_on(task).cancel == "never"
    assert run(bench, task, refused=True).value is None
    assert studio.ran == []


def test_under_the_decorator_the_mark_is_found_on_the_task_too(bench, studio):
    setattr(studio, bench.function, mark(getattr(studio, bench.function)))
    assert options_on(declared(bench, studio)) == TaskOptions(params=("number",), cancel="never")


@pytest.mark.parametrize(
    "kind", [benches.Huey, benches.Dramatiq, benches.Procrastinate, benches.Taskiq], ids=lambda kind: kind.__name__
)
def test_another_task_of_the_same_function_stays_untracked(kind, studio, monkeypatch):
    bench = open_bench(kind, monkeypatch)
    task, other = bench.declare(studio.double), bench.declare(studio.double, name="other")
    mark(task)
    assert options_on(other) is None
    assert (options_on(studio.double), other is not task) == (None, True)


@pytest.mark.parametrize("kind", [benches.DjangoTasks, benches.Backport], ids=lambda kind: kind.__name__)
def test_copies_that_using_makes_are_tracked_whenever_they_were_made(kind, studio, monkeypatch):
    bench = open_bench(kind, monkeypatch)
    task = declared(bench, studio)
    earlier = task.using(priority=0)
    mark(task)
    later = task.using(priority=0)
    options = options_on(task)
    assert options is options_on(earlier) is options_on(later)
    assert run(bench, later, refused=True).value is None
    assert studio.ran == []


def test_django_s_workers_find_the_very_task_that_was_marked(studio, monkeypatch):
    task = mark(declared(open_bench(benches.DjangoTasks, monkeypatch), studio))
    assert import_string(task.module_path) is task
    if django.VERSION >= (6, 1):
        assert options_on(pickle.loads(pickle.dumps(task))) is options_on(task)


def test_a_pool_of_processes_finds_taskiq_s_function_by_its_name(studio, monkeypatch):
    task = mark(declared(open_bench(benches.Taskiq, monkeypatch), studio))
    assert pickle.loads(pickle.dumps(task.original_func)) is task.original_func


def test_a_coroutine_function_stays_one(studio, monkeypatch):
    for kind in (benches.ProcrastinateAsync, benches.TaskiqAsync, benches.DjangoTasksAsync):
        task = mark(declared(open_bench(kind, monkeypatch), studio))
        assert inspect.iscoroutinefunction(marked.function_of(task))
        exec(SOURCE, vars(studio))


def test_huey_s_own_call_of_the_function_goes_past(studio, monkeypatch):
    task = mark(declared(open_bench(benches.Huey, monkeypatch), studio))
    assert task.call_local(3) == 6


def test_what_another_release_keeps_elsewhere_is_marked_itself():
    moved = type("Actor", (), {"__module__": "dramatiq.actor"})()
    assert not marked.put(moved, OPTIONS)
    assert (marked.function_of(moved), marked.mark_on(moved)) == (None, None)


def test_celery_s_tasks_and_others_are_not_in_the_table():
    app = Celery("others", set_as_current=False)

    @app.task(shared=False, name="made")
    def made():
        pass

    for thing in (made, SimpleNamespace(func=1), None, 7, print):
        assert marked.place_in(thing) is None
        assert marked.function_of(thing) is None
