"""The strategies, handlers and access rule that settings and tasks name; and marks that no queue reads."""

from __future__ import annotations

import sys
from typing import Any

from django.core.checks import CheckMessage, Error, Warning  # noqa: A004 - Django's name
from django.utils.module_loading import import_string

from immortus_channels import queues
from immortus_channels.api import job_handler
from immortus_channels.checks.finding import ID, Findings, describe
from immortus_channels.conf import settings
from immortus_channels.queues import tracked, unsupported
from immortus_channels.tracking import strategies


def check_strategies() -> Findings:
    """Find named strategies that cannot be loaded."""
    if settings.TRACKING_STRATEGY is not None:
        yield from _check_strategy(
            settings.TRACKING_STRATEGY, f"IMMORTUS_TRACKING_STRATEGY is {settings.TRACKING_STRATEGY!r}", f"{ID}.E002"
        )
    for queue in queues.connected:
        for name in sorted(queue.tracked_names()):
            tracking = queue.options_of(name)
            if tracking is not None and tracking.strategy is not None:
                where = f"The task {name!r} is tracked by the strategy {tracking.strategy!r}"
                yield from _check_strategy(tracking.strategy, where, f"{ID}.E003")


def _check_strategy(named: Any, where: str, id_: str) -> Findings:
    try:
        strategies.load(named)
    except Exception as error:  # noqa: BLE001 - users' modules and constructors may raise anything
        yield Error(
            f"{where}, which cannot be used: {describe(error)}",
            hint="Use a class, the dotted path of one, or its short name: `process_image_strategy` is the class "
            f"`ProcessImageStrategy` in the module `{strategies.MODULE}` of an installed app.",
            id=id_,
        )


def check_handlers() -> Findings:
    """Find handlers of tasks that cannot be loaded."""
    for queue in queues.connected:
        for name in sorted(queue.tracked_names()):
            tracking = queue.options_of(name)
            if tracking is not None and tracking.handler is not None:
                yield from _check_handler(name, tracking.handler)


def _check_handler(task: str, named: Any) -> Findings:
    try:
        job_handler.load(named)
    except Exception as error:  # noqa: BLE001 - users' modules may raise anything
        yield Error(
            f"The task {task!r} has the handler {named!r}, which cannot be used: {describe(error)}",
            hint="Use a subclass of JobHandler, the dotted path of one, or its short name: `nice_handler` is "
            f"`NiceHandler` in the module `{job_handler.MODULE}` of an installed app.",
            id=f"{ID}.E012",
        )


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
    followed = {
        tracking.place
        for queue in queues.connected
        for name in queue.tracked_names()
        if (tracking := queue.options_of(name)) is not None
    }
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
