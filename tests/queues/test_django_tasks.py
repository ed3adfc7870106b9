"""Jobs of django.tasks, or of its backport, on backends that have no worker."""

from __future__ import annotations

import contextvars
import sys
from contextvars import copy_context
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from importlib import import_module
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
from django.contrib.auth.models import Group
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.test import RequestFactory
from django.utils import timezone

from immortus_channels import JobFailed, current_job, queues, render_immortus, started_by, tracked, tracking
from immortus_channels.conf import leases
from immortus_channels.current import run_here
from immortus_channels.exceptions import ConfigurationError
from immortus_channels.jobs.job import State
from immortus_channels.jobs.lifecycle import due_at
from immortus_channels.queues import tracked as marks
from immortus_channels.queues.django_tasks import DjangoTasksQueue, receivers
from immortus_channels.queues.port import Port
from immortus_channels.queues.results import identify
from immortus_channels.queues.tracked import MARK, TaskOptions
from immortus_channels.stores import get_store
from immortus_channels.testing import recorded_jobs
from immortus_channels.urls import immortus_jobs
from tests.toys import ToyQueue

PACKAGE = next((package for package in ("django.tasks", "django_tasks") if find_spec(package)), None)
if PACKAGE is None:
    pytest.skip("Django is older than 6, and django-tasks is not installed", allow_module_level=True)
framework = import_module(PACKAGE)
signals = import_module(f"{PACKAGE}.signals")
IMMEDIATE = import_module(f"{PACKAGE}.backends.immediate").ImmediateBackend
DUMMY = import_module(f"{PACKAGE}.backends.dummy").DummyBackend
task = framework.task
urlpatterns = [*immortus_jobs()]
USER = SimpleNamespace(pk=7)


class Keeper(DUMMY):
    """Never runs a job, and has records that any process can read."""

    supports_get_result = True


class OnCelery(DUMMY):
    """As a backend whose jobs are Celery's."""

    __module__ = "django_tasks_celery.backend"


class Silent(DUMMY):
    """As the backends that send no signals: `findings/` runs the real ones, which need Django 6."""

    __module__ = "dj_queue.backend"


class OfVTasks(Silent):
    """As django-vtasks' backends with workers."""

    __module__ = "django_vtasks.backends.db"


class OfChancy(Silent):
    """As chancy's."""

    __module__ = "chancy.contrib.django.backend"


class AtOnce(IMMEDIATE):
    """As django-vtasks' immediate backend, which sends what the framework's own does."""

    __module__ = "django_vtasks.backends.immediate"


@task
@tracked(params=True, publish_result=True)
def paint(colour, size=1):
    current_job().update(message="painting")
    return {"colour": colour, "attempt": current_job().attempt}


@task
@tracked
async def apaint():
    return current_job().id


@task(takes_context=True)
@tracked(params=True)
def sign(context, name):
    current_job().set_meta(id=context.task_result.id)


@task
@tracked
def spill(how):
    raise {"failed": JobFailed("no_paint", "Out of blue."), "crashed": ValueError("secret"), "left": SystemExit(1)}[how]


@task
@tracked
def interrupted():
    raise KeyboardInterrupt


@task
@tracked
def unstorable():
    return object()


@task
@tracked
def stops():
    tracking.cancel(current_job().id)
    for _ in current_job().track(range(3)):
        pass


@task
@tracked
def starts():
    current_job().set_meta(child=paint.enqueue("red").id)


@task
def marked():
    code = "no_paint"
    raise JobFailed(code, "Out of blue.")


setattr(marked.func, MARK, TaskOptions())


@task
def untracked(colour="red"):
    return [colour, current_job().id]


@tracked
def a_function():
    """Marked, and no task."""


PLACES = {place for place in marks.places if place.startswith(__name__)}
marks.places -= PLACES  # the checks of other tests find no tasks of these
KNOWN = queues.by_name("django.tasks").tasks
TASKS = {name: KNOWN.pop(name) for name in list(KNOWN) if name.startswith(__name__)}


@pytest.fixture
def queue():
    return queues.by_name("django.tasks")


