"""Which actors are tracked, and what the options of their messages say of a job."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from dramatiq import Actor, Message

from immortus_channels.exceptions import JobCancelled, JobFailed
from immortus_channels.queues.hooks import Outcome
from immortus_channels.queues.tracked import TaskOptions, options_on, unmarked

QUEUE = "dramatiq"
HEADER = "immortus"
"""The option in which the message of a job says what its sender knows."""
OWNER = "immortus_owner"
"""The option that names the owner of a job that another one's end will send."""

Steps = Generator[Any, Outcome, None]
"""A hook around an emission of a signal, see `hooks.around`."""


def options_of(actor: object) -> TaskOptions | None:
    """Return the mark on an actor, on its function, or on the `perform` of a class-based one; None for no actor."""
    if actor is None or actor in unmarked:
        return None
    function = getattr(actor, "fn", None)
    options = options_on(actor) or options_on(function) or options_on(getattr(function, "perform", None))
    if options is None:
        unmarked.add(actor)
    return options


def function_of(actor: Actor[..., Any]) -> Callable[..., Any]:
    """Return what an actor's arguments are for."""
    function: Callable[..., Any] = getattr(actor.fn, "perform", actor.fn)
    return function


def expect_chosen_ends(actor: Actor[..., Any]) -> None:
    """Have Dramatiq take the ends that a job chooses itself as ends: it retries after anything else."""
    known = actor.options.get("throws") or ()
    known = known if isinstance(known, tuple) else (known,)
    new = [end for end in (JobFailed, JobCancelled) if not issubclass(end, known)]
    if new:
        actor.options["throws"] = (*known, *new)


def due(message: Message[Any]) -> int | None:
    """Return when a message is due, in microseconds since 1970; None for at once."""
    eta = message.options.get("eta")
    return None if eta is None else int(eta * 1000)
