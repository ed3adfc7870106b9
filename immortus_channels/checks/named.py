"""The strategies, handlers and access rule that settings and tasks name; and marks that no queue reads."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from inspect import iscoroutinefunction, signature
from typing import Any

from django.core.checks import CheckMessage, Error, Warning  # noqa: A004 - Django's name
from django.utils.module_loading import import_string

from immortus_channels import loading, queues
from immortus_channels.api import job_handler
from immortus_channels.checks.finding import ID, Findings, describe, meant_by
from immortus_channels.conf import settings
from immortus_channels.jobs import namespaces
from immortus_channels.queues import tracked, unsupported
from immortus_channels.queues.tracked import Named, TaskOptions
from immortus_channels.tracking import strategies


def check_strategies() -> Findings:
    """Find named strategies that cannot be loaded."""
    hint = (
        "Use a class, the dotted path of one, or its short name: `process_image_strategy` is the class "
        f"`ProcessImageStrategy` in the module `{strategies.MODULE}` of an installed app."
    )
    named = settings.TRACKING_STRATEGY
    if named is not None:
        where = f"IMMORTUS_TRACKING_STRATEGY is {named!r}"
        yield from _try(strategies.load, named, where, hint, f"{ID}.E002")
    for task, options in _tracked_tasks():
        if options.strategy is not None:
            where = f"The task {task!r} is tracked by the strategy {options.strategy!r}"
            yield from _try(strategies.load, options.strategy, where, hint, f"{ID}.E003")


def check_handlers() -> Findings:
    """Find handlers of tasks that cannot be loaded."""
    hint = (
        "Use a subclass of JobHandler, the dotted path of one, or its short name: `nice_handler` is "
        f"`NiceHandler` in the module `{job_handler.MODULE}` of an installed app."
    )
    for task, options in _tracked_tasks():
        if options.handler is not None:
            where = f"The task {task!r} has the handler {options.handler!r}"
            yield from _try(job_handler.load, options.handler, where, hint, f"{ID}.E012")


def check_names_in_handlers() -> Findings:
    """Find attributes of handlers that nobody reads, as their names are mistyped."""
    base = job_handler.JobHandler
    names = [name for name in dir(base) if not name.startswith("_")]
    for kind in job_handler.all_known():
        for name in vars(kind).keys() - {*names}:
            meant = meant_by(name, names)
            if meant and not name.startswith("_") and getattr(kind, meant) is getattr(base, meant):
                yield Warning(
                    f"The handler {loading.name_of(kind)!r} has {name!r}, which no page reads. Is {meant!r} meant?",
                    hint=f"Call it {meant!r}; if it is for code of your own, silence {ID}.W022.",
                    id=f"{ID}.W022",
                )


def _tracked_tasks() -> Iterator[tuple[str, TaskOptions]]:
    """Yield the registered name and the mark of each tracked task."""
    for queue in queues.connected:
        for name in sorted(queue.tracked_names()):
            options = queue.options_of(name)
            if options is not None:
                yield name, options


def _try(load: Callable[[Named], object], named: Named, where: str, hint: str, id_: str) -> Findings:
    """Find that `load` cannot load what is named; `where` begins the message."""
    try:
        load(named)
    except Exception as error:  # noqa: BLE001 - users' modules and constructors may raise anything
        yield Error(f"{where}, which cannot be used: {describe(error)}", hint=hint, id=id_)


def check_access() -> Findings:
    """Find an access rule that cannot be called."""
    rule: Any = settings.ACCESS
    if rule in ("owner", "login"):
        return
    if not _is_function(rule, "user", "job"):
        yield Error(
            f"IMMORTUS_ACCESS is {rule!r}, which is not a function (user, job) that can be imported, so no user may "
            "see any job.",
            hint='Use "owner", "login" or the dotted path of a function (user, job) -> bool.',
            id=f"{ID}.E006",
        )


def check_namespace() -> Findings:
    """Find a function for namespaces that cannot be called, and an app that django-tenants puts into each tenant."""
    named: Any = settings.NAMESPACE
    if named is not None and not _is_function(named, "source"):
        yield Error(
            f"IMMORTUS_NAMESPACE is {named!r}, which is not a function (source) that can be imported, so no job can be "
            "found.",
            hint="Use the dotted path of a function (source) -> str; source is a request, a socket's scope, or None.",
            id=f"{ID}.E015",
        )
    elif namespaces.are_used():
        yield from _check_messages()
    if namespaces.has_tenants() and namespaces.is_of_each(ID):
        yield Error(
            f"{ID!r} is in TENANT_APPS, so each tenant would have a table of jobs of its own, and the threads that "
            "write jobs would find none of them.",
            hint=f"Move {ID!r} to SHARED_APPS; each tenant still sees its own jobs alone. Then run "
            "`manage.py migrate_schemas --shared`, and drop the tables of the tenants.",
            id=f"{ID}.E016",
        )


def _check_messages() -> Findings:
    for queue in queues.connected:
        if not queue.carries_headers and queue.tracked_names():
            yield Warning(
                f"The messages of {queue.name} have no room for a namespace, so its workers could not tell whose job "
                f"they run: {min(queue.tracked_names())!r} runs untracked.",
                hint="Use a queue whose messages have headers, such as Celery, for the tasks whose jobs pages show.",
                id=f"{ID}.W026",
            )


def _is_function(named: Any, *arguments: str) -> bool:
    """Return whether this is a function, or the path of one, that takes so many arguments and need not be awaited."""
    try:
        function = import_string(named) if isinstance(named, str) else named
        with suppress(ValueError):  # compiled code may not tell what it takes
            signature(function).bind(*arguments)
    except Exception:  # noqa: BLE001 - the module may raise anything; the message is the same
        return False
    return callable(function) and not iscoroutinefunction(function)


def check_marks() -> Findings:
    """Find marked functions that are tasks of none of the queues in use."""
    followed = {options.place for _, options in _tracked_tasks()}
    for place in sorted(tracked.places - followed):
        module, _, name = place.rpartition(".")
        found = getattr(sys.modules.get(module), name, None)
        queue = unsupported.queue_of(found)
        if queue is not None:
            yield _unread_mark(place, f"is a task of {queue}, which has no adapter here", unsupported.HINT)
        elif tracked.is_marked_function(found, place) and not any(each.runs_functions for each in queues.connected):
            hint = (
                "Write the decorator of your task queue above it, as `@shared_task` of Celery, `@task` of django.tasks "
                'or `@db_task()` of Huey. "Task queues" in the documentation lists those that are followed.'
            )
            yield _unread_mark(place, "is not a task of any task queue in use", hint)


def _unread_mark(place: str, what: str, hint: str) -> CheckMessage:
    msg = f"{place!r} is marked with @tracked, but {what}, so its jobs are not followed."
    return Warning(msg, hint=hint, id=f"{ID}.W012")
