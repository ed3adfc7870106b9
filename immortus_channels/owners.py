"""Who is starting jobs right now: the logged-in user of the request, or whoever `started_by` names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol


class Starter(Protocol):
    """What knows who starts a job: asked at the moment of sending, not before."""

    def __call__(self) -> str | None:
        """The owner's primary key as text, or None for nobody."""
        ...


_starter: ContextVar[Starter | None] = ContextVar("immortus_starter", default=None)


def current_owner() -> str | None:
    """The primary key, as text, of whoever a job sent now belongs to; None for nobody."""
    starter = _starter.get()
    return starter() if starter is not None else None


def is_owner_known() -> bool:
    """Whether anybody has said who starts jobs here, be it nobody."""
    return _starter.get() is not None


@contextmanager
def starting_as(starter: Starter) -> Iterator[None]:
    """Jobs sent inside belong to whoever `starter` names when they are sent."""
    token = _starter.set(starter)
    try:
        yield
    finally:
        _starter.reset(token)


@contextmanager
def started_by(user: object) -> Iterator[None]:
    """Jobs sent inside the block belong to `user` (None or an anonymous user: to nobody).

    Raises TypeError for what is no user: a primary key alone would make the jobs nobody's, for all to see.
    """
    if user is not None and not hasattr(user, "pk"):
        msg = f"started_by({user!r}): give the user itself, or None for nobody."
        raise TypeError(msg)
    key = getattr(user, "pk", None)
    with starting_as(lambda: None if key is None else str(key)):
        yield
