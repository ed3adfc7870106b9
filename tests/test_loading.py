"""A class is found by its dotted path, nested ones too, and by a short name in a module of an installed app.

What waits for the import of a module is called once, after it.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import types

import pytest
from django.apps import apps

from immortus_channels import loading

MODULE = "toys_for_lookup"


class Outer:
    class Inner:
        pass

    number = 5


@pytest.fixture
def module(monkeypatch):
    """The module of an installed app."""
    name = f"immortus_channels.{MODULE}"
    module = types.ModuleType(name)
    module.NiceThing = type("NiceThing", (), {})
    monkeypatch.setitem(sys.modules, name, module)
    ours = apps.get_app_config("immortus_channels").module
    monkeypatch.setattr(loading, "module_has_submodule", lambda package, _: package is ours)
    return module


@pytest.mark.parametrize("kind", [Outer, Outer.Inner])
def test_a_class_is_found_by_its_path_which_is_its_name(kind):
    found, tried = loading.find(loading.name_of(kind), MODULE)
    assert found is kind
    assert tried == [loading.name_of(kind)]


@pytest.mark.parametrize("name", ["nice_thing", "NiceThing"])
def test_a_short_name_is_a_class_in_the_module_of_an_installed_app(module, name):
    assert loading.find(name, MODULE)[0] is module.NiceThing


def test_a_short_name_that_is_nowhere_lists_every_installed_app(module):
    found, tried = loading.find("no_such", MODULE)
    assert found is None
    assert f"immortus_channels.{MODULE}.NoSuch" in tried
    assert len(tried) == len(list(apps.get_app_configs()))


@pytest.mark.parametrize("path", ["no.where", f"{__name__}.Nobody", f"{__name__}.Outer.Nobody", f"{__name__}.MODULE.x"])
def test_a_path_that_leads_nowhere_says_why(path):
    found, (tried,) = loading.find(path, MODULE)
    assert found is None
    assert tried.startswith(f"{path} (")


def test_the_modules_of_installed_apps_are_named_without_importing_them(module):
    assert list(loading.modules_of_apps(MODULE)) == [f"immortus_channels.{MODULE}"]


def test_apps_without_the_module_are_passed_over():
    assert list(loading.modules_of_apps(MODULE)) == []


@pytest.fixture
def other_module(monkeypatch, tmp_path):
    """The name of a module that nobody has imported yet."""
    (tmp_path / "immortus_toy.py").write_text("number = 5\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "immortus_toy"
    sys.modules.pop("immortus_toy", None)


def test_a_module_is_imported_when_something_of_it_is_asked_for(other_module):
    later = loading.Later(other_module)
    assert other_module not in sys.modules
    assert later.number == 5


def test_what_waits_for_a_module_is_called_once_after_its_import(other_module):
    seen, finders = [], list(sys.meta_path)
    loading.when_imported(other_module, lambda: seen.append(sys.modules[other_module].number))
    assert importlib.util.find_spec(other_module).loader.get_source(other_module) == "number = 5\n"
    assert seen == []
    module = importlib.import_module(other_module)
    importlib.reload(module)
    assert seen == [5]
    assert sys.meta_path == finders
    assert inspect.getsource(module) == "number = 5\n"


def test_what_waits_for_an_imported_module_is_called_at_once():
    seen, finders = [], list(sys.meta_path)
    loading.when_imported(__name__, lambda: seen.append(1))
    assert seen == [1]
    assert sys.meta_path == finders


def test_one_finder_serves_all_that_is_waited_for(other_module):
    seen, finders = [], list(sys.meta_path)
    for number in range(9):
        loading.when_imported(f"{other_module}_{number}", lambda: pytest.fail("nobody imported it"))
    loading.when_imported(other_module, lambda: seen.append(5))
    assert sys.meta_path == finders
    importlib.import_module(other_module)
    assert seen == [5]


def test_an_import_succeeds_whatever_waited_for_it(other_module, caplog):
    loading.when_imported(other_module, lambda: 1 / 0)
    assert importlib.import_module(other_module).number == 5
    assert "immortus_toy" in caplog.text
