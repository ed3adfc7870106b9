"""Owners of jobs: the key of a user, and the user who starts jobs right now."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeAlias

from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured, ValidationError

from immortus_channels.jobs import namespaces
from immortus_channels.keys import name_in

if TYPE_CHECKING:
    from django.db.models import Model


# Keys


def owner_key(user: Any) -> str | None:
    """Return the key of a user in their namespace; None for no user or an anonymous one.

    The key is the primary key as text. For a user of another model than `AUTH_USER_MODEL`, it begins with the model's
    label, as in `shop.customer:17`: two models may number their rows alike. An object that is not of a model, such as
    the user that some middleware makes from a signed token, stands for a user of `AUTH_USER_MODEL`.
    """
    key = getattr(user, "pk", None)
    if key is None:
        return None
    return str(key) if is_of_auth_user_model(user) else f"{_label_of(user)}:{key}"


def key_here(user: Any) -> str | None:
    """Return the key by which a user owns jobs of the namespace in force; None for no user or an anonymous one."""
    key = owner_key(user)
    return None if key is None else namespaces.here(key)


def is_of_auth_user_model(user: Any) -> bool:
    """Return whether the user is of `AUTH_USER_MODEL`, or not of a model at all."""
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
    """Return the model and the primary key, as text, that a key names in its namespace."""
    key = name_in(key)
    label, colon, primary_key = key.partition(":")
    if colon:
        try:
            return apps.get_model(label), primary_key
        except (LookupError, ValueError):
            """A primary key may have a colon in it."""
    return get_user_model(), key


def key_of_pk(text: str) -> str | None:
    """Return the key, in its namespace, of the user whose primary key this text is; None if none has such a key.

    As in Django's queries, " 05" is the user 5. With the label of another model it names a row of that one.
    """
    try:
        model, primary_key = named_by(text)
        value = str(model._meta.pk.to_python(primary_key))  # noqa: SLF001 - Django's name
    except ImproperlyConfigured:  # without that model, keys are what the project's middleware says
        return text
    except ValidationError:
        return None
    return text.removesuffix(primary_key) + value


# Starting


Starter: TypeAlias = Callable[[], str | None]
"""Returns the owner's key of a job that starts now, or None for no owner; a sending calls it, not before."""

starter_here: ContextVar[Starter | None] = ContextVar("immortus_starter", default=None)
"""Who decides here who owns new jobs; `starting_as` sets it."""


def current_owner() -> str | None:
    """Return the key of the user who would own a job sent now; None for no owner."""
    starter = starter_here.get()
    return starter() if starter is not None else None


def is_owner_known() -> bool:
    """Return whether a starter decides here who owns new jobs, even if that means no owner."""
    return starter_here.get() is not None


@contextmanager
def starting_as(starter: Starter) -> Iterator[None]:
    """Give jobs sent inside the block to the owner that `starter` names when they are sent."""
    token = starter_here.set(starter)
    try:
        yield
    finally:
        starter_here.reset(token)


@contextmanager
def started_by(user: object) -> Iterator[None]:
    """Give jobs sent inside the block to `user`; None or an anonymous user leaves them without an owner.

    Raises TypeError for what is not a user, and for one that is not saved, or deleted: a primary key alone, or a user
    without one, would leave the jobs without an owner, for all to see.
    """
    key = key_here(user)
    if user is not None and key is None and (hasattr(user, "_meta") or not hasattr(user, "pk")):
        msg = f"started_by({user!r}): give the saved user itself, or None for no owner."
        raise TypeError(msg)
    with starting_as(lambda: key):
        yield
