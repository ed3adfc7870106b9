"""Handlers, which decide what a job's page says and does, found by the name on the job's record.

The package looks a name up only among the handlers that this process knows, and never imports it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib import import_module
from typing import Any, TypeGuard

from asgiref.sync import async_to_sync, iscoroutinefunction
from django.core.signals import setting_changed
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from immortus_channels import loading, queues
from immortus_channels.api.job import JobHandle
from immortus_channels.exceptions import ConfigurationError, HandlerNotFound
from immortus_channels.logs import logger
from immortus_channels.queues.tracked import Named

MODULE = "handlers"
"""The module of an installed app that holds handlers with short names."""


class JobHandler:
    """The page of a job: give a subclass to `@tracked(handler=…)` or to `JobRepository().create(handler=…)`.

    `header`, `message`, `next_url` and `failed_url` may be attributes or methods, and any method an `async def`. In
    place of what is missing or raises, which is logged, the page uses this class's own.
    """

    header: Any = _("One moment, please")
    """The heading while the job is not over."""
    message: Any = _("This page will continue automatically when everything is ready.")
    """The sentence under the heading."""
    next_url: Any = None
    """Where the viewer goes when the job is finished, or `next_url(request)`: what `resolve_url` takes. None: stay."""
    failed_url: Any = None
    """Where the viewer goes when the job ended otherwise, or `failed_url(request)`. None: stay, and read why."""

    def __init__(self, job: JobHandle) -> None:
        self.job = job

    def on_ready(self, request: HttpRequest) -> None:
        """React, once, when the job's owner first sees that it is finished, before `next_url`: for flash messages."""

    def on_failed(self, request: HttpRequest) -> None:
        """React, once, when the job's owner first sees that it failed, was cancelled or lost, before `failed_url`."""


# By name


def name_of(handler: Named) -> str:
    """Return the name to record for a handler; "" for none. Raises ConfigurationError for what is neither."""
    return handler or "" if handler is None or isinstance(handler, str) else loading.name_of(_as_handler(handler))


def load(named: Named) -> type[JobHandler]:
    """Return the handler that a name in code stands for. Raises ConfigurationError, mostly HandlerNotFound."""
    if isinstance(named, type):
        return _as_handler(named)
    found, tried = loading.find(named or "", MODULE)
    if found is None:
        msg = f"No handler {named!r}. Tried: {', '.join(tried)}."
        raise HandlerNotFound(msg)
    return _as_handler(found)


def _as_handler(found: object) -> type[JobHandler]:
    if not _is_handler(found):
        what = loading.name_of(found) if isinstance(found, type) else repr(found)
        msg = f"{what} is not a handler: let it inherit from immortus_channels.JobHandler."
        raise ConfigurationError(msg)
    return found


def handler_of(job: JobHandle) -> JobHandler:
    """Return the handler of a job; log one that cannot be had, and return the default one."""
    try:
        return _class_for(job.record.handler, job.record.job_class)(job)
    except Exception:
        # Its module, its class and its constructor may raise anything, and the viewer still needs a page.
        logger.exception("No handler for %r", job.job_id, extra={"job_id": job.job_id})
        return JobHandler(job)


def _class_for(name: str, job_class: str) -> type[JobHandler]:
    _, options = queues.find(job_class)
    marked = options.handler if options is not None else None
    if marked and name in ("", marked, loading.name_of(marked) if isinstance(marked, type) else ""):
        return load(marked)
    return known(name) or _unknown(name) if name else JobHandler


def known(name: str) -> type[JobHandler] | None:
    """Return the handler of this name that this process knows; None when there is none."""
    handlers = all_known()
    if "." in name:
        return next((kind for kind in handlers if loading.name_of(kind) == name), None)
    found, _ = loading.find(name, MODULE)
    return found if _is_handler(found) else None


def all_known() -> Iterator[type[JobHandler]]:
    """Return the handlers that this process knows."""
    _discover()
    return _descendants(JobHandler)


def _is_handler(found: object) -> TypeGuard[type[JobHandler]]:
    return isinstance(found, type) and issubclass(found, JobHandler)


def _descendants(kind: type[JobHandler]) -> Iterator[type[JobHandler]]:
    """Yield the newest first: a module that was loaded again has made its classes again."""
    for child in reversed(kind.__subclasses__()):
        yield child
        yield from _descendants(child)


@lru_cache(maxsize=1)
def _discover() -> None:
    """Import the `handlers` modules of installed apps, as Django's admin does with its own."""
    for module in loading.modules_of_apps(MODULE):
        try:
            import_module(module)
        except Exception:
            logger.exception("The handlers of %r cannot be used", module)


@lru_cache(maxsize=256)
def _unknown(name: str) -> type[JobHandler]:
    logger.error("No handler %r is known here: its jobs' pages say what every page says", name)
    return JobHandler


def _forget(*, setting: str, **_: object) -> None:
    if setting == "INSTALLED_APPS":
        _discover.cache_clear()
        _unknown.cache_clear()


setting_changed.connect(_forget)


# Attributes


def read_attribute(handler: JobHandler, name: str, *arguments: object) -> Any:
    """Return an attribute of the handler, or its method's result; `JobHandler`'s own if it is missing or raises."""
    try:
        said = getattr(handler, name)
        said = call(said, *arguments) if callable(said) else said
    except Exception:
        logger.exception("%s of %r raised", name, handler, extra={"job_id": handler.job.job_id})
        said = None
    return getattr(JobHandler, name) if said is None else said


def call(method: Callable[..., Any], *arguments: object) -> Any:
    """Return what a method of a handler returns, also one that is an `async def`."""
    return async_to_sync(method)(*arguments) if iscoroutinefunction(method) else method(*arguments)
