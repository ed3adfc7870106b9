"""Classes by name: a dotted path, or a short name in a module that installed apps may have."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from django.apps import apps
from django.utils.module_loading import import_string, module_has_submodule


def name_of(named: type | str | None) -> str:
    """Return the dotted path of a class, through the classes it is nested in; a name stands for itself, "" for None."""
    return f"{named.__module__}.{named.__qualname__}" if isinstance(named, type) else named or ""


def find(name: str, module: str) -> tuple[Any, list[str]]:
    """Return what a name written in code refers to, None if nothing, and what was tried.

    `nice_handler` and `NiceHandler` are the class `NiceHandler` in the module `module` of an installed app; a name with
    a dot is imported. Errors of the modules during their import are raised, missing modules aside.
    """
    tried: list[str] = []
    found = _by_path(name, tried) if "." in name else _by_short_name(name, module, tried)
    return found, tried


def modules_of_apps(name: str) -> Iterator[str]:
    """Yield the dotted names of the modules of this name in installed apps, without importing them."""
    for app in apps.get_app_configs():
        if app.module is not None and module_has_submodule(app.module, name):
            yield f"{app.name}.{name}"


def class_name(short: str) -> str:
    """Return the class's name: `nice_handler` is `NiceHandler`; a name with capitals stands for itself."""
    return short if short != short.lower() else "".join(part.capitalize() for part in short.split("_"))


def _by_path(path: str, tried: list[str]) -> Any:
    try:
        found = _import(path)
    except ImportError as error:
        tried.append(f"{path} ({error})")
        return None
    tried.append(path)
    return found


def _import(path: str) -> Any:
    """Return what `path` names in a module, or in a class of one."""
    try:
        return import_string(path)
    except ImportError:
        outer, _, name = path.rpartition(".")
        outer_class = _import(outer) if "." in outer else None
        if not isinstance(outer_class, type) or not hasattr(outer_class, name):
            raise
        return getattr(outer_class, name)


def _by_short_name(name: str, module: str, tried: list[str]) -> Any:
    name = class_name(name)
    tried += [f"{app.name}.{module}.{name}" for app in apps.get_app_configs()]
    found = (getattr(import_module(path), name, None) for path in modules_of_apps(module))
    return next((kind for kind in found if kind is not None), None)