@pytest.fixture(autouse=True)
def _backends(settings, monkeypatch, queue):
    monkeypatch.setattr(queues, "connected", [queue])
    monkeypatch.setattr(marks, "places", PLACES)
    monkeypatch.setattr(queue, "tasks", {**TASKS})
    settings.TASKS = {
        "default": {"BACKEND": f"{PACKAGE}.backends.immediate.ImmediateBackend"},
        "dummy": {"BACKEND": f"{PACKAGE}.backends.dummy.DummyBackend", "QUEUES": []},
        "keeper": {"BACKEND": f"{__name__}.Keeper"},
        "celery": {"BACKEND": f"{__name__}.OnCelery"},
        "silent": {"BACKEND": f"{__name__}.Silent"},
    }


@pytest.fixture
def jobs():
    with recorded_jobs() as jobs:
        yield jobs


def on_record(job_id):
    return get_store().get_many([job_id]).jobs.get(job_id)


# From enqueue to end


def test_a_job_is_told_from_its_sending_to_its_end(jobs):
    with started_by(USER):
        result = paint.enqueue("blue")
    job = on_record(result.id)
    assert jobs.states(result.id) == ["enqueued", "running", "finished"]
    assert (job.queue, job.owner, job.job_class) == ("django.tasks", "7", f"{__name__}.paint")
    assert job.params == {"colour": "blue", "size": 1}
    assert job.result == result.return_value == {"colour": "blue", "attempt": 1}
    assert run_here() is None


async def test_a_job_that_is_sent_on_an_event_loop_is_told_as_well(jobs):
    with started_by(USER):
        result = await paint.aenqueue("blue")
    assert jobs.states(result.id) == ["enqueued", "running", "finished"]
    assert (await aon_record(result.id)).owner == "7"
    assert run_here() is None


async def aon_record(job_id):
    return get_store().get_many([job_id]).jobs.get(job_id)


def test_a_coroutine_function_knows_its_job(jobs):
    result = apaint.enqueue()
    assert (result.return_value, jobs.last(result.id)["state"]) == (result.id, "finished")


def test_the_context_that_a_task_takes_is_no_argument(jobs):
    result = sign.enqueue("Vermeer")
    assert on_record(result.id).params == {"name": "Vermeer"}
    assert on_record(result.id).meta == {"id": result.id}


def test_a_job_that_a_job_starts_has_its_owner(jobs):
    with started_by(USER):
        result = starts.enqueue()
    child = on_record(on_record(result.id).meta["child"])
    assert (child.owner, child.state) == ("7", State.FINISHED)


def test_an_untracked_task_leaves_no_trace(jobs):
    assert untracked.enqueue().return_value == ["red", ""]
    assert jobs.documents == []


@pytest.mark.parametrize(("how", "code"), [("failed", "no_paint"), ("crashed", "error"), ("left", "error")])
def test_a_failure_is_told_and_stays_the_task_s_own(jobs, how, code):
    result = spill.enqueue(how)
    assert result.status == "FAILED"
    assert jobs.last(result.id)["error"]["code"] == code
    assert "secret" not in str(jobs.documents)


def test_what_the_backend_cannot_store_has_failed(jobs):
    result = unstorable.enqueue()
    assert (result.status, jobs.states(result.id)[-1]) == ("FAILED", "failed")


def test_a_job_that_is_asked_to_stop_is_cancelled(jobs):
    result = stops.enqueue()
    assert jobs.states(result.id) == ["enqueued", "running", "cancelled"]
    assert result.errors[0].exception_class_path.endswith("JobCancelled")


# What goes wrong around a run


def test_ctrl_c_in_a_job_is_told_and_leaves_the_context(jobs):
    with pytest.raises(KeyboardInterrupt):
        interrupted.enqueue()
    (job_id,) = {job_id for job_id, _ in jobs.events}
    assert jobs.states(job_id) == ["enqueued", "running", "failed"]
    assert run_here() is None


@pytest.fixture
def raising():
    """Have a receiver of the project raise in a signal."""
    connected = []

    def connect(name):
        def receiver(**_):
            msg = "the project's own"
            raise LookupError(msg)

        connected.append((getattr(signals, name), receiver))
        connected[-1][0].connect(receiver)

    yield connect
    for signal, receiver in connected:
        signal.disconnect(receiver)


def test_a_run_that_a_receiver_keeps_from_its_body_has_failed(jobs, raising):
    raising("task_started")
    with pytest.raises(LookupError):
        paint.enqueue("blue")
    (job_id,) = {job_id for job_id, _ in jobs.events}
    assert jobs.states(job_id) == ["enqueued", "running", "failed"]
    assert run_here() is None


