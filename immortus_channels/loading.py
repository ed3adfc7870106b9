"""Classes by name, a dotted path or a short name in a module that installed apps may have; and modules when needed."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.utils.module_loading import import_string, module_has_submodule

if TYPE_CHECKING:
    from importlib.abc import Loader, MetaPathFinder
    from importlib.machinery import ModuleSpec
    from types import ModuleType
else:  # costs a dozen modules, and they need not be registered with it
    Loader = MetaPathFinder = object

logger = logging.getLogger("immortus_channels")

ADAPTERS: dict[str, str] = {
    "arq": "immortus_channels.queues.arq.adapter.ArqQueue",
    "celery.app": "immortus_channels.queues.celery.adapter.CeleryQueue",
    "dramatiq": "immortus_channels.queues.dramatiq.adapter.DramatiqQueue",
    "django_q.signals": "immortus_channels.queues.django_q.adapter.DjangoQQueue",
    "django.tasks.signals": "immortus_channels.queues.django_tasks.adapter.DjangoTasksQueue",
    "django_tasks.signals": "immortus_channels.queues.django_tasks.adapter.DjangoTasksQueue",
    "rq": "immortus_channels.queues.rq.adapter.RQQueue",
    "huey.api": "immortus_channels.queues.huey.adapter.HueyQueue",
    "procrastinate.app": "immortus_channels.queues.procrastinate.adapter.ProcrastinateQueue",
    "procrastinate.worker": "immortus_channels.queues.procrastinate.adapter.ProcrastinateQueue",
    "saq": "immortus_channels.queues.saq.adapter.SAQQueue",
    "taskiq": "immortus_channels.queues.taskiq.adapter.TaskiqQueue",
}
"""The adapters of task queues, each by the module whose import brings it along.

The table stands here because `django.setup()` needs the names, and nothing else of `queues`.
"""


class Later:
    """A module that is imported when something of it is first used: `django.setup()` loads none of them."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self._name), name)


def when_imported(name: str, call: Callable[[], None]) -> None:
    """Call this once the module has been imported: now, if it has been already. What the call raises is logged."""
    _finder.waiting[name] = call
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    if name in sys.modules:
        import_module(name)  # another thread may be at it
        _finder.call(name)


class _Finder(MetaPathFinder):
    """Finds the modules that are waited for as the other finders do, and has their loaders report when they are loaded.

    One for all: each finder costs every import of the process a call.
    """

    def __init__(self) -> None:
        self.waiting: dict[str, Callable[[], None]] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self.waiting:
            return None
        others = (finder.find_spec(fullname, path, target) for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, others), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _Reporting(spec.loader, partial(self.call, fullname))
        return spec

    def call(self, name: str) -> None:
        call = self.waiting.pop(name, None)
        if call is not None:
            try:
                call()
            except Exception:
                logger.exception("What the import of %s was to bring about failed", name)


_finder = _Finder()


class _Reporting(Loader):
    """Another loader, which takes its place again when it has to load."""

    def __init__(self, loader: Loader, call: Callable[[], None]) -> None:
        self._loader = loader
        self._call = call

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._call()


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
