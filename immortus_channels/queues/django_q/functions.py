"""The functions that are sent: Django-Q2 takes any that can be imported, itself or by its dotted name."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import FunctionType, MethodType
from typing import Any

from immortus_channels.logs import logger
from immortus_channels.queues.tracked import TaskOptions, options_on

_PACKAGE = "immortus_channels"
_unread: set[str] = set()
"""Names that no module here has, or one that does not speak of this package: they are not looked for again."""


def name_of(func: Any) -> str:
    """Return the dotted name of what is sent, by which other processes find it."""
    if isinstance(func, str):
        return func
    named = func if hasattr(func, "__qualname__") else type(func)
    return f"{named.__module__}.{named.__qualname__}"


def options_of(name: str) -> TaskOptions | None:
    """Return the mark of the function of this name, if its module is loaded; what another queue made of it has none."""
    function = loaded(name)
    # Only the type is read: `isinstance` would make Celery's lazy tasks.
    return options_on(function) if type(function) in (FunctionType, MethodType) else None


def find(func: Any) -> Any:
    """Return what is sent; None where only its name is known here.

    The import of a function that is sent by name is left to the worker, which may have libraries, or memory, that a web
    server has not. A module that speaks of this package is the exception: it has marks.
    """
    if not isinstance(func, str):
        return func
    found = loaded(func)
    if found is None and func not in _unread:
        found = _import(func)
        if found is None:
            _unread.add(func)
    return found


def loaded(name: str) -> Any:
    """Return what has this dotted name in the modules that are loaded; None if nothing has."""
    module, _, rest = name.rpartition(".")
    while module and module not in sys.modules:
        module, _, inner = module.rpartition(".")
        rest = f"{inner}.{rest}"
    found: Any = sys.modules.get(module)
    for part in rest.split("."):
        found = getattr(found, part, None)
    return found


def _import(name: str) -> Any:
    """Return what has this name in a module that is not loaded and speaks of this package."""
    spec = _spec_of(name)
    if spec is None or not _speaks_of_us(spec):
        return None
    try:
        import_module(spec.name)
    except Exception:
        logger.exception("%s cannot be imported here, so %r is tracked from its start on", spec.name, name)
        return None
    return loaded(name)


def _speaks_of_us(spec: ModuleSpec) -> bool:
    try:
        return _PACKAGE in (spec.loader.get_source(spec.name) or "")  # type: ignore[union-attr]
    except (AttributeError, ImportError, OSError, SyntaxError, UnicodeDecodeError):  # it has none that can be read
        return False


def _spec_of(name: str) -> ModuleSpec | None:
    """Return where the innermost module in a dotted name is, without running any."""
    spec, path = None, None
    parts = name.split(".")
    for end in range(1, len(parts)):
        inner = ".".join(parts[:end])
        found = next(filter(None, (finder.find_spec(inner, path) for finder in sys.meta_path)), None)
        if found is None:
            break
        spec, path = found, found.submodule_search_locations
        if path is None:
            break
    return spec