def test_an_end_that_is_told_twice_counts_once(jobs):
    result = paint.enqueue("blue")
    object.__setattr__(result, "status", "FAILED")
    signals.task_finished.send(type(result), task_result=result)
    assert jobs.states(result.id) == ["enqueued", "running", "finished"]


@pytest.mark.parametrize("method", ["sent", "begin", "here"])
def test_what_breaks_in_tracking_reaches_no_task(jobs, monkeypatch, method):
    def broken(*_, **__):
        msg = "ours"
        raise RuntimeError(msg)

    monkeypatch.setattr(Port, method, broken)
    result = contextvars.copy_context().run(paint.enqueue, "blue")
    assert (result.status, result.return_value["colour"]) == ("SUCCESSFUL", "blue")


# Runs in other processes, by the signals that their backends send


def begin(result):
    signals.task_started.send(DUMMY, task_result=result)


def end(result, status="SUCCESSFUL"):
    object.__setattr__(result, "status", framework.TaskResultStatus[status])
    signals.task_finished.send(DUMMY, task_result=result)


@pytest.fixture
def waiting(jobs):
    """A job that waits for a worker."""
    return paint.using(backend="dummy").enqueue("blue")


def test_a_job_without_a_worker_waits(jobs, waiting):
    assert jobs.states(waiting.id) == ["enqueued"]


def test_a_job_for_later_waits_until_then(jobs):
    due = timezone.now() + timedelta(days=3)
    result = paint.using(backend="dummy", run_after=due, priority=5, queue_name="night").enqueue("blue")
    assert due_at(on_record(result.id), leases()) == pytest.approx(due.timestamp() * 1e6, abs=5e6)


def test_a_job_that_was_cancelled_while_it_waited_does_not_run(jobs, waiting):
    tracking.cancel(waiting.id)
    begin(waiting)
    assert paint.call("blue") is None
    end(waiting)
    assert jobs.states(waiting.id) == ["enqueued", "cancelled"]
    assert paint.call("blue")["colour"] == "blue"


def test_a_run_that_is_told_before_its_sending_learns_its_owner(jobs):
    result = replace(paint.using(backend="dummy").enqueue("blue"), id="early-1")
    copy_context().run(begin, result)
    with started_by(USER):
        signals.task_enqueued.send(DUMMY, task_result=result)
    end(result)
    job = on_record("early-1")
    assert (job.state, job.owner, job.params) == (State.FINISHED, "7", {"colour": "blue", "size": 1})


def test_a_second_run_of_a_job_is_its_next_attempt(jobs, waiting):
    for _ in range(2):
        begin(waiting)
        end(waiting)
    assert jobs.last(waiting.id)["attempt"] == 2


@pytest.mark.parametrize(("status", "state"), [("FAILED", "failed"), ("SUCCESSFUL", "finished")])
def test_an_end_that_another_process_tells_is_believed(jobs, waiting, status, state):
    end(waiting, status)
    assert jobs.last(waiting.id)["state"] == state


def test_a_failure_without_a_known_error_is_one(jobs, waiting):
    begin(waiting)
    end(waiting, "FAILED")
    assert jobs.last(waiting.id)["error"]["code"] == "error"


def test_what_the_body_raised_is_remembered_until_its_end_is_told(jobs):
    result = spill.using(backend="dummy").enqueue("failed")
    begin(result)
    with pytest.raises(JobFailed):
        spill.call("failed")
    end(result, "FAILED")
    assert jobs.last(result.id)["error"]["code"] == "no_paint"


def test_a_mark_on_a_function_as_it_is_tells_the_same_end(jobs):
    result = marked.enqueue()
    assert jobs.last(result.id)["error"]["code"] == "no_paint"


@pytest.mark.django_db(transaction=True)
def test_a_row_whose_id_the_database_makes_is_confirmed_by_its_transaction(jobs):
    @dataclass(frozen=True, kw_only=True)
    class Result(framework.TaskResult):
        db_result: Group

    with transaction.atomic():
        group = Group.objects.create(name="a row")
        given = paint.using(backend="dummy").enqueue("blue")
        named = {field.name: getattr(given, field.name) for field in fields(given) if field.init}
        result = Result(**{**named, "id": "made-1"}, db_result=group)
        signals.task_enqueued.send(DUMMY, task_result=result)
        assert (is_confirmed(given.id), is_confirmed("made-1")) == (True, False)
    assert is_confirmed("made-1")


