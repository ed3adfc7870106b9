"""Whose jobs are: the key of a user, and who is starting jobs right now."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from django.db.models import Model


# Keys


def owner_key(user: Any) -> str | None:
    """The key of a user, by which jobs name their owner; None for nobody.

    It is the primary key as text. Where the user is of another model than `AUTH_USER_MODEL`, the model's label stands
    before it, as in `shop.customer:17`: two models may number their rows alike. What is no model at all, such as the
    user that some middleware makes of a signed token, stands for a user of `AUTH_USER_MODEL`.
    """
    key = getattr(user, "pk", None)
    if key is None:
        return None
    return str(key) if is_of_auth_user_model(user) else f"{_label_of(user)}:{key}"


def is_of_auth_user_model(user: Any) -> bool:
    """Whether the user is of `AUTH_USER_MODEL`, or of no model."""
    meta = getattr(user, "_meta", None)
    if meta is None:
        return True
    try:
        model = get_user_model()
    except ImproperlyConfigured:  # a project may do without that model
        return False
    return isinstance(user, model) or meta.concrete_model is model._meta.concrete_model  # noqa: SLF001 - Django's name


def _label_of(user: Any) -> str:
    label: str = user._meta.concrete_model._meta.label_lower  # noqa: SLF001 - Django's name
    return label


def named_by(key: str) -> tuple[type[Model], str]:
    """The model and the primary key, as text, that a key names."""
    label, colon, primary_key = key.partition(":")
    if colon:
        try:
            return apps.get_model(label), primary_key
        except (LookupError, ValueError):
            """A primary key may have a colon in it."""
    return get_user_model(), key


# Starting


class Starter(Protocol):
    """What knows who starts a job: asked at the moment of sending, not before."""

    def __call__(self) -> str | None:
        """The owner's key, or None for nobody."""
        ...


_starter: ContextVar[Starter | None] = ContextVar("immortus_starter", default=None)


def current_owner() -> str | None:
    """The key of whoever a job sent now belongs to; None for nobody."""
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
    key = owner_key(user)
    with starting_as(lambda: key):
        yield
