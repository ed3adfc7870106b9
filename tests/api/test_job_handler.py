"""A handler is found among those this process knows, never imported from a record; what is missing has a default."""

from __future__ import annotations

import sys
import types

import pytest
from django.apps import apps

from immortus_channels import loading, queues
from immortus_channels.api import job_handler
from immortus_channels.api.job import JobHandle
from immortus_channels.api.job_handler import JobHandler, handler_of, known, load, name_of, read_attribute
from immortus_channels.exceptions import ConfigurationError, HandlerNotFound
from immortus_channels.jobs.job import Job
from immortus_channels.queues.tracked import TaskOptions
from tests.toys import ToyQueue


class Classroom:
    class NiceHandler(JobHandler):
        def header(self):
            return f"Moving {self.job.data['pupil']}"

        def next_url(self, request):
            return f"/classrooms/{self.job.data['classroom_id']}/"


class Heir(Classroom.NiceHandler):
    message = "Nearly there"


class Broken(JobHandler):
    def __init__(self, job):
        raise RuntimeError

    header = None


class Rude(JobHandler):
    message = None

    def header(self):
        msg = "no header"
        raise ValueError(msg)


class NoHandler:
    pass


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    monkeypatch.setattr(
        queues, "connected", [ToyQueue(marked=TaskOptions(handler=Heir), short=TaskOptions(handler="quick"))]
    )
    for cache in (job_handler._discover, job_handler._unknown):
        cache.cache_clear()
    yield
    for cache in (job_handler._discover, job_handler._unknown):
        cache.cache_clear()


@pytest.fixture
def module(monkeypatch):
    """The `handlers` module of an installed app."""
    name = "immortus_channels.handlers_of_app"
    module = types.ModuleType(name)
    module.Quick = type("Quick", (JobHandler,), {"__module__": name})
    module.Thing = type("Thing", (), {"__module__": name})
    monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(job_handler, "MODULE", "handlers_of_app")
    ours = apps.get_app_config("immortus_channels").module
    monkeypatch.setattr(loading, "module_has_submodule", lambda package, _: package is ours)
    return module


def job(handler="", job_class="", **data):
    return JobHandle("j", record=Job(job_id="j", job_class=job_class, handler=handler, data=data))


# Found by name


@pytest.mark.parametrize("kind", [Classroom.NiceHandler, Heir])
def test_a_handler_that_this_process_knows_is_found_by_its_path(kind):
    assert known(name_of(kind)) is kind
    assert type(handler_of(job(name_of(kind)))) is kind


@pytest.mark.parametrize("name", ["quick", "Quick"])
def test_a_handler_is_found_by_its_short_name(module, name):
    assert type(handler_of(job(name))) is module.Quick


def test_the_modules_of_installed_apps_are_looked_into_without_being_asked(module):
    assert known("immortus_channels.handlers_of_app.Quick") is module.Quick


@pytest.mark.case(48)
def test_no_record_has_anything_imported(tmp_path, monkeypatch):
    (tmp_path / "canary_module.py").write_text(
        "from immortus_channels.api.job_handler import JobHandler\nclass Canary(JobHandler):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("canary_module.Canary", "canary_module", "os.system"):
        assert type(handler_of(job(name))) is JobHandler
    assert "canary_module" not in sys.modules


@pytest.mark.parametrize("name", ["thing", "Thing", "JobHandle", "no_such"])
def test_a_short_name_that_is_no_handler_is_not_found(module, name):
    assert known(name) is None


def test_an_unknown_handler_is_logged_once_and_its_page_says_the_usual(caplog):
    for _ in range(3):
        assert type(handler_of(job("no.where"))) is JobHandler
    assert [record.getMessage() for record in caplog.records] == [
        "No handler 'no.where' is known here: its jobs' pages say what every page says"
    ]


def test_a_job_whose_record_names_none_has_its_tasks_handler(module):
    assert type(handler_of(job(job_class="marked"))) is Heir
    assert type(handler_of(job(job_class="short"))) is module.Quick
    assert type(handler_of(job(job_class="unmarked"))) is JobHandler


def test_the_records_handler_wins_over_the_tasks():
    assert type(handler_of(job(name_of(Classroom.NiceHandler), job_class="marked"))) is Classroom.NiceHandler


def test_a_handlers_module_that_fails_to_import_costs_only_its_handlers(module, monkeypatch, caplog):
    monkeypatch.setattr(job_handler, "import_module", lambda name: 1 / 0)
    assert known(name_of(Heir)) is Heir
    assert "cannot be used" in caplog.text


# Named in code


def test_a_name_in_code_is_imported():
    assert load(name_of(Classroom.NiceHandler)) is load(Classroom.NiceHandler) is Classroom.NiceHandler


def test_a_name_in_code_that_is_nowhere_lists_what_was_tried():
    with pytest.raises(HandlerNotFound, match=r"'no\.where'.*Tried: no\.where"):
        load("no.where")


@pytest.mark.parametrize("named", [NoHandler, f"{__name__}.NoHandler", f"{__name__}.job"])
def test_what_is_no_handler_is_refused_with_the_cure(named):
    with pytest.raises(ConfigurationError, match=r"inherit from immortus_channels\.JobHandler"):
        load(named)


def test_what_goes_on_record_is_the_path_of_a_class_and_a_name_as_it_is():
    assert name_of(Classroom.NiceHandler) == f"{__name__}.Classroom.NiceHandler"
    assert (name_of("quick"), name_of(None)) == ("quick", "")
    with pytest.raises(ConfigurationError, match="NoHandler is not a handler"):
        name_of(NoHandler)


# What it says


def test_a_handler_knows_its_job():
    handler = handler_of(job(name_of(Classroom.NiceHandler), pupil="Ada", classroom_id=5))
    assert read_attribute(handler, "header") == "Moving Ada"
    assert read_attribute(handler, "next_url", None) == "/classrooms/5/"


def test_attributes_say_as_much_as_methods():
    assert read_attribute(Heir(job()), "message") == "Nearly there"


def test_what_is_missing_or_raises_has_a_default_and_is_logged(caplog):
    handler = Rude(job())
    assert read_attribute(handler, "header") == JobHandler.header
    assert read_attribute(handler, "message") == JobHandler.message
    assert read_attribute(handler, "next_url", None) is None
    assert [record.getMessage().split(" of ")[0] for record in caplog.records] == ["header"]


def test_a_broken_handler_is_logged_and_its_page_says_the_usual(caplog):
    assert type(handler_of(job(name_of(Broken)))) is JobHandler
    assert [record.job_id for record in caplog.records] == ["j"]


def test_the_hooks_of_the_silent_handler_may_be_called():
    handler = JobHandler(job())
    assert handler.on_ready(None) is handler.on_failed(None) is None