def test_a_job_that_celery_s_adapter_follows_is_left_to_it(jobs, queue, monkeypatch):
    monkeypatch.setattr(queues, "connected", [ToyQueue("celery"), queue])
    result = paint.using(backend="celery").enqueue("blue")
    begin(result)
    end(result)
    assert jobs.documents == []
    monkeypatch.setattr(queues, "connected", [queue])
    assert jobs.states(paint.using(backend="celery").enqueue("blue").id) == ["enqueued"]


def is_confirmed(job_id):
    job = on_record(job_id)
    return job.lease_until > job.enqueued_at + leases().sending


# Names, ids and results


def test_tasks_are_known_by_the_paths_of_their_functions(queue):
    assert queue.name_of(paint) == f"{__name__}.paint"
    assert queue.name_of(a_function) is None
    assert queue.options_of(f"{__name__}.paint").publish_result
    assert queue.options_of(f"{__name__}.untracked") is None
    assert queue.options_of(f"{__name__}.a_function") is queue.options_of("nowhere.at_all") is None


def test_all_tracked_tasks_are_known_by_name(queue):
    tasks = (paint, apaint, sign, spill, interrupted, unstorable, stops, starts)
    assert queue.tracked_names() == {each.module_path for each in (*tasks, marked)}
    queue.tasks.clear()  # as of tasks that were made before the adapter was connected
    assert queue.tracked_names() == {each.module_path for each in tasks}


class Lazy:
    """As a task of Celery's that is made when it is asked for its class."""

    @property
    def __class__(self):
        pytest.fail("a lazy task was made")


def test_a_lazy_task_of_celery_s_stays_unmade(queue, monkeypatch):
    lazy = Lazy()
    monkeypatch.setitem(globals(), "lazy", lazy)
    assert queue.name_of(lazy) is queue.job_of(lazy) is None
    assert queue.options_of(f"{__name__}.lazy") is None


@pytest.mark.urls(__name__)
def test_what_enqueue_returns_is_a_job(jobs):
    result = paint.enqueue("blue")
    assert identify(result) == (result.id, f"{__name__}.paint")
    assert render_immortus(RequestFactory().post("/"), result).status_code == 202


def test_the_result_of_an_untracked_task_is_refused_with_the_cure(jobs):
    with pytest.raises(ConfigurationError, match=r"untracked' is not tracked; write @tracked"):
        identify(untracked.enqueue())


def test_the_result_of_a_backend_without_signals_is_refused_with_the_cure(jobs):
    with pytest.raises(ConfigurationError, match=r"'silent' sends no signals.*JobRepository\(\)"):
        identify(paint.using(backend="silent").enqueue("blue"))


# The backends' own records


@pytest.fixture
def kept(jobs):
    """A job in a backend's record, as its worker may write it."""

    def write(task=paint, value=None, **fields):
        backend = framework.task_backends["keeper"]
        result = task.using(backend="keeper").enqueue("blue")
        written = backend.get_result(result.id)
        fields.setdefault("finished_at", timezone.now() if fields["status"] in ("SUCCESSFUL", "FAILED") else None)
        for name, field in {**fields, "_return_value": value}.items():
            object.__setattr__(written, name, field)
        object.__setattr__(written, "status", framework.TaskResultStatus[fields["status"]])
        return result.id

    return write


STATES = {"READY": "enqueued", "RUNNING": "running", "SUCCESSFUL": "finished", "FAILED": "failed"}


@pytest.mark.parametrize("status", STATES)
def test_a_job_that_the_store_has_lost_is_what_its_backend_says(queue, kept, status):
    job_id = kept(status=status)
    job = queue.fetch(job_id)
    assert (job.job_id, job.state, job.job_class) == (job_id, STATES[status], f"{__name__}.paint")


def test_no_backend_tells_of_a_job_that_it_does_not_know(queue, kept):
    assert queue.fetch("unknown") is None
    assert queue.fetch(kept(untracked, status="SUCCESSFUL")) is None


