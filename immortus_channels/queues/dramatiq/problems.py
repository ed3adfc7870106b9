"""What is wrong with how a project has set up Dramatiq, found without connecting to anything."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from typing import Any

from django.core.checks import CheckMessage, Warning  # noqa: A004 - Django's name
from dramatiq import Actor
from dramatiq import broker as brokers
from dramatiq.middleware import AsyncIO


def problems(tracked: Iterable[Actor[..., Any]]) -> Iterator[CheckMessage]:
    """Yield what keeps these tracked actors from running."""
    for actor in tracked:
        if brokers.global_broker is not None and actor.broker is not brokers.global_broker:
            yield Warning(
                f"The actor {actor.actor_name!r} belongs to another broker than the project's: a worker of that one "
                "never sees its jobs.",
                hint="Call dramatiq.set_broker(…) before the module of the actor is imported: in a module that it "
                "imports, or by django_dramatiq in INSTALLED_APPS. Silence this where actors name a `broker`.",
                id="immortus_channels.W030",
            )
        is_async = inspect.iscoroutinefunction(inspect.unwrap(actor.fn))
        if is_async and not any(isinstance(each, AsyncIO) for each in actor.broker.middleware):
            yield Warning(
                f"The actor {actor.actor_name!r} is an `async def`, and its broker has no middleware AsyncIO: each "
                "run fails, and is retried.",
                hint="Add dramatiq.middleware.AsyncIO to the middleware of the broker.",
                id="immortus_channels.W031",
            )
