"""The strategies, handlers and access rule that settings and tasks name; and marks that no queue reads."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

from django.core.checks import CheckMessage, Error, Warning  # noqa: A004 - Django's name
from django.utils.module_loading import import_string

from immortus_channels import queues
from immortus_channels.api import job_handler
from immortus_channels.checks.finding import ID, Findings, describe
from immortus_channels.conf import settings
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
    try:
        is_rule = callable(import_string(rule) if isinstance(rule, str) else rule)
    except Exception:  # noqa: BLE001 - the module may raise anything; the message is the same
        is_rule = False
    if not is_rule:
        yield Error(
            f"IMMORTUS_ACCESS is {rule!r}, which is not a function that can be imported, so no user may see any job.",
            hint='Use "owner", "login" or the dotted path of a function (user, job) -> bool.',
            id=f"{ID}.E006",
        )


def check_marks() -> Findings:
    """Find marked functions that are tasks of none of the queues in use."""
    followed = {options.place for _, options in _tracked_tasks()}
    for place in sorted(tracked.places - followed):
        module, _, name = place.rpartition(".")
        found = getattr(sys.modules.get(module), name, None)
        queue = unsupported.queue_of(found)
        if queue is not None:
            yield _unread_mark(place, f"is a task of {queue}, which has no adapter here", unsupported.HINT)
        elif tracked.is_marked_function(found, place):
            hint = "Write the decorator of a Celery task above it: `@shared_task`, then `@tracked`."
            yield _unread_mark(place, "is not a task of any task queue in use", hint)


def _unread_mark(place: str, what: str, hint: str) -> CheckMessage:
    msg = f"{place!r} is marked with @tracked, but {what}, so its jobs are not followed."
    return Warning(msg, hint=hint, id=f"{ID}.W012")
