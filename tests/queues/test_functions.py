"""Functions that messages name without their module are found where their module is loaded."""

from __future__ import annotations

import sys
import uuid
from types import ModuleType

import pytest

from immortus_channels import tracked
from immortus_channels.queues.functions import FunctionQueue, find, is_told, of_unknown_sender, with_told


class Functions(FunctionQueue):
    """A queue of functions that exists nowhere."""

    name = "functions"

    def connect(self, port):
        """Report nothing."""

    def job_of(self, given):
        """Know no job."""
        return


@pytest.fixture(autouse=True)
def _places(monkeypatch):
    monkeypatch.setattr("immortus_channels.queues.tracked.places", set())


@pytest.fixture
def load(monkeypatch):
    """Load a module with this source."""

    def load(name, source):
        module = ModuleType(name)
        monkeypatch.setitem(sys.modules, name, module)
        exec(source, {**vars(module), "tracked": tracked}, vars(module))
        return module

    return load


PAINT = "@tracked(params=True)\ndef paint(ctx, path):\n    pass\n"


def test_a_marked_function_is_found_by_its_name_alone(load):
    gallery = load("gallery.tasks", PAINT + "def plain(ctx):\n    pass\n")
    queue = Functions()
    assert find("paint") is gallery.paint
    assert queue.options_of("paint").params
    assert queue.function_of("paint") is gallery.paint
    assert [queue.options_of(name) for name in ("plain", "aint", "gallery.tasks.paint", "")] == [None] * 4
    assert queue.tracked_names() == {"paint"}


def test_a_module_that_is_not_loaded_any_more_has_no_functions(load, monkeypatch):
    load("gallery.tasks", PAINT)
    monkeypatch.delitem(sys.modules, "gallery.tasks")
    assert find("paint") is None


def test_what_another_queue_made_a_task_of_is_not_a_function(load):
    load("gallery.tasks", PAINT + "paint = type('Task', (), {})()\n")
    assert find("paint") is None
    assert Functions().tracked_names() == set()


def test_two_functions_of_one_name_are_told_apart_by_nobody(load):
    queue = Functions()
    load("gallery.tasks", PAINT)
    assert queue.problems() == []
    load("studio.tasks", PAINT)
    assert find("paint") is None
    (warning,) = queue.problems()
    assert warning.id == "immortus_channels.W065"
    assert "'gallery.tasks' and 'studio.tasks'" in warning.msg


def test_a_worker_s_own_name_for_a_function_comes_first(load):
    gallery = load("gallery.tasks", PAINT + "def plain(ctx):\n    pass\n")
    queue = Functions()
    queue.tasks.update(renamed=gallery.paint, paint=gallery.plain)
    assert queue.options_of("renamed").params
    assert queue.options_of("paint") is None
    assert [queue.is_other(name) for name in ("paint", "renamed", "unknown")] == [True, False, False]
    assert [queue.name_of(task) for task in (gallery.paint, gallery.plain, len)] == ["renamed", "paint", None]


def test_a_marked_function_without_a_worker_has_its_own_name(load):
    gallery = load("gallery.tasks", PAINT)
    assert Functions().name_of(gallery.paint) == "paint"


def test_a_header_says_whether_its_sender_has_told():
    assert is_told(with_told({"owner": "7"}, is_told=True))
    assert not is_told(with_told({"owner": "7"}, is_told=False))
    assert not is_told({"owner": "7"})
    assert not is_told(None)


def test_lives_under_a_chosen_id_are_told_apart_by_their_time():
    first, again, second = (of_unknown_sender("one", time) for time in (1, 1, 2))
    assert first == again
    assert first["send_id"] != second["send_id"]
    assert first["staff_only"]
    assert [of_unknown_sender(str(one), 1) for one in (uuid.uuid4(), uuid.uuid4().hex, uuid.uuid1())] == [None] * 3