def test_an_end_on_record_is_that_of_the_run_in_question(queue, kept):
    job_id = kept(status="SUCCESSFUL", value={"colour": "blue"})
    end = queue.end_of(job_id, paint.module_path, since=0)
    assert (type(end).__name__, end.report.result) == ("Finished", {"colour": "blue"})
    assert queue.end_of(job_id, paint.module_path, since=int(timezone.now().timestamp() * 1e6) + 10) is None
    assert queue.end_of(kept(status="RUNNING"), paint.module_path, since=0) is None


@pytest.mark.parametrize("path", ["immortus_channels.exceptions.JobCancelled", "builtins.ValueError"])
def test_a_failure_on_record_may_be_a_stop(queue, kept, path):
    error = import_module(f"{PACKAGE}.base").TaskError(exception_class_path=path, traceback="secret")
    end = queue.end_of(kept(status="FAILED", errors=[error]), paint.module_path, since=0)
    assert (type(end).__name__, end.stopped) == ("Failed", path.endswith("JobCancelled"))
    assert "secret" not in repr(end)


def test_only_backends_that_can_be_asked_are(queue, settings):
    assert queue.keeps_records()
    settings.TASKS = {"default": {"BACKEND": f"{PACKAGE}.backends.immediate.ImmediateBackend"}}
    assert not queue.keeps_records()


def test_backends_that_cannot_be_made_are_left_out(queue, settings):
    settings.TASKS = {"default": {"BACKEND": "no.such.Backend"}}
    assert not queue.keeps_records()
    with pytest.raises(ImproperlyConfigured):
        framework.task_backends["default"]


# Set-up


def test_jobs_run_elsewhere_unless_all_backends_run_them_at_once(queue, settings):
    assert queue.is_eager()
    settings.TASKS = {"default": {"BACKEND": f"{__name__}.Elsewhere"}}
    assert not queue.is_eager()


class Elsewhere(import_module(f"{PACKAGE}.backends.base").BaseTaskBackend):
    """Has workers."""

    def enqueue(self, task, args, kwargs):
        raise NotImplementedError


RELOADS = [
    # arguments of manage.py, DEBUG, warned of
    (["db_worker"], True, True),
    (["db_worker", "--reload"], False, True),
    (["db_worker", "--no-reload"], True, False),
    (["db_worker", "--batch"], True, False),
    (["db_worker"], False, False),
    (["runserver"], True, False),
]


@pytest.mark.parametrize(("arguments", "debug", "warned"), RELOADS)
def test_a_worker_that_reloads_warns_as_it_starts(queue, settings, monkeypatch, arguments, debug, warned):
    settings.DEBUG = debug
    monkeypatch.setattr(sys, "argv", ["manage.py", *arguments])
    assert ("immortus_channels.W040" in {problem.id for problem in queue.problems()}) == warned


def test_backends_without_workers_are_warned_of_in_production(queue, settings):
    problems = {problem.msg for problem in queue.problems() if problem.id == "immortus_channels.W041"}
    assert any("test_django_tasks.paint' is for" in message for message in problems)
    assert not any("untracked" in message for message in problems)
    settings.DEBUG = True
    assert queue.problems() == []


@pytest.mark.parametrize("backend", [Silent, OfVTasks, OfChancy])
def test_a_backend_without_signals_is_warned_of(queue, settings, backend):
    settings.TASKS = {"default": {"BACKEND": f"{__name__}.{backend.__name__}"}}
    problems = {problem.msg for problem in queue.problems() if problem.id == "immortus_channels.W042"}
    assert any("test_django_tasks.paint' sends none" in message for message in problems)


def test_a_backend_that_runs_jobs_at_once_sends_signals(queue, settings):
    settings.TASKS = {"default": {"BACKEND": f"{__name__}.AtOnce"}}
    assert "immortus_channels.W042" not in {problem.id for problem in queue.problems()}


def test_each_package_is_connected_once(queue):
    before = len(signals.task_started.receivers)
    queue.connect(Port(queue, tracking))
    assert len(signals.task_started.receivers) == before


def test_it_is_asked_after_the_queues_on_which_backends_run_jobs():
    assert DjangoTasksQueue.gives_way
    assert {*receivers.OTHERS.values()} == {"celery", "rq", "huey"}


def test_the_adapter_is_brought_by_the_framework_s_signals():
    assert f"{PACKAGE}.signals" in sys.modules
